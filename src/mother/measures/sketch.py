"""A small sample of every layer that stands for a whole checkpoint.

Inner products survive sampling: <w_i, w_j> over a part of a layer, times what the part is of the
whole, estimates that of the layer, and all that the default method knows of models are such
products. So a checkpoint is reduced once, to the same window of each layer in every checkpoint, and
its sketch is a `Checkpoint` whose layers are those windows: the method's code runs on it unchanged.

A window is a run of rows and columns of the layer seen as a matrix, from a place that only the
layer's shape, the end of its name and a seed decide; a larger one at the same place holds a smaller
one. A part of a matrix keeps what makes matrices tell: the rank of a change, the grid of a row. And
it lies in the file as a few slices near each other.

What a layer says of direction grows with the weights seen in it, but little beyond some thousands,
and its share of the distance grows with its size: so a layer gets bytes by the square root of its
size, a small one all that it has, and of what is no matrix, which only breaks ties, VECTOR weights.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint, Slice, Tensor, prefetch
from mother.checkpoints.tensor import clean, constant, dtype_of, is_floating
from mother.errors import InputError
from mother.measures.lowrank import as_matrix, is_matrix

Shape = tuple[int, ...]
BUDGET = 256 << 10  # bytes of weights that a sketch holds
BAND = 1 << 15  # bytes of whole rows that are read at once rather than a part of each
VECTOR = 64  # weights of a tensor that is no matrix
NARROWEST = 32  # columns of a window, where the matrix has them
SIGNATURE = 64  # numbers in a signature
_CORNER = (8, 32)  # of a window, that it is made of
MAGIC = b"mother.sketch/"
VERSION = b"1\n"
_DIGEST = 32
_MAX_HEADER = 64 << 20
_MAX_DIMENSIONS = 32
_TYPE = re.compile(r"(b?float|u?int|complex|bool)[a-z0-9_]{0,16}")


@dataclass(frozen=True)
class Window:
    """`rows` x `columns` of a matrix from (top, left) on; past its last row or column the first
    follows.

    >>> window = Window(1, 2, 2, 2)
    >>> list(window.slices((3, 4)))
    [(6, 8), (10, 12)]
    >>> list(Window(2, 3, 2, 2).slices((3, 4)))
    [(11, 12), (8, 9), (3, 4), (0, 1)]
    """

    top: int
    left: int
    rows: int
    columns: int

    def slices(self, shape: Shape) -> Iterator[tuple[int, int]]:
        """The runs [start, stop) of a tensor's elements in C order that the window is made of, in
        its own order."""
        height, width = as_matrix(shape)
        right = self.left + self.columns
        for k in range(self.rows):
            row = (self.top + k) % height * width
            yield row + self.left, row + min(right, width)
            if right > width:
                yield row, row + right - width

    def bands(self, shape: Shape) -> list[tuple[int, int]]:
        """One run, or two, that hold all of them: whole rows, for where a read costs more than
        what it reads."""
        height, width = as_matrix(shape)
        stop = self.top + self.rows
        runs = [(self.top, min(stop, height))] + ([(0, stop - height)] if stop > height else [])
        return [(start * width, stop * width) for start, stop in runs]


def windows(
    tensors: Mapping[str, Tensor],
    budget: int = BUDGET,
    *,
    seed: int = 0,
    matrices: int | None = None,
) -> dict[str, Window]:
    """Which part of each weight tensor is sampled, by name, within `budget` bytes; one weight of
    each at the least.

    matrices: at most so many matrices are, drawn by what they are called, and nothing else: for
    where each costs a request.

    >>> tensors = {n: constant(n, np.zeros((64, 64), np.float32)) for n in ("a.weight", "b.weight")}
    >>> [w.rows * w.columns for w in windows(tensors, 8192).values()]
    [1024, 1024]
    """
    chosen = {n: t for n, t in tensors.items() if t.is_weight and t.size}
    if matrices is not None and any(is_matrix(t.shape) for t in chosen.values()):
        chosen = _drawn(chosen, matrices, seed)
    return {
        name: _window(name, chosen[name].shape, many, seed)
        for name, many in _shares(chosen, budget).items()
    }


def _drawn(tensors: dict[str, Tensor], most: int, seed: int) -> dict[str, Tensor]:
    """So many of the matrices. Which one is decided by its shape, the end of its name, and how many
    alike come before it, so that a prefix or another head changes little."""
    alike: Counter[tuple[str, Shape]] = Counter()
    ranked = []
    for name in sorted(tensors, key=_natural):
        kind = _end(name), tensors[name].shape
        if is_matrix(kind[1]):
            ranked.append((_number(seed, *kind, alike[kind]), name))
            alike[kind] += 1
    return {name: tensors[name] for _, name in sorted(ranked)[:most]}


def _natural(name: str) -> list[tuple[int, str]]:
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    ]


def _shares(tensors: Mapping[str, Tensor], budget: int) -> dict[str, int]:
    """Weights to take of each: by the square root of what could be taken, or all of it."""
    most = {n: t.size if is_matrix(t.shape) else min(t.size, VECTOR) for n, t in tensors.items()}
    shares: dict[str, int] = {}
    waiting, left = dict(most), float(budget)
    while waiting:
        wish = {n: math.sqrt(m) * tensors[n].dtype.itemsize for n, m in waiting.items()}
        unit = max(left, 0.0) / sum(wish.values())
        whole = [n for n, m in waiting.items() if unit * math.sqrt(m) >= m]
        for name in whole or list(waiting):
            most_of = waiting.pop(name)
            shares[name] = max(1, min(most_of, int(unit * math.sqrt(most_of))))
            left -= shares[name] * tensors[name].dtype.itemsize
        if not whole:
            break
    return shares


def _window(name: str, shape: Shape, many: int, seed: int) -> Window:
    """A window of about so many weights, nearly square but for NARROWEST."""
    height, width = as_matrix(shape)
    columns = min(width, max(NARROWEST, 1 << round(math.log2(many) / 2)), many)
    rows = min(height, many // columns)
    columns = min(width, many // rows)
    return Window(
        _number(seed, _end(name), shape, "top") % height,
        _number(seed, _end(name), shape, "left") % width,
        rows,
        columns,
    )


def _end(name: str) -> str:
    """The last component of a name: what no prefix changes, which one program puts before it and
    another does not."""
    return re.split(r"[./]", name)[-1]


def _number(*of: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(of).encode()).digest()[:8], "little")


def sketch(
    checkpoint: Checkpoint, budget: int = BUDGET, *, seed: int = 0, matrices: int | None = None
) -> Checkpoint:
    """The checkpoint with samples in place of its weights, all of them in memory. Arguments as
    those of `windows`. Reads little more than it keeps.

    >>> whole = Checkpoint("a", Path("a"), "npz", {"w": constant("w", np.eye(64))})
    >>> sketch(whole, 1024).tensors["w"].kept.shape, sketch(whole, 1024).tensors["w"].shape
    ((4, 32), (64, 64))
    """
    chosen = windows(checkpoint.tensors, budget, seed=seed, matrices=matrices)
    prefetch(
        part
        for name, window in chosen.items()
        for run in window.slices(checkpoint.tensors[name].shape)
        for part in checkpoint.tensors[name].slices(*run)
    )
    tensors = {
        name: _sampled(tensor, chosen[name]) if name in chosen else _absent(tensor)
        for name, tensor in checkpoint.tensors.items()
    }
    return replace(checkpoint, tensors=tensors)


def _sampled(tensor: Tensor, window: Window) -> Tensor:
    _, width = as_matrix(tensor.shape)
    bands = window.bands(tensor.shape)
    size = window.rows * width * tensor.dtype.itemsize
    if size <= BAND or window.columns == width:
        rows = np.concatenate([tensor.read(*band) for band in bands]).reshape(-1, width)
        columns = (window.left + np.arange(window.columns)) % width
        values = rows[:, columns]
    else:
        values = np.concatenate([tensor.read(*run) for run in window.slices(tensor.shape)])
    return _standing(tensor, window, values)


def _standing(tensor: Tensor, window: Window, values: NDArray[Any]) -> Tensor:
    """A tensor of which only the window is at hand."""
    sample = constant(tensor.name, values.reshape(window.rows, window.columns))
    return replace(tensor, source=_Absent(tensor.name, window), sample=sample)


def _absent(tensor: Tensor) -> Tensor:
    """A tensor of which nothing is at hand."""
    sample = constant(tensor.name, np.zeros((0, 0), tensor.dtype))
    return replace(tensor, source=_Absent(tensor.name, None), sample=sample)


@dataclass(frozen=True)
class _Absent:
    """Of a tensor of which a sketch keeps a window, or nothing."""

    name: str
    window: Window | None

    def read(self, start: int, stop: int) -> NDArray[Any]:
        raise InputError(self.name, "a sketch holds but a sample of it")

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return iter(())


def layout(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint's tensors without any weights: all that alignment asks of it."""
    return replace(checkpoint, tensors={n: _absent(t) for n, t in checkpoint.tensors.items()})


