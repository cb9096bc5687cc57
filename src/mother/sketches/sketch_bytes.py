"""Sketches as bytes that say what they are, and back; what is none is refused in one line."""

from __future__ import annotations

import hashlib
import json
import math
import re
import zlib
from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint, Tensor
from mother.checkpoints.tensor import clean, dtype_of, is_floating
from mother.errors import InputError
from mother.measures.shapes import as_matrix
from mother.sketches.labels import LABELS
from mother.sketches.sketch import Absent, absent, standing, window_of
from mother.sketches.windows import Window

MAGIC = b"mother.sketch/"
VERSIONS = b"4\n", b"5\n"  # 5 where a model's labels follow its windows
_DIGEST = 32
_START = len(MAGIC + VERSIONS[0]) + 4
_MAX_HEADER = 64 << 20
_MAX_DIMENSIONS = 32
_TYPE = re.compile(r"(b?float|u?int|complex|bool)[a-z0-9_]{0,16}")


def dump(sketched: Checkpoint, seed: int = 0, labels: bytes = b"") -> bytes:
    """A sketch as bytes that say what they are; the same sketch gives the same bytes. labels: what
    relabelling leaves of the model, as `labels_in` gives it back.

    Magic and version; the length of the header as four bytes, least first; the header, JSON and
    deflated; the windows in the header's order, rows after rows, in the stored types, least
    byte first; the labels; SHA-256 of all before. The header has name, dtype, shape and window of
    each tensor, and of a quantized model its scheme, and scheme and width of the cells of each such
    tensor; the scheme is "" where weights were decoded before, and stored as floats.
    """
    tensors = [sketched.tensors[name] for name in sorted(sketched.tensors)]
    rows = []
    for t in tensors:
        window = window_of(t)
        at = list(astuple(window)) if window else None
        rows.append([t.name, str(t.dtype), list(t.shape), at])
    content = {"seed": seed, "format": sketched.format, "tensors": rows}
    coded = {t.name: [t.scheme, t.cell] for t in tensors if t.scheme or t.cell}
    if sketched.scheme or coded:
        content |= {"scheme": sketched.scheme, "coded": coded}
    if labels:
        content |= {"labels": len(labels)}
    text = json.dumps(content, separators=(",", ":"))
    header = _deflated(text)
    parts = [MAGIC + VERSIONS[bool(labels)], len(header).to_bytes(4, "little"), header]
    for t in tensors:
        parts.append(_little(t.kept.read()).tobytes())
    body = b"".join([*parts, labels])
    return body + hashlib.sha256(body).digest()


@lru_cache(maxsize=64)
def _deflated(text: str) -> bytes:
    """Models of one architecture share it."""
    return zlib.compress(text.encode("ascii"), 9)


