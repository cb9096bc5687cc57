"""Ollama's models: manifests/HOST/NAMESPACE/MODEL/TAG, JSON that names layers by their digests, and
blobs/sha256-DIGEST, the layers.

Layout: https://github.com/ollama/ollama/blob/main/docs and `server/internal/manifest` there.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mother.checkpoints.folders import is_folder
from mother.checkpoints.json_files import read_json
from mother.checkpoints.storage import refusal
from mother.checkpoints.stores.place import Elsewhere, Place, Store

#: bytes of a manifest; those that are met have a few hundred
MAX_MANIFEST = 4 << 20
#: layers of weights that one names; those that are met have up to three
MAX_LAYERS = 100
_MEDIA = "application/vnd.ollama.image."
#: layers that hold weights, and what each is beside the model
_PARTS = {"model": "", "adapter": "adapter", "projector": "projector"}
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")


def _inside(path: Path) -> tuple[Path, str] | None:
    """Of a manifest's path the folder of the store, and what Ollama calls the model."""
    for folder in path.parents:
        if folder.name == "manifests" and is_folder(folder.parent / "blobs"):
            *where, model, tag = path.relative_to(folder).parts
            if not where:
                return None
            where = where[where[:1] == ["registry.ollama.ai"] :]
            where = where[where[:1] == ["library"] :]
            return folder.parent, f"{'/'.join((*where, model))}:{tag}"
    return None


def place(path: Path) -> Place | None:
    """None: what a blob is called stands in the manifests alone."""
    return None


def searched(folder: Path, names: list[str]) -> list[str]:
    """Of a store the manifests, which name the blobs that are weights."""
    if {"manifests", "blobs"} <= set(names):
        return [name for name in names if name != "blobs"]
    return names


def named(path: Path) -> list[Elsewhere] | None:
    """The model, adapters and projectors that a manifest names. Raises InputError."""
    absolute = os.path.abspath(path)  # noqa: PTH100  (without following symlinks)
    if "manifests" not in absolute or (found := _inside(Path(absolute))) is None:
        return None
    store, name = found
    layers = read_json(path, MAX_MANIFEST).get("layers")
    if not isinstance(layers, list):
        raise refusal(path, "has no layers")
    weights = list(_layers(path, store, name, layers))
    kinds = {_kind(layer) for layer in layers}
    if not weights and "tensor" in kinds:
        raise refusal(path, "its weights are layers of single tensors, which are not read")
    return weights


def _layers(path: Path, store: Path, name: str, layers: list[Any]) -> Iterator[Elsewhere]:
    seen = Counter[str]()
    for layer in layers:
        kind = _kind(layer)
        if kind not in _PARTS:
            continue
        digest = _DIGEST.fullmatch(str(layer.get("digest")))
        if digest is None:
            raise refusal(path, f"names a {kind} layer by what is no digest")
        seen[kind] += 1
        if seen.total() > MAX_LAYERS:
            raise refusal(path, f"names more than {MAX_LAYERS} layers of weights")
        part = _PARTS[kind] or ("" if seen[kind] == 1 else kind)
        part += f"-{seen[kind]}" if seen[kind] > 1 else ""
        blobs = [store / "blobs" / f"sha256{mark}{digest[1]}" for mark in "-:"]
        blob = next((b for b in blobs if os.path.lexists(b)), None)
        note = f"the {kind} of {name}: a component of it" if part else ""
        where = Place(name, (part,) if part else (), store, note=note)
        if blob is None:
            fault = f"its {kind}, {blobs[0].name}, is not there; `ollama pull {name}` fetches it"
            yield Elsewhere(path, where, part, fault)
        else:
            yield Elsewhere(blob, where, part)


def _kind(layer: Any) -> str:
    """What kind of layer it is, by its media type."""
    media = layer.get("mediaType") if isinstance(layer, dict) else None
    return media.partition(";")[0].removeprefix(_MEDIA) if isinstance(media, str) else ""


STORE = Store(place, searched, named)
