"""Weights on a Hub, of which only the parts that are asked for are read.

A safetensors file tells in its first bytes where each tensor lies, so that rows of it can be
fetched by their byte range. PyTorch files are downloaded whole.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, HfFileSystem
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from experiments.wild.families import Family, Model
from mother.checkpoints import open_checkpoint
from mother.checkpoints.tensor import dtype_of
from mother.errors import InputError

#: number types by their names in safetensors
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
MAX_HEADER = 32 << 20
MAX_DIMENSIONS = 8


@dataclass(frozen=True)
class Stored:
    """A tensor where it is stored. read(start, stop): the bytes of those elements."""

    dtype: str
    shape: tuple[int, ...]
    read: Callable[[int, int], bytes]

    @property
    def itemsize(self) -> int:
        return itemsize(self.dtype)


@dataclass(frozen=True)
class Opened:
    """A model on the Hub: where it was found, its tensors, and the size of its weights' files."""

    model: Model
    repository: str
    commit: str
    files: tuple[str, ...]
    nbytes: int
    tensors: Mapping[str, Stored]


def itemsize(dtype: str) -> int:
    """Bytes of one weight.

    >>> itemsize("BF16")
    2
    """
    known = dtype_of(DTYPES[dtype])
    assert known is not None
    return known.itemsize


class Hub:
    """A Hub, with a count of the bytes and requests that its files took."""

    def __init__(self, endpoint: str | None = None) -> None:
        self.api = HfApi(endpoint=endpoint)
        # the library keeps one instance for ever, and with it what it knows of a Hub's files
        self.files = HfFileSystem(endpoint=endpoint, skip_instance_cache=True)
        self.endpoint = self.api.endpoint
        self.nbytes = 0
        self.requests = 0
        self._lock = threading.Lock()

    def open(self, family: Family, model: Model) -> Opened:
        """The model's tensors, of which nothing but the headers is read. Raises InputError."""
        repository, commit, sizes = self._find(model)
        folder = f"{family.part}/" if family.part else ""
        found = next((n for n in family.files if folder + n in sizes), None)
        if found is None:
            raise InputError(repository, f"holds none of {', '.join(family.files)}")
        place = f"{repository}@{commit}/{folder}{found}"
        names = [found]
        if found.endswith(".json"):
            names = _shards(place, self._whole(place, sizes[folder + found]))
            if missing := [n for n in names if folder + n not in sizes]:
                raise InputError(place, f"names {missing[0]!r}, which is not there")
        files = tuple(folder + n for n in names)
        if names[0].endswith(".safetensors"):
            tensors: dict[str, Stored] = {}
            for name in files:
                tensors |= self._safetensors(f"{repository}@{commit}/{name}", sizes[name])
        else:
            tensors = self._pytorch(repository, commit, files, sizes, folder + found)
        return Opened(model, repository, commit, files, sum(sizes[n] for n in files), tensors)

    def _find(self, model: Model) -> tuple[str, str, dict[str, int]]:
        """The first of the model's repositories that is there, its commit and files' sizes."""
        for repository in model.repositories:
            try:
                with _one_line(repository):
                    info = self.api.model_info(repository, files_metadata=True)
            except _AbsentError:
                continue
            sizes = {f.rfilename: f.size for f in info.siblings or () if f.size is not None}
            return repository, info.sha or "main", sizes
        raise InputError(" or ".join(model.repositories), f"not on {self.endpoint}")

    def fetch(self, place: str, start: int, stop: int, size: int) -> bytes:
        """Bytes [start, stop) of a file of `size` bytes at "repository@commit/name"."""
        with (
            _one_line(place),
            self.files.open(place, "rb", size=size, cache_type="none") as file,
        ):
            file.seek(start)
            data = file.read(stop - start)
        if not isinstance(data, bytes) or len(data) != stop - start:
            raise InputError(place, f"{len(data)} bytes came where {stop - start} were asked for")
        with self._lock:
            self.nbytes += len(data)
            self.requests += 1
        return data

    def _whole(self, place: str, size: int) -> bytes:
        if size > MAX_HEADER:
            raise InputError(place, f"has {size} bytes; {MAX_HEADER} are the most")
        return self.fetch(place, 0, size, size)

    def _safetensors(self, place: str, size: int) -> dict[str, Stored]:
        if size < 8:
            raise InputError(place, "no safetensors file: it has less than 8 bytes")
        length = int.from_bytes(self.fetch(place, 0, 8, size), "little")
        if length > min(MAX_HEADER, size - 8):
            raise InputError(place, f"header claims {length} bytes, the file has {size}")
        header = _parsed(place, self.fetch(place, 8, 8 + length, size))
        header.pop("__metadata__", None)
        return {
            name: self._stored(place, size, 8 + length, name, entry)
            for name, entry in header.items()
            # integers are no weights: counters, masks, token positions
            if not (isinstance(entry, dict) and entry.get("dtype") in _NOT_WEIGHTS)
        }

    def _stored(self, place: str, size: int, body: int, name: str, entry: Any) -> Stored:
        kind, shape, offsets = (
            entry.get(key) if isinstance(entry, dict) else None
            for key in ("dtype", "shape", "data_offsets")
        )
        plain = _naturals(shape, MAX_DIMENSIONS) and _naturals(offsets, 2) and len(offsets) == 2
        if kind not in DTYPES or not plain:
            raise InputError(place, f"tensor {name[:200]!r} lacks a known dtype, shape or offsets")
        width = itemsize(kind)
        start, stop = body + offsets[0], body + offsets[1]
        if stop > size or stop - start != math.prod(shape) * width:
            raise InputError(
                place, f"tensor {name[:200]!r} does not lie in the file's {size} bytes"
            )
        return Stored(
            kind,
            tuple(shape),
            lambda a, b: self.fetch(place, start + a * width, start + b * width, size),
        )

    def _pytorch(
        self,
        repository: str,
        commit: str,
        files: tuple[str, ...],
        sizes: Mapping[str, int],
        found: str,
    ) -> dict[str, Stored]:
        for name in dict.fromkeys((found, *files)):
            with _one_line(f"{repository}@{commit}/{name}"):
                path = Path(self.api.hf_hub_download(repository, name, revision=commit))
            self.nbytes += sizes[name]
            self.requests += 1
        folder = path.parent
        opened = open_checkpoint(folder if found.endswith(".json") else path)
        kinds = {name: kind for kind, name in DTYPES.items()}
        return {
            name: Stored(
                kinds[str(t.dtype)],
                t.shape,
                lambda a, b, t=t: t.read(a, b).tobytes(),
            )
            for name, t in opened.tensors.items()
            if str(t.dtype) in kinds
        }