def signature(sketched: Checkpoint) -> NDArray[np.float32]:
    """SIGNATURE numbers, near each other where two models' weights are: a random projection of a
    corner of each window, each of norm 1, so that a scan over many models finds the nearest. What
    is not finite is taken for 0.

    As windows, it does not depend on prefixes of names; a layer that only one model has adds noise.

    >>> rng = np.random.default_rng(0)
    >>> w = rng.normal(size=(2, 64, 64)).astype(np.float32)
    >>> def of(x):
    ...     whole = Checkpoint("a", Path("a"), "npz", {"w": constant("w", x)})
    ...     return signature(sketch(whole, 4096))
    >>> a, near, far = of(w[0]), of(w[0] + w[1] / 100), of(w[1])
    >>> bool(np.linalg.norm(near - a) < np.linalg.norm(far - a) / 20)
    True
    """
    out = np.zeros(SIGNATURE)
    kept = {n: t.kept for n, t in sketched.tensors.items() if t.kept.size}
    matrices = {n for n in kept if is_matrix(sketched.tensors[n].shape)} or set(kept)
    alike: Counter[tuple[str, Shape]] = Counter()
    for name in sorted(matrices, key=_natural):
        kind = _end(name), sketched.tensors[name].shape
        sides = tuple(map(min, kept[name].shape, _CORNER))
        corner = kept[name].read().reshape(kept[name].shape)[: sides[0], : sides[1]]
        with np.errstate(all="ignore"):
            values = np.nan_to_num(corner.astype(np.float64), posinf=0.0, neginf=0.0)
            norm = float(np.sqrt(np.square(values).sum()))
        if norm > 0 and math.isfinite(norm):
            signs = _projection(_number(*kind, alike[kind]))[:, : sides[0], : sides[1]]
            out += np.tensordot(signs, values / norm, 2)
        alike[kind] += 1
    return np.asarray(out / math.sqrt(SIGNATURE * max(1, len(matrices))), dtype=np.float32)


