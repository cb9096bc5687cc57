"""PyTorch's distributed checkpoints: a folder of .distcp files, and .metadata that tells what lies
where in them.

The metadata is a pickle, of which only the data is looked at. Each part of a tensor is a file of
its own within a .distcp, as torch.save writes it.
Format: torch/distributed/checkpoint/metadata.py and filesystem.py
"""

from __future__ import annotations

import io
import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mother.checkpoints.counted import MAX_COUNTS
from mother.checkpoints.pickle_data import read_pickle
from mother.checkpoints.pickled_objects import Opaque
from mother.checkpoints.safetensors import looks_like_safetensors, read_safetensors
from mother.checkpoints.state_dict import is_training
from mother.checkpoints.storage import File, refusal
from mother.checkpoints.tensor import Checkpoint, Tensor, clean
from mother.checkpoints.torch_files import read_torch_zip
from mother.checkpoints.views import Tile, tiled
from mother.checkpoints.zip_archive import looks_like_zip, read_members
from mother.errors import InputError

METADATA = ".metadata"
_STEP = ".step"  # how what an optimizer counts for a weight is called
MAX_METADATA = 256 << 20
MAX_PATH, MAX_KEY = 16, 200  # keys above a tensor that are looked at, and letters told of each


def is_distributed(names: list[str]) -> bool:
    """Whether a folder with these names is a distributed checkpoint.

    >>> is_distributed(["__0_0.distcp", "__1_0.distcp"])
    True
    """
    return any(name.endswith(".distcp") for name in names)


def read_distributed(folder: Path) -> Checkpoint:
    """The checkpoint in a folder; reads the metadata, and of each part where its bytes are.
    Raises InputError."""
    metadata = File(folder / METADATA)
    if metadata.size > MAX_METADATA:
        raise metadata.fault(f"has {metadata.size} bytes; {MAX_METADATA} are the most")
    stream = io.BytesIO(metadata.read(0, metadata.size))
    try:
        tree = read_pickle(stream, objects_as_keys=True, work=metadata.work)
    except ValueError as error:
        raise metadata.fault(str(error)) from None
    state = tree.state if isinstance(tree, Opaque) else {}
    kinds, places = state.get("state_dict_metadata"), state.get("storage_data")
    if not isinstance(kinds, dict) or not isinstance(places, dict):
        raise metadata.fault("does not tell where the tensors lie")
    files: dict[str, File] = {}
    tiles: dict[str, list[Tile]] = {}
    beside = {name: _of_training(state, name) for name in kinds if isinstance(name, str)}
    notes = [f"left out {key!r}" for key in sorted({clean(key) for key in beside.values() if key})]
    unread: dict[str, int] = {}
    for index, place in places.items():
        name, offsets = _index(metadata, index)
        if not _is_tensor(kinds.get(name)) or beside.get(name):
            continue
        part = _part(metadata, place, files)
        if part is None:
            notes.append(f"skipped {name!r}: compressed by an extension")
            unread[name] = math.prod(_size(metadata, kinds[name]))
            continue
        tiles.setdefault(name, []).append(Tile(offsets or (0,) * len(part.shape), part))
    tensors = {name: _joined(metadata, name, kinds[name], tiles[name]) for name in tiles}
    if not tensors:
        raise refusal(folder, "a distributed checkpoint without tensors")
    told = tuple(notes)
    held = (metadata, *files.values())
    steps = _steps(metadata, places, beside, kinds, files)
    found = Checkpoint(folder.name, folder, "dcp", tensors, notes=told, files=held, unread=unread)
    return replace(found, steps=steps)


def _steps(
    metadata: File,
    places: dict[Any, Any],
    beside: dict[str, str],
    kinds: dict[Any, Any],
    files: dict[str, File],
) -> dict[str, Tensor]:
    """What each optimizer counted for the first of its weights that it counted for. Without them
    the model is as whole."""
    found: dict[str, Tensor] = {}
    for index, place in places.items():
        with suppress(InputError):
            name, _ = _index(metadata, index)
            of = beside.get(name)
            counts = name.endswith(_STEP) and _is_tensor(kinds.get(name))
            if of and of not in found and counts and len(found) < MAX_COUNTS:
                part = _part(metadata, place, files)
                if part is not None and part.size == 1:
                    found[of] = part
    return found


def _of_training(state: dict[str, Any], name: str) -> str:
    """What in a training's state a tensor is part of, "" where it is the model's: by the keys that
    it was flattened from."""
    paths = state.get("planner_data")
    path = paths.get(name) if isinstance(paths, dict) else None
    above = path[:-1] if isinstance(path, tuple) and path else name.split(".")[:1]
    for k, key in enumerate(above[:MAX_PATH]):
        if is_training(key):
            return ".".join(str(each)[:MAX_KEY] for each in above[: k + 1])
    return ""


def _is_tensor(kind: Any) -> bool:
    return isinstance(kind, Opaque) and kind.symbol.endswith("TensorStorageMetadata")


def _index(metadata: File, index: Any) -> tuple[str, tuple[int, ...]]:
    """Name and place of a part, by its key."""
    state = index.state if isinstance(index, Opaque) else {}
    name, offsets = state.get("fqn"), state.get("offset")
    if not isinstance(name, str):
        raise metadata.fault("holds a part without a name")
    return clean(name), _sizes(metadata, offsets) if offsets is not None else ()


def _sizes(metadata: File, values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple) or not all(
        type(n) is int and 0 <= n < 1 << 62 for n in values
    ):
        raise metadata.fault("holds a tensor without a valid size")
    return values


def _part(metadata: File, place: Any, files: dict[str, File]) -> Tensor | None:
    """The one tensor at a place; None where it is packed by an extension."""
    state = place.state if isinstance(place, Opaque) else {}
    path, offset, length = (state.get(key) for key in ("relative_path", "offset", "length"))
    if not isinstance(path, str) or type(offset) is not int or type(length) is not int:
        raise metadata.fault("holds a part without a place")
    if any(part in ("", ".", "..") for part in path.split("/")) or "\\" in path or "\0" in path:
        raise metadata.fault(f"names a file outside its folder: {clean(path)[:200]!r}")
    if state.get("transform_descriptors"):
        return None
    if path not in files:
        files[path] = File(metadata.path.parent / path)
    section = files[path].section(offset, offset + length)
    start = section.read(0, min(section.size, 16))
    if looks_like_zip(start):
        held = read_torch_zip(section, read_members(section)).tensors
    elif looks_like_safetensors(start):
        held = read_safetensors(section).tensors
    else:
        raise section.fault("holds a part that neither torch.save nor safetensors wrote")
    if len(held) != 1:
        raise section.fault(f"holds a part of {len(held)} tensors")
    return next(iter(held.values()))


def _size(metadata: File, kind: Any) -> tuple[int, ...]:
    state = kind.state if isinstance(kind, Opaque) else {}
    return _sizes(metadata, state.get("size"))


def _joined(metadata: File, name: str, kind: Any, parts: list[Tile]) -> Tensor:
    try:
        return tiled(name, parts[0].tensor.dtype, _size(metadata, kind), parts)
    except ValueError as error:
        raise metadata.fault(f"tensor {name[:200]!r} {error}") from None
