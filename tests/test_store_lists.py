"""Lists of very many keys in every kind of store, which answers as its library hands them on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from fsspec.asyn import get_loop

import mother
from mother.errors import InputError
from mother.hub import TRAFFIC, stores

MODEL = "runs/ein Kind, ü/model.safetensors"


class Keys:
    """`count` keys below lab/models, the last of which is a model's, in each library's words.

    asked: pages, or folders, that were asked for."""

    def __init__(self, count: int) -> None:
        self.count, self.asked = count, 0
        self.loop = get_loop()

    def page(self, token: str | None, most: int) -> tuple[list[str], str | None]:
        self.asked += 1
        start = int(token or 0)
        stop = min(start + most, self.count)
        names = [f"models/logs/{k % 7}/{k}.txt" for k in range(start, stop)]
        if stop == self.count:
            names[-1] = f"models/{MODEL}"
        return names, None if stop == self.count else str(stop)

    # fsspec's

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"type": "directory", "name": path}

    def ls(self, folder: str, detail: bool) -> list[dict[str, Any]]:
        """A folder for each thousand."""
        if folder == "lab/models":
            self.asked += 1
            some = range(0, self.count, 1000)
            return [{"type": "directory", "name": f"{folder}/{k}"} for k in some]
        names, _ = self.page(folder.rpartition("/")[2], 1000)
        leaves = (name.removeprefix("models/").replace("/", "_") for name in names)
        return [{"type": "file", "name": f"{folder}/{leaf}", "size": 9} for leaf in leaves]

    # s3fs', as boto has it

    def call_s3(self, call: str, **given: Any) -> dict[str, Any]:
        if call == "head_object":
            raise FileNotFoundError
        assert (given["Bucket"], given["Prefix"]) == ("lab", "models/")
        names, after = self.page(given.get("ContinuationToken"), given["MaxKeys"])
        told = {"NextContinuationToken": after} if after else {}
        listed = [{"Key": name, "Size": 9, "ETag": '"e"'} for name in names]
        return {"Contents": listed, "IsTruncated": bool(after), **told}

    # gcsfs', as the JSON API has it

    def call(self, method: str, path: str, bucket: str, **given: Any) -> dict[str, Any]:
        assert (method, path.format(bucket), given["prefix"]) == ("GET", "b/lab/o", "models/")
        names, after = self.page(given.get("pageToken"), given["maxResults"])
        told = {"nextPageToken": after} if after else {}
        listed = [{"name": name, "size": "9", "generation": "7"} for name in names]
        return {"kind": "storage#objects", "items": listed, **told}

    # adlfs', as Azure's library has it

    @property
    def service_client(self) -> Any:
        return SimpleNamespace(get_container_client=lambda container: self)

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *_: Any) -> None:
        pass

    def list_blobs(self, **given: Any) -> Any:
        assert given["name_starts_with"] == "models/"
        return SimpleNamespace(by_page=lambda **told: Blobs(self, given["results_per_page"], told))


class Blobs:
    """Pages of Azure's list, with folders of an account that has a hierarchy of names."""

    def __init__(self, keys: Keys, most: int, told: dict[str, Any]) -> None:
        self.keys, self.most = keys, most
        self.continuation_token = told["continuation_token"]

    def __aiter__(self) -> Blobs:
        return self

    async def __anext__(self) -> AsyncIterator[Any]:
        names, after = self.keys.page(self.continuation_token, self.most)
        self.continuation_token = after

        async def blobs() -> AsyncIterator[Any]:
            yield SimpleNamespace(
                name="models/logs", size=0, etag="e", metadata={"hdi_isfolder": "true"}
            )
            for name in names:
                yield SimpleNamespace(name=name, size=9, etag="e", metadata=None)

        return blobs()


KINDS = pytest.mark.parametrize("scheme", ["s3", "gs", "az", "memory"])


def listed(scheme: str, keys: Keys) -> Iterator[tuple[str, Any]]:
    known = stores.STORES.get(scheme)
    store = import_module(known).STORE if known else stores._ANY

    def ask(call: Any) -> Any:
        return stores.patiently("lab", call, stores._manners(scheme, store, ""))

    return store.listed(keys, "lab/models", ask)


@KINDS
def test_a_hundred_thousand_keys(scheme: str) -> None:
    keys, before = Keys(100_000), TRAFFIC.requests
    walk = listed(scheme, keys)
    next(walk)
    assert keys.asked <= 2  # no more than is looked at is asked for
    found = dict(walk)
    assert len(found) == 99_999
    assert [n for n in found if "ü" in n] == [
        MODEL if scheme != "memory" else "99000/" + MODEL.replace("/", "_")
    ]
    assert {entry.size for entry in found.values()} == {9}
    # each page is counted, which a terminal shows while it waits
    assert 100 <= keys.asked <= TRAFFIC.requests - before <= 102


@KINDS
def test_a_list_without_end_is_bounded(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keys(10**6)
    if scheme == "memory":
        monkeypatch.setattr(stores, "MAX_FOLDERS", 10**7)
    monkeypatch.setattr(stores, "MAX_FILES", 20_000)
    monkeypatch.setattr(stores, "_file_system", lambda *_: (keys, "lab/models"))
    with pytest.raises(InputError) as raised:
        mother.recover(f"{scheme}://lab/models")
    said = f"{scheme}://lab/models: holds more than 20000 files; name a folder in it"
    assert str(raised.value) == said
    assert keys.asked <= 22
