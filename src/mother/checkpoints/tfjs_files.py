"""TensorFlow.js folders: model.json, and binary shards with the weights one behind the other.

Format: https://github.com/tensorflow/tfjs/blob/master/tfjs-core/src/io/types.ts (WeightsManifest)
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mother.checkpoints.laid_out import MAX_DIMENSIONS, lay_out
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Array, Checkpoint, DType, Slice, Tensor, clean, scheme_of

MANIFEST = "model.json"
MAX_JSON = 64 << 20
_SHARD = re.compile(r"group\d+-shard\d+of\d+(?:\.bin)?|(?:.+\.)?weights\.bin")
_DTYPES = {"float32": "<f4", "int32": "<i4", "bool": "|b1", "complex64": "<c8"}
#: largest step or least value of a grid, near float32's largest
FARTHEST = 1e38
#: how a weight may be stored more coarsely; the last by its own numbers, the others by a scale
_STORED = {"uint8": "|u1", "uint16": "<u2", "float16": "<f2"}


def is_tfjs(names: list[str]) -> bool:
    """Whether a folder with these names is a TensorFlow.js model.

    >>> is_tfjs(["group1-shard1of1.bin", "model.json"]), is_tfjs(["model.json"])
    (True, False)
    """
    return MANIFEST in names and any(_SHARD.fullmatch(name) for name in names)


def read_tfjs(folder: Path) -> Checkpoint:
    """The checkpoint in a folder; reads model.json only. Raises InputError."""
    manifest = File(folder / MANIFEST)
    tensors: dict[str, Tensor] = {}
    notes: list[str] = []
    unread: dict[str, int] = {}
    files = [manifest]
    for group in _groups(manifest):
        end = 0
        span = _Joined.of(manifest, group.get("paths"))
        files += span.files
        weights = group.get("weights")
        if not isinstance(weights, list):
            raise manifest.fault("has a group without a list of weights")
        for entry in weights:
            name, shape, dtype, grid = _entry(manifest, entry)
            try:
                tensor = lay_out(name, span, dtype, shape, offset=end)
            except ValueError as error:
                raise manifest.fault(f"tensor {name!r} {error}") from None
            end += tensor.nbytes
            if name in tensors or name in unread:
                raise manifest.fault(f"names {name!r} twice")
            if grid is not None and entry.get("dtype") != "float32":
                notes.append(f"skipped {name!r}: integers, quantized to {dtype} with a scale")
                unread[name] = tensor.size
            elif grid is not None:
                tensors[name] = _scaled(tensor, *grid)
            else:
                tensors[name] = tensor
    if not tensors:
        raise manifest.fault("; ".join(["holds no tensors", *notes[:1]]))
    held, told, scheme = tuple(files), tuple(notes), scheme_of(tensors.values())
    found = Checkpoint(folder.name, folder, "tfjs", tensors, notes=told, files=held, unread=unread)
    return replace(found, scheme=scheme)


def _scaled(codes: Tensor, scale: float, least: float) -> Tensor:
    """Codes of one grid, as decodeWeights of tfjs-core makes them floats: in float64 first."""
    source = _OnGrid(codes, scale, least)
    kind = np.dtype(np.float32)
    return Tensor(codes.name, kind, codes.shape, source, scheme=f"TensorFlow.js {codes.dtype}")


@dataclass(frozen=True, eq=False)
class _OnGrid:
    codes: Tensor
    scale: float
    least: float

    def read(self, start: int, stop: int) -> Array:
        with np.errstate(over="ignore"):
            values = self.codes.read(start, stop) * np.float64(self.scale) + self.least
            return np.asarray(values, np.float32)

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return self.codes.slices(start, stop)


def _groups(manifest: File) -> list[dict[str, Any]]:
    if manifest.size > MAX_JSON:
        raise manifest.fault(f"has {manifest.size} bytes; JSON of {MAX_JSON} is the most")
    try:
        parsed = json.loads(manifest.read(0, manifest.size).decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise manifest.fault("not valid JSON") from None
    groups = parsed.get("weightsManifest") if isinstance(parsed, dict) else None
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise manifest.fault("has no weightsManifest")
    return groups


def _entry(
    manifest: File, entry: Any
) -> tuple[str, tuple[int, ...], DType, tuple[float, float] | None]:
    """Name, shape, stored dtype, and of integers on a grid its step and the least of them."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise manifest.fault("has a weight without a name")
    name, shape, kind = clean(entry["name"]), entry.get("shape"), entry.get("dtype")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
        raise manifest.fault(f"tensor {name[:200]!r} lacks a valid shape")
    if not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        raise manifest.fault(f"tensor {name[:200]!r} lacks a valid shape")
    quantization: Any = entry.get("quantization")
    stored = quantization.get("dtype") if isinstance(quantization, dict) else kind
    known = _STORED if isinstance(quantization, dict) else _DTYPES
    if not isinstance(stored, str) or stored not in known:
        raise manifest.fault(f"tensor {name[:200]!r} is of a dtype that is not read")
    dtype = np.dtype(known[stored])
    if known is _DTYPES or dtype.kind != "u":
        return name, tuple(shape), dtype, None
    grid = [quantization.get(key) for key in ("scale", "min")]
    if not all(type(x) in (int, float) and abs(x) <= FARTHEST for x in grid):
        raise manifest.fault(f"tensor {name[:200]!r} lacks a valid scale and min")
    return name, tuple(shape), dtype, (float(grid[0]), float(grid[1]))


@dataclass(frozen=True, eq=False)
class _Joined:
    """Several files one behind the other. ends: of each, counted from the first one's start."""

    files: tuple[File, ...]
    ends: tuple[int, ...]

    @classmethod
    def of(cls, manifest: File, paths: Any) -> _Joined:
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise manifest.fault("has a group without a list of paths")
        for path in paths:
            if path in ("", ".", "..") or any(mark in path for mark in "/\\\0:"):
                raise manifest.fault(f"names a shard outside its folder: {clean(path)[:200]!r}")
        if len(set(paths)) < len(paths):
            raise manifest.fault("names a shard twice")
        files = tuple(File(manifest.path.parent / path) for path in paths)
        return cls(files, tuple(itertools.accumulate(file.size for file in files)))

    @property
    def nbytes(self) -> int:
        return self.ends[-1] if self.ends else 0

    def array(self, start: int, stop: int) -> Array:
        parts = [file.array(*within) for file, *within in self.slices(start, stop)]
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.uint8), *parts])

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        for file, end in zip(self.files, self.ends, strict=True):
            first = end - file.size
            if first < stop and start < end:
                yield Slice(file, max(start - first, 0), min(stop - first, file.size))
