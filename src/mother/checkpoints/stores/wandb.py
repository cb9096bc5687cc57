"""Artifacts of Weights & Biases on this disk: artifacts/NAME:vN, where `Artifact.download` puts
them, and manifests, wandb_manifest.json, whose files may lie in the cache under their hash alone.

Runs that were offline keep files in wandb/offline-run-DATE-ID/files, and those of artifacts under a
name of no meaning in artifacts/staging, until they are uploaded.

Layout: https://docs.wandb.ai/guides/artifacts, `wandb/sdk/artifacts` in its source.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mother.checkpoints.folders import is_training_state
from mother.checkpoints.formats import ending
from mother.checkpoints.json_files import read_json
from mother.checkpoints.storage import refusal
from mother.checkpoints.stores.place import Elsewhere, Place, Store

MANIFEST = "wandb_manifest.json"
#: bytes of a manifest, which lists every file
MAX_MANIFEST = 64 << 20
#: weights that one names
MAX_WEIGHTS = 10_000
#: a colon, or a dash where the file system takes no colon
_VERSION = re.compile(r"(?P<name>.+)[:-](?P<version>v\d+)")
_RUN = re.compile(r"(?:offline-)?run-\d{8}_\d{6}-\w+")
_STAGING = ("artifacts", "staging")
#: what the folders of the cache are called by: the hash that names the files in them
_HASHES = ("md5", "xxh128")


def place(path: Path) -> Place | None:
    """NAME:vN, or the run, and the file where its name tells more than that it is a model."""
    if (path.parent.parent.name, path.parent.name) == _STAGING:
        note = "waits for an upload to Weights & Biases, by `wandb sync`"
        return Place("staging", (path.name,), path.parent.parent, note=note)
    run = next((p for p in path.parents if _RUN.fullmatch(p.name)), None)
    if run is not None and (inside := path.relative_to(run).parts)[:1] == ("files",):
        return Place(run.name, inside[1:], run.parent)
    home = next((p for p in (path, *path.parents) if _is_artifact(p)), None)
    if home is None:
        return None
    return Place(_label(home), path.relative_to(home).parts, home.parent)


def _is_artifact(folder: Path) -> bool:
    held = folder.parent.name == "artifacts" or (folder / MANIFEST).is_file()
    return held and _VERSION.fullmatch(folder.name) is not None


def _label(folder: Path) -> str:
    found = _VERSION.fullmatch(folder.name)
    return f"{found['name']}:{found['version']}" if found else folder.name


def named(path: Path) -> list[Elsewhere] | None:
    """The weights that a manifest names and that lie in the cache, not beside it. Raises
    InputError."""
    if path.name != MANIFEST:
        return None
    path = Path(os.path.abspath(path))  # noqa: PTH100  (without following symlinks)
    contents = read_json(path, MAX_MANIFEST).get("contents")
    if not isinstance(contents, dict):
        raise refusal(path, "has no contents")
    return list(_weights(path, contents))


def _weights(path: Path, contents: dict[str, Any]) -> Iterator[Elsewhere]:
    folder, many = path.parent, 0
    for name, entry in sorted(contents.items()):
        inside = Path(name).parts
        if not ending(name) or is_training_state(inside[-1]):
            continue
        if Path(name).is_absolute() or ".." in inside:
            raise refusal(path, f"names a file outside its folder: {name[:200]!r}")
        if (folder / name).exists():
            continue  # where it is found without the manifest
        many += 1
        if many > MAX_WEIGHTS:
            raise refusal(path, f"names more than {MAX_WEIGHTS} files of weights")
        end = ending(name) or ""
        where = Place(_label(folder), (name.removesuffix(end),), folder.parent)
        told = entry if isinstance(entry, dict) else {}
        ref, known = told.get("ref"), str(told.get("digest", ""))
        blob = _cached(_places(known, ref if isinstance(ref, str) else ""))
        fault = ""
        if blob is None:
            mend = f"`wandb artifact get {_label(folder)}` fetches it"
            mend = f"it is a reference to {str(ref)[:300]}; name that" if ref else mend
            fault = f"{name} is neither beside it nor in the cache; {mend}"
        yield Elsewhere(blob or path, where, fault=fault)


def _places(digest: str, reference: str) -> list[Path]:
    """Where in a cache a file can be: by its hash in base64, or, of a reference, by the hashes of
    its address and of what its store said that it is."""
    if reference:
        both = (hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
                for text in (reference, digest))  # fmt: skip
        told = hashlib.sha256(b"".join(both)).hexdigest()
        return [Path("etag", told[:2], told[2:])]
    try:
        told = base64.b64decode(digest, validate=True).hex()
    except (binascii.Error, ValueError):
        return []
    return [Path(kind, told[:2], told[2:]) for kind in _HASHES] if len(told) == 32 else []


def _cached(places: list[Path]) -> Path | None:
    """The first of these files that a cache has."""
    blobs = (top / "artifacts" / "obj" / place for top in _caches() for place in places)
    return next((blob for blob in blobs if blob.is_file()), None)


def _caches() -> list[Path]:
    home = Path("~").expanduser()
    given = os.environ.get("WANDB_CACHE_DIR")
    usual = [Path(os.environ.get("XDG_CACHE_HOME", home / ".cache")) / "wandb"]
    return [Path(given)] if given else [*usual, home / "Library" / "Caches" / "wandb"]


STORE = Store(place, named=named)
