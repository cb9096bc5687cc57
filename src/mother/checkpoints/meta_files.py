"""Meta's releases: consolidated.00.pth and on, each with a part of every matrix.

The files of a model that was trained on several devices hold its matrices split along rows or
columns. Which, their sizes tell: a matrix whose rows are as long as the model is wide was split
along its rows, every other along its columns; vectors are whole in each.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mother.checkpoints.storage import File, refusal
from mother.checkpoints.tensor import Checkpoint, Tensor
from mother.checkpoints.torch_files import read_torch_zip
from mother.checkpoints.views import Tile, tiled
from mother.checkpoints.zip_archive import looks_like_zip, read_members

_PART = re.compile(r"consolidated\.(\d{2,3})\.pth")


def is_consolidated(names: list[str]) -> bool:
    """Whether a folder with these names holds a model in Meta's parts.

    >>> is_consolidated(["consolidated.00.pth", "params.json"])
    True
    """
    return any(_PART.fullmatch(name) for name in names)


def read_consolidated(folder: Path) -> Checkpoint:
    """The checkpoint in a folder; reads headers only. Raises InputError."""
    places = sorted(each.name for each in folder.iterdir() if _PART.fullmatch(each.name))
    numbers = [int(place.split(".")[1]) for place in places]
    if numbers != list(range(len(places))):
        raise refusal(folder, f"has {len(places)} parts, the last of which is {places[-1]}")
    parts = []
    for place in places:
        file = File(folder / place)
        if not looks_like_zip(file.read(0, min(4, file.size))):
            raise file.fault("no PyTorch data")
        parts.append(replace(read_torch_zip(file, read_members(file)), files=(file,)))
    first = parts[0]
    if any(part.tensors.keys() != first.tensors.keys() for part in parts):
        raise refusal(folder, "has parts that hold different tensors")
    width = _width(first.tensors)
    tensors: dict[str, Tensor] = {}
    for name in first.tensors:
        try:
            tensors[name] = _joined(name, [part.tensors[name] for part in parts], width)
        except ValueError as error:
            raise refusal(folder, f"tensor {name[:200]!r} {error}") from None
    files = tuple(file for part in parts for file in part.files)
    notes = (f"joined {len(parts)} parts",) if len(parts) > 1 else ()
    return Checkpoint(folder.name, folder, "pytorch", tensors, notes=notes, files=files)


def _width(tensors: Mapping[str, Tensor]) -> int:
    """How wide the model is: the most frequent size of a vector."""
    sizes = Counter(t.shape[0] for t in tensors.values() if len(t.shape) == 1)
    return max(sizes, key=lambda size: (sizes[size], size), default=0)


def _joined(name: str, parts: list[Tensor], width: int) -> Tensor:
    first = parts[0]
    if len(parts) == 1 or len(first.shape) < 2:
        return first
    axis = 0 if first.shape[-1] == width else len(first.shape) - 1
    tiles, at = [], 0
    for part in parts:
        tiles.append(Tile(tuple(at if k == axis else 0 for k in range(len(first.shape))), part))
        at += (*part.shape, *[0] * len(first.shape))[axis]
    shape = tuple(at if k == axis else side for k, side in enumerate(first.shape))
    return tiled(name, first.dtype, shape, tiles)