@lru_cache(maxsize=4096)
def _projection(seed: int) -> NDArray[np.int8]:
    bits = np.random.default_rng(seed).integers(0, 2, (SIGNATURE, *_CORNER), dtype=np.int8)
    return np.asarray(2 * bits - 1, dtype=np.int8)


def dump(sketched: Checkpoint, seed: int = 0) -> bytes:
    """A sketch as bytes that say what they are; the same sketch gives the same bytes.

    Magic and version; the length of the header as four bytes, least first; the header, JSON and
    deflated; the windows in the header's order, rows after rows, in the stored types, least
    byte first; SHA-256 of all before. The header has name, dtype, shape and window of each tensor.
    """
    tensors = [sketched.tensors[name] for name in sorted(sketched.tensors)]
    rows = []
    for t in tensors:
        window = t.source.window if isinstance(t.source, _Absent) else None
        at = [window.top, window.left, window.rows, window.columns] if window else None
        rows.append([t.name, str(t.dtype), list(t.shape), at])
    text = json.dumps(
        {"seed": seed, "format": sketched.format, "tensors": rows}, separators=(",", ":")
    )
    header = zlib.compress(text.encode("ascii"), 9)
    parts = [MAGIC + VERSION, len(header).to_bytes(4, "little"), header]
    for t in tensors:
        parts.append(_little(t.kept.read()).tobytes())
    body = b"".join(parts)
    return body + hashlib.sha256(body).digest()


