"""Safetensors files: 8 bytes of header length, a JSON header, then the tensors' bytes.

Format: https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

from mother.checkpoints.laid_out import MAX_DIMENSIONS, Window, lay_out
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Checkpoint, DType, Tensor, clean, dtype_of
from mother.checkpoints.unfilled import refuse_unfilled

#: the format's own bound
MAX_HEADER = 100_000_000
_DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}
#: several elements share a byte: no numpy dtype holds them as stored
_PACKED = {"F4", "F6_E2M3", "F6_E3M2"}


def looks_like_safetensors(start: bytes) -> bool:
    """Whether a file's first 9 bytes can be those of a safetensors file."""
    return len(start) >= 9 and start[8:9] == b"{"


def read_safetensors(file: File) -> Checkpoint:
    """The checkpoint in a safetensors file; reads its header, and whether its end was filled.
    Raises InputError."""
    length, header = _header(file)
    body = Window(file, 8 + length, file.size - 8 - length)
    tensors: dict[str, Tensor] = {}
    spans: list[tuple[int, int, str]] = []
    notes: list[str] = []
    unread: dict[str, int] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        label = clean(name)
        kind, shape, start, stop = _entry(file, label, entry)
        if stop > body.nbytes:
            raise file.fault(
                f"tensor {label!r} ends at byte {stop} of {body.nbytes}; "
                "the file is truncated; fetch it again"
            )
        spans.append((start, stop, label))
        if kind in _PACKED:
            notes.append(f"skipped {label!r}: {kind} packs several elements into a byte")
            unread[label] = math.prod(shape)
            continue
        dtype = _dtype(file, label, kind)
        if stop - start != math.prod(shape) * dtype.itemsize:
            raise file.fault(
                f"tensor {label!r} takes {stop - start} bytes, "
                f"{kind} of shape {list(shape)} does not"
            )
        tensors[label] = _tensor(file, label, body, dtype, shape, start)
    _refuse_overlaps(file, spans)
    rows = {label: tensor.shape[0] for label, tensor in tensors.items() if len(tensor.shape) > 1}
    at = 8 + length
    refuse_unfilled(file, ((at + a, at + b, rows.get(label, 1), label) for a, b, label in spans))
    if not tensors:
        raise file.fault("holds no tensors")
    told = tuple(notes)
    return Checkpoint(file.path.stem, file.path, "safetensors", tensors, notes=told, unread=unread)


def read_metadata(file: File) -> dict[str, str]:
    """The strings that a safetensors file's `__metadata__` holds. Raises InputError."""
    stored = _header(file)[1].get("__metadata__")
    pairs = stored.items() if isinstance(stored, dict) else ()
    return {clean(key): clean(value) for key, value in pairs if isinstance(value, str)}


def _header(file: File) -> tuple[int, dict[str, Any]]:
    length = int.from_bytes(file.read(0, 8), "little")
    if length > min(MAX_HEADER, file.size - 8):
        raise file.fault(f"header claims {length} bytes, the file has {file.size}")
    return length, _parse(file, file.read(8, length))


def _parse(file: File, header: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(header.decode("utf-8"), object_pairs_hook=_unique)
    except _DuplicateError as error:
        raise file.fault(f"header names {clean(error.args[0])!r} twice") from None
    except (ValueError, RecursionError):
        raise file.fault("not a safetensors file: its header is not JSON") from None
    if not isinstance(parsed, dict):
        raise file.fault("not a safetensors file: its header is no JSON object")
    return parsed


class _DuplicateError(Exception):
    """A JSON object with one key twice."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise _DuplicateError(key)
        seen[key] = value
    return seen


def _entry(file: File, label: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """dtype name, shape, first and last byte of a header entry, with their types checked."""
    if isinstance(entry, dict):
        kind: Any = entry.get("dtype")
        shape: Any = entry.get("shape")
        offsets: Any = entry.get("data_offsets")
        if (
            isinstance(kind, str)
            and _naturals(shape, MAX_DIMENSIONS)
            and _naturals(offsets, 2)
            and len(offsets) == 2
            and offsets[0] <= offsets[1]
        ):
            return kind, tuple(shape), offsets[0], offsets[1]
    raise file.fault(f"tensor {label!r} lacks a valid dtype, shape or data_offsets")


def _naturals(value: Any, most: int) -> bool:
    # the bounds keep the product of a shape's entries a small computation
    if not isinstance(value, list) or len(value) > most:
        return False
    return all(type(n) is int and 0 <= n < 2**63 for n in value)


def _dtype(file: File, label: str, kind: str) -> DType:
    dtype = dtype_of(_DTYPES[kind]) if kind in _DTYPES else None
    if dtype is None:
        raise file.fault(f"tensor {label!r} is of the unknown dtype {clean(kind)[:40]!r}")
    return dtype.newbyteorder("<") if dtype.kind in "iufc" else dtype


def _tensor(
    file: File, label: str, body: Window, dtype: DType, shape: tuple[int, ...], start: int
) -> Tensor:
    try:
        return lay_out(label, body, dtype, shape, offset=start)
    except ValueError as error:
        raise file.fault(f"tensor {label!r} {error}") from None


def _refuse_overlaps(file: File, spans: list[tuple[int, int, str]]) -> None:
    filled = sorted(span for span in spans if span[0] < span[1])
    for (_, stop, one), (start, _, other) in itertools.pairwise(filled):
        if start < stop:
            raise file.fault(f"tensors {one!r} and {other!r} overlap")
