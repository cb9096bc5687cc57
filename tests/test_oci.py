"""ModelKits and model-spec artifacts in a registry of containers, by ranges."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from kit import model, tuned
from loopback_web import Handler, Web, serve
from safetensors.numpy import save

import mother
import mother.hub.web
from mother.checkpoints import open_checkpoint
from mother.errors import InputError

KIT = "application/vnd.kitops.modelkit.{}.v1.{}"
SPEC = "application/vnd.cncf.model.{}.v1.{}"
PATH = "org.cncf.model.filepath"


class _Registry(Handler):
    """Reads need a token, which is given to whoever has the password, if one is set."""

    def do_GET(self) -> None:  # noqa: N802
        web, split = self.web, urlsplit(self.path)
        own = self.headers.get("Authorization", "")
        if split.path == "/token":
            web.asked.append((self.path, dict(self.headers)))
            good = not web.allow or own == web.allow
            assert parse_qs(split.query)["scope"] == ["repository:lab/kid:pull"]
            told = getattr(web, "token", b'{"token": "5ec2e7"}')
            self._send(200 if good else 401, told, {})
        elif split.path.startswith("/v2/") and own != "Bearer 5ec2e7":
            realm = f'Bearer realm="{web.at}/token",service="lab"'
            self._send(401, b"", {"WWW-Authenticate": realm})
        else:
            allow, web.allow = web.allow, ""
            super().do_GET()
            web.allow = allow


class Registry:
    def __init__(self, web: Web) -> None:
        self.web = web
        self.at = web.at.replace("http", "oci")

    def put(self, data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.web.files[f"/v2/lab/kid/blobs/{digest}"] = data
        return digest

    def push(self, tag: str, *layers: tuple[str, str, bytes], **more: Any) -> str:
        told = [
            {"mediaType": media, "size": len(data), "digest": self.put(data)}
            | ({"annotations": {PATH: name}} if name else {})
            for media, name, data in layers
        ]
        body = json.dumps({"schemaVersion": 2, "layers": told, **more}).encode()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        for reference in (tag, digest):
            self.web.files[f"/v2/lab/kid/manifests/{reference}"] = body
        return digest


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    (tmp_path / "spool").mkdir()
    monkeypatch.setattr("mother.hub.mirrors._spool", tmp_path / "spool")
    monkeypatch.setattr("mother.hub.patience.sleep", lambda _: None)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    with serve(_Registry) as web:
        yield Registry(web)
    mother.hub.web.client().close()
    mother.hub.web._client = None


def tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def large() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {f"l{k}": rng.normal(size=150_000).astype(np.float32) for k in range(4)}


def test_a_model_kit(registry: Registry) -> None:
    """A tar of which the headers and what is wanted are read; data sets are left alone."""
    files = {"./ü/" + 120 * "n" + "/model.safetensors": save(large()), "./LICENSE": b"MIT"}
    digest = registry.push(
        "v1",
        (KIT.format("model", "tar"), "", tar(files)),
        (KIT.format("dataset", "tar"), "", tar({"rows.npz": 400_000 * b"x"})),
    )
    c = open_checkpoint(f"{registry.at}/lab/kid:v1")
    assert c.id == "kid:v1"
    assert c.shown.startswith(f"{registry.at}/lab/kid@{digest}/ü/")
    assert np.array_equal(c.tensors["l3"].read(0, 10), large()["l3"][:10])
    assert registry.web.sent < 500_000
    assert np.array_equal(c.tensors["l1"].read(), large()["l1"])
    assert open_checkpoint(c.shown).shown == c.shown  # read again, by its digest


def test_model_spec_artifacts_are_recovered(registry: Registry) -> None:
    base = model(0)
    for tag, weights in (("base", base), ("tuned", tuned(base, 1))):
        registry.push(
            tag,
            (SPEC.format("weight", "raw"), "model.safetensors", save(weights)),
            (SPEC.format("weight.config", "raw"), "config.json", b'{"model_type": "x"}'),
            (SPEC.format("doc", "tar"), "", tar({"README.md": b"hello"})),
        )
    (edge,) = mother.recover([f"{registry.at}/lab/kid:{t}" for t in ("base", "tuned")]).edges
    assert (edge.parent, edge.child) == ("kid:base", "kid:tuned")
    c = open_checkpoint(f"{registry.at}/lab/kid:base")
    assert c.config == {"model_type": "x"}
    assert c.files[0].sha256() == hashlib.sha256(save(base)).hexdigest()


def test_an_index_of_one_manifest(registry: Registry) -> None:
    digest = registry.push("x", (SPEC.format("weight", "raw"), "m.npz", npz()))
    only = [{"digest": digest, "mediaType": "application/vnd.oci.image.manifest.v1+json"}]
    registry.push("latest", manifests=only)
    assert open_checkpoint(f"{registry.at}/lab/kid").id == "kid:latest"
    registry.push("two", manifests=only * 2)
    with pytest.raises(InputError, match="no manifest of one artifact"):
        open_checkpoint(f"{registry.at}/lab/kid:two")


def npz() -> bytes:
    out = io.BytesIO()
    np.savez(out, w=np.ones((4, 4), np.float32))
    return out.getvalue()


def test_blobs_that_lie_elsewhere(registry: Registry) -> None:
    """The token stays with the registry, and is asked for again when it has expired."""
    registry.push("v1", (SPEC.format("weight", "raw"), "m.safetensors", save(large())))
    (blob,) = (path for path in registry.web.files if "/blobs/" in path)
    with serve() as store:
        store.files["/blob"] = registry.web.files[blob]
        registry.web.faults[blob] = [f"to {store.at}/blob", *[f"to {store.at}/blob"] * 9]
        c = open_checkpoint(f"{registry.at}/lab/kid:v1")
        assert np.array_equal(c.tensors["l3"].read(), large()["l3"])
    assert store.asked
    assert not any("authorization" in headers for _, headers in store.asked)


def test_credentials(registry: Registry, tmp_path: Path) -> None:
    registry.push("v1", (SPEC.format("weight", "raw"), "m.npz", npz()))
    registry.web.allow = f"Basic {base64.b64encode(b'me:5ec2e7').decode()}"
    with pytest.raises(InputError, match="answers 401 Unauthorized: log in by `docker login`"):
        open_checkpoint(f"{registry.at}/lab/kid:v1")
    (tmp_path / ".docker").mkdir()
    host, auth = registry.at.removeprefix("oci://"), base64.b64encode(b"me:5ec2e7").decode()
    (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    assert open_checkpoint(f"{registry.at}/lab/kid:v1").id == "kid:v1"


@pytest.mark.parametrize("token", [b"[]", b"{}", b'{"token": 3}', b'{"token": "a\\nb"}', b"x"])
def test_answers_that_are_no_token(registry: Registry, token: bytes) -> None:
    registry.push("v1", (SPEC.format("weight", "raw"), "m.npz", npz()))
    registry.web.token = token  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="can't be read"):
        open_checkpoint(f"{registry.at}/lab/kid:v1")


def bomb() -> bytes:
    """A header that says that a name of 2 GB follows."""
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 2 << 30
    return member.tobuf() + 1024 * b"\0"


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ((KIT.format("model", "tar+gzip"), "", b"x"), r"layer 0 \(tar\+gzip\) is compressed"),
        ((SPEC.format("weight", "tar+zstd"), "", b"x"), r"layer 0 \(tar\+zstd\) is compressed"),
        ((SPEC.format("weight", "tar"), "", 600 * b"x"), "layer 0 is no tar archive"),
        ((SPEC.format("weight", "tar"), "", bomb()), "a header in a layer has more than"),
        ((SPEC.format("weight", "tar"), "", tar({"a": 2000 * b"x"})[:1024]), "is cut off"),
        ((SPEC.format("weight", "tar"), "", tar({"../a.npz": npz()})), "a file that can't be"),
        ((SPEC.format("weight", "raw"), "../a.npz", npz()), "a file that can't be"),
        ((SPEC.format("weight", "raw"), "", b"no model, whatever it says"), "no checkpoint"),
        (("application/vnd.oci.image.layer.v1.tar", "", tar({})), "no layers of a model"),
    ],
)
def test_layers_that_are_not_read(
    registry: Registry, layer: tuple[str, str, bytes], said: str
) -> None:
    registry.push("v1", layer)
    with pytest.raises(InputError, match=said) as raised:
        mother.recover(f"{registry.at}/lab/kid:v1")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("lab/kid:none", "the registry has no such repository, tag or layer"),
        ("lab/KID:v1", "no address of an artifact"),
        ("lab/kid:v1/../x", "no address of an artifact"),
        ("lab/kid@sha256:" + 64 * "0", "sends another manifest than the digest names"),
    ],
)
def test_addresses_that_lead_nowhere(registry: Registry, address: str, said: str) -> None:
    registry.push("v1", (SPEC.format("weight", "raw"), "m.npz", npz()))
    registry.web.files[f"/v2/lab/kid/manifests/sha256:{64 * '0'}"] = b"{}"
    with pytest.raises(InputError, match=said):
        mother.recover(f"{registry.at}/{address}")


def test_another_blob_of_the_same_size(registry: Registry) -> None:
    registry.push("v1", (SPEC.format("weight", "raw"), "m.npz", npz()))
    (blob,) = (path for path in registry.web.files if "/blobs/" in path)
    data = bytearray(registry.web.files[blob])
    data[-1] ^= 1
    registry.web.files[blob] = bytes(data)
    with pytest.raises(InputError, match="the registry sends other bytes than its list"):
        open_checkpoint(f"{registry.at}/lab/kid:v1").files[0].sha256()