def _little(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(values.dtype.newbyteorder("<")) if values.dtype.kind in "iuf" else values


def load(
    data: bytes, path: Path, *, id: str = "", seed: int = 0, verified: bool = False
) -> Checkpoint:
    """A sketch from its bytes. verified: their checksum is known to be right.

    Raises InputError naming `path` where they are torn, of a newer version, or of another seed.

    >>> whole = Checkpoint("a", Path("a"), "npz", {"w": constant("w", np.eye(64))})
    >>> small = sketch(whole, 1024)
    >>> dump(load(dump(small), Path("a"), id="a")) == dump(small)
    True
    """
    if not data.startswith(MAGIC):
        raise InputError(path, "not a sketch")
    if not data.startswith(MAGIC + VERSION):
        raise InputError(path, "a sketch of a version that is not known here; upgrade mother")
    start = len(MAGIC + VERSION) + 4
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
    if start + length + header.bytes + _DIGEST != len(data):
        raise InputError(path, "a sketch of another length than its header says")
    held = np.frombuffer(data, np.uint8, header.bytes, start + length)
    tensors: dict[str, Tensor] = {}
    at = 0
    for tensor, window in header.tensors:
        if window is None:
            tensors[tensor.name] = _absent(tensor)
            continue
        stop = at + window.rows * window.columns * tensor.dtype.itemsize
        values = np.frombuffer(held[at:stop].tobytes(), _little_type(tensor.dtype))
        values = values.astype(tensor.dtype, copy=False)
        tensors[tensor.name] = _standing(tensor, window, values)
        at = stop
    return Checkpoint(id, path, header.format, tensors)


def _little_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("<") if dtype.kind in "iuf" else dtype


@dataclass(frozen=True)
class _Header:
    """bytes: of all windows. tensors: without their weights."""

    seed: int
    format: str
    tensors: tuple[tuple[Tensor, Window | None], ...]
    bytes: int


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
    found = [_entry(entry) for entry in content["tensors"]]
    if len({tensor.name for tensor, _ in found}) < len(found):
        raise ValueError("a tensor that stands twice")
    total = sum(w.rows * w.columns * t.dtype.itemsize for t, w in found if w is not None)
    return _Header(seed, clean(kind), tuple(found), total)


def _entry(entry: Any) -> tuple[Tensor, Window | None]:
    if not isinstance(entry, list) or len(entry) != 4:
        raise ValueError("an entry that is none")
    name, kind, shape, at = entry
    dtype = dtype_of(kind) if isinstance(kind, str) and _TYPE.fullmatch(kind) else None
    if not isinstance(name, str) or dtype is None:
        raise ValueError("a tensor without a name or of an unknown type")
    if not _naturals(shape, _MAX_DIMENSIONS):
        raise ValueError("a tensor without a shape")
    name = clean(name)
    window = None
    if at is not None:
        if not _naturals(at, 4) or len(at) != 4:
            raise ValueError("a window without its four numbers")
        window = Window(*at)
        height, width = as_matrix(tuple(shape))
        inside = window.top < height and window.left < width
        inside &= 1 <= window.rows <= height and 1 <= window.columns <= width
        if not inside or not is_floating(dtype):
            raise ValueError("a window outside its tensor")
    return Tensor(name, dtype, tuple(shape), _Absent(name, window)), window


def _naturals(value: Any, most: int) -> bool:
    if not isinstance(value, list) or len(value) > most:
        return False
    return all(type(n) is int and 0 <= n < 2**63 for n in value)