_NOT_WEIGHTS = {"BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64"}


def shared(models: list[Opened]) -> list[Opened]:
    """The models with those tensors only that all have in one shape."""
    first, *others = models
    names = [
        name
        for name, stored in first.tensors.items()
        if math.prod(stored.shape)
        and all(
            name in other.tensors and other.tensors[name].shape == stored.shape for other in others
        )
    ]
    if not names:
        raise InputError(first.repository, "shares no tensor with the others of its family")
    return [replace(m, tensors={name: m.tensors[name] for name in names}) for m in models]


class _AbsentError(InputError):
    """A repository that is not there."""


@contextmanager
def _one_line(place: str) -> Iterator[None]:
    """What the Hub's clients raise, as an InputError of one line that says what to do."""
    try:
        yield
    except GatedRepoError:
        raise InputError(
            place, "needs consent to its licence: give it on the model's page, then `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise _AbsentError(place, "not there") from None
    except LocalEntryNotFoundError:
        raise InputError(place, "can't be downloaded: the Hub does not answer") from None
    except FileNotFoundError:
        raise InputError(place, "not there") from None
    except HfHubHTTPError as error:
        status = f"{error.response.status_code} {error.response.reason_phrase}".strip()
        raise InputError(place, f"the Hub answers {status}; try again later") from None
    except (HTTPError, OSError, ValueError, TypeError, KeyError) as error:
        # the last three for answers that are not what the client takes them for
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(place, f"the Hub can't be read: {reason}") from None


def _parsed(place: str, text: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        raise InputError(place, "is not valid JSON where it should be") from None
    if not isinstance(parsed, dict):
        raise InputError(place, "holds no JSON object where it should")
    return parsed


def _shards(place: str, text: bytes) -> list[str]:
    """The files that an index names, sorted."""
    places = _parsed(place, text).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise InputError(place, "has no weight_map")
    if not all(isinstance(n, str) and "/" not in n and "\\" not in n for n in places.values()):
        raise InputError(place, "names a shard outside its folder")
    return sorted(set(places.values()))


def _naturals(value: Any, most: int) -> bool:
    if not isinstance(value, list) or len(value) > most:
        return False
    return all(type(n) is int and 0 <= n < 2**53 for n in value)
