"""MLC-LLM's folders: a list of tensors by shard, params_shard_0.bin and on, and of quantized layers
codes of 4 bits in words of 32 beside a scale for each group of a row.

Format: python/mlc_llm/quantization/group_quantization.py of mlc-llm (q4f16_1 and its like), and
tvm/contrib/tvmjs.py of TVM for the list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mother.checkpoints.json_files import read_json
from mother.checkpoints.laid_out import MAX_DIMENSIONS, Window, lay_out
from mother.checkpoints.quantized.scheme import ByRows, Weight, rounded, words
from mother.checkpoints.storage import File, refusal
from mother.checkpoints.tensor import Array, Checkpoint, Tensor, clean, dtype_of, scheme_of
from mother.checkpoints.work import TENSOR

#: what the list is called, today and before 2025
LISTS = ("tensor-cache.json", "ndarray-cache.json")
_CODES, _SCALES = ".q_weight", ".q_scale"
_BITS, _GROUP = 4, 32
_ZERO = 7  # of codes from 0 to 15, the one that means 0


def is_mlc(names: list[str]) -> bool:
    """Whether a folder with these names is MLC-LLM's.

    >>> is_mlc(["mlc-chat-config.json", "ndarray-cache.json", "params_shard_0.bin"])
    True
    """
    return any(name in names for name in LISTS)


def read_mlc(folder: Path) -> Checkpoint:
    """The checkpoint in a folder; reads its list only. Raises InputError."""
    path = next(folder / name for name in LISTS if (folder / name).is_file())
    files: dict[str, File] = {}
    stored: dict[str, Tensor] = {}
    for place, entry in _entries(path):
        if place not in files:
            files[place] = File(folder / place)
        try:
            tensor = _tensor(files[place], entry)
        except ValueError as error:
            raise refusal(path, str(error)) from None
        if tensor.name in stored:
            raise refusal(path, f"names {tensor.name[:200]!r} twice")
        stored[tensor.name] = tensor
    if not stored:
        raise refusal(path, "lists no tensors")
    tensors = {n: t for n, t in stored.items() if not n.endswith((_CODES, _SCALES))}
    notes: list[str] = []
    unread: dict[str, int] = {}
    for name, codes in stored.items():
        if not name.endswith(_CODES):
            continue
        module = name.removesuffix(_CODES)
        scales = stored.get(module + _SCALES)
        weight = None if scales is None else _weight(codes, scales)
        if weight is None:
            notes.append(f"skipped {module!r}: packed by other than 4 bits in groups of 32")
            unread[module] = codes.weights
        else:
            tensors[f"{module}.weight"] = weight.tensor(module)
    held, told, scheme = tuple(files.values()), tuple(notes), scheme_of(tensors.values())
    found = Checkpoint(folder.name, folder, "mlc", tensors, notes=told, files=held, unread=unread)
    return replace(found, scheme=scheme)


def _entries(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The name of a shard and what is told of a tensor in it, of all of them."""
    shards = read_json(path).get("records")
    for shard in shards if isinstance(shards, list) else ():
        place = shard.get("dataPath") if isinstance(shard, dict) else None
        inside = shard.get("records") if isinstance(shard, dict) else None
        if not isinstance(place, str) or not isinstance(inside, list):
            raise refusal(path, "has a shard without a name or a list of tensors")
        if place in ("", ".", "..") or any(mark in place for mark in "/\\\0:"):
            raise refusal(path, f"names a shard outside its folder: {clean(place)[:200]!r}")
        for entry in inside:
            if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                raise refusal(path, "has a tensor without a name")
            yield place, entry


def _tensor(file: File, entry: Mapping[str, Any]) -> Tensor:
    name, kind = clean(entry["name"]), entry.get("dtype")
    shape: Any = entry.get("shape")
    start: Any = entry.get("byteOffset")
    nbytes: Any = entry.get("nbytes")
    file.work.spend(TENSOR + len(name))
    if kind == "float32" and entry.get("format") == "f32-to-bf16":
        kind = "bfloat16"
    dtype = dtype_of(kind) if isinstance(kind, str) else None
    if dtype is None or dtype.kind not in "biufV" or not dtype.itemsize:
        raise ValueError(f"has {name[:200]!r} of the unknown dtype {clean(str(kind))[:40]!r}")
    whole = isinstance(shape, list) and len(shape) <= MAX_DIMENSIONS
    if not whole or not all(type(n) is int and 0 <= n < 2**63 for n in (*shape, start, nbytes)):
        raise ValueError(f"has {name[:200]!r} without a valid shape or place")
    if start + nbytes > file.size:
        raise ValueError(f"has {name[:200]!r} end beyond {clean(file.path.name)}; it is truncated")
    try:
        return lay_out(name, Window(file, start, nbytes), dtype, tuple(shape))
    except ValueError as error:
        raise ValueError(f"has {name[:200]!r} that {error}") from None


def _weight(codes: Tensor, scales: Tensor) -> Weight | None:
    """A layer whose rows follow one another, word by word; None where it is stored otherwise."""
    *rows, across = codes.shape if codes.shape else (0,)
    groups = across * 32 // _BITS // _GROUP
    fits = codes.dtype == np.uint32 and scales.is_weight and codes.size
    if not fits or scales.shape != (*rows, groups) or groups * _GROUP * _BITS != across * 32:
        return None
    many, width = codes.size // across, groups * _GROUP
    flat = Tensor(codes.name, codes.dtype, (many, across), codes.source)
    beside = Tensor(scales.name, scales.dtype, (many, groups), scales.source)

    def decode(packed: Array, scale: Array) -> Array:
        values = words(np.ascontiguousarray(packed), _BITS).astype(np.float32) - _ZERO
        with np.errstate(over="ignore", invalid="ignore"):
            values *= np.repeat(scale.astype(np.float32), _GROUP, axis=1)
        return rounded(values, scales.dtype)

    held = ByRows(width, ((flat, 1), (beside, 1)), decode)
    return Weight(held, scales.dtype, (*rows, width), f"MLC {_BITS} bit g{_GROUP}")