def _little(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(values.dtype.newbyteorder("<")) if values.dtype.kind in "iuf" else values


def load(
    data: bytes, path: Path, *, id: str = "", seed: int = 0, verified: bool = False
) -> Checkpoint:
    """A sketch from its bytes. verified: their checksum is known to be right.

    Raises InputError naming `path` where they are torn, of a newer version, or of another seed.

    >>> from mother.checkpoints.tensor import constant
    >>> from mother.sketches.sketch import sketch
    >>> whole = Checkpoint("a", Path("a"), "npz", {"w": constant("w", np.eye(64))})
    >>> small = sketch(whole, 1024)
    >>> dump(load(dump(small), Path("a"), id="a")) == dump(small)
    True
    """
    if not data.startswith(MAGIC):
        raise InputError(path, "not a sketch")
    if not data.startswith(tuple(MAGIC + version for version in VERSIONS)):
        raise InputError(
            path, "a sketch of a version that is not known here; upgrade mother, or sketch again"
        )
    start = _START
    if len(data) < start + _DIGEST:
        raise InputError(path, "a sketch that was cut off")
    if not verified and hashlib.sha256(data[:-_DIGEST]).digest() != data[-_DIGEST:]:
        raise InputError(path, "a sketch whose checksum is wrong: torn or altered")
    length = int.from_bytes(data[start - 4 : start], "little")
    try:
        header = _header(data[start : start + length])
    except (ValueError, TypeError, RecursionError, zlib.error) as fault:
        raise InputError(path, f"a sketch with a broken header ({fault})") from None
    if header.seed != seed:
        raise InputError(path, f"a sketch of seed {header.seed}, not {seed}")
    if start + length + header.bytes + header.labels + _DIGEST != len(data):
        raise InputError(path, "a sketch of another length than its header says")
    held = np.frombuffer(data, np.uint8, header.bytes, start + length)
    tensors: dict[str, Tensor] = {}
    at = 0
    for tensor, window in header.tensors:
        if window is None:
            tensors[tensor.name] = absent(tensor)
            continue
        stop = at + window.rows * window.columns * tensor.dtype.itemsize
        values = np.frombuffer(held[at:stop].tobytes(), _little_type(tensor.dtype))
        values = values.astype(tensor.dtype, copy=False)
        tensors[tensor.name] = standing(tensor, window, values)
        at = stop
    return Checkpoint(id, path, header.format, tensors, scheme=header.scheme)


def labels_in(data: bytes) -> bytes:
    """The labels in the bytes of a sketch that `load` takes; none in those of older ones."""
    length = int.from_bytes(data[_START - 4 : _START], "little")
    many = _header(data[_START : _START + length]).labels
    return data[len(data) - _DIGEST - many : len(data) - _DIGEST]


def _little_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("<") if dtype.kind in "iuf" else dtype


@dataclass(frozen=True)
class _Header:
    """bytes: of all windows, and of labels. tensors: without their weights."""

    seed: int
    format: str
    scheme: str
    tensors: tuple[tuple[Tensor, Window | None], ...]
    bytes: int
    labels: int


@lru_cache(maxsize=64)
def _header(deflated: bytes) -> _Header:
    """Models of one architecture share it to the byte. ValueError where it is none."""
    inflate = zlib.decompressobj()
    text = inflate.decompress(deflated, _MAX_HEADER)
    if not inflate.eof or inflate.unused_data:
        raise ValueError("not one deflated text of a sensible length")
    content = json.loads(text)
    if not isinstance(content, dict) or not isinstance(content.get("tensors"), list):
        raise ValueError("no list of tensors")
    seed, kind = content.get("seed"), content.get("format")
    if type(seed) is not int or not isinstance(kind, str):
        raise ValueError("no seed or no format")
    scheme, coded = content.get("scheme", ""), content.get("coded", {})
    if not isinstance(scheme, str) or not isinstance(coded, dict):
        raise ValueError("a scheme that is none")
    found = [_entry(entry, coded) for entry in content["tensors"]]
    if len({tensor.name for tensor, _ in found}) < len(found):
        raise ValueError("a tensor that stands twice")
    total = sum(w.rows * w.columns * t.dtype.itemsize for t, w in found if w is not None)
    labels = content.get("labels", 0)
    if type(labels) is not int or labels not in (0, LABELS):
        raise ValueError("labels of no length")
    return _Header(seed, clean(kind), clean(scheme), tuple(found), total, labels)


def _entry(entry: Any, coded: dict[str, Any]) -> tuple[Tensor, Window | None]:
    if not isinstance(entry, list) or len(entry) != 4:
        raise ValueError("an entry that is none")
    name, kind, shape, at = entry
    dtype = dtype_of(kind) if isinstance(kind, str) and _TYPE.fullmatch(kind) else None
    if not isinstance(name, str) or dtype is None:
        raise ValueError("a tensor without a name or of an unknown type")
    if not _naturals(shape, _MAX_DIMENSIONS):
        raise ValueError("a tensor without a shape")
    told = coded.get(name, ["", 0.0])
    if not isinstance(told, list) or [type(each) for each in told] != [str, float]:
        raise ValueError("a scheme that is none")
    scheme, cell = clean(told[0]), told[1]
    if not 0 <= cell < math.inf:
        raise ValueError("codes that are of no width")
    name = clean(name)
    window = None
    if at is not None:
        if not _naturals(at, 6) or len(at) != 6:
            raise ValueError("a window without its six numbers")
        window = Window(*at)
        height, width = as_matrix(tuple(shape))
        inside = window.top < height and window.left < width and window.step >= 1
        inside &= window.across >= 1
        inside &= 1 <= window.rows <= height and 1 <= window.columns <= width
        if not inside or not is_floating(dtype):
            raise ValueError("a window outside its tensor")
    source = Absent(name, window)
    return Tensor(name, dtype, tuple(shape), source, scheme=scheme, cell=cell), window


def _naturals(value: Any, most: int) -> bool:
    if not isinstance(value, list) or len(value) > most:
        return False
    return all(type(n) is int and 0 <= n < 2**63 for n in value)
