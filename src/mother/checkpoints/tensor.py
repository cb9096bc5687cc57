"""What every reader yields: checkpoints of named tensors, which are read by slices."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import ml_dtypes
import numpy as np
import numpy.typing as npt

from mother.hub import shown

if TYPE_CHECKING:
    from mother.checkpoints.storage import File

Array = npt.NDArray[Any]
DType = np.dtype[Any]

#: names of the floats that numpy itself lacks; an older ml_dtypes knows fewer of them
_NAMES = (
    "bfloat16",
    "float8_e3m4",
    "float8_e4m3",
    "float8_e4m3b11fnuz",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
)
_EXTENDED_FLOATS: dict[str, DType] = {
    name: np.dtype(getattr(ml_dtypes, name)) for name in _NAMES if hasattr(ml_dtypes, name)
}
_EXTENDED = frozenset(_EXTENDED_FLOATS.values())
#: bits of a weight as most quantizers pack it, when integers are counted as weights
CODE = 4
#: values of a tensor that are looked at first
FEW = 16
#: bytes of several parts and of what lies between them that are read at once
NEAR = 1 << 14


@lru_cache(maxsize=1 << 8)
def dtype_of(name: str) -> DType | None:
    """The dtype of that name, numpy's or ml_dtypes'; None where neither has it.

    >>> dtype_of("float16"), dtype_of("bfloat16"), dtype_of("float3")
    (dtype('float16'), dtype(bfloat16), None)
    """
    if name in _EXTENDED_FLOATS:
        return _EXTENDED_FLOATS[name]
    try:
        return np.dtype(name)
    except TypeError:
        return None


def is_floating(dtype: DType) -> bool:
    """Whether the dtype is a real floating one, bfloat16 and the 8-bit floats included."""
    return dtype.kind == "f" or dtype in _EXTENDED


def clean(text: str) -> str:
    r"""The text with every lone surrogate written out, so that it can be printed and stored.

    >>> clean("caf\udce9")
    'caf\\udce9'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def printable(text: str, most: int = 300) -> str:
    r"""The text on one line, fit for a message: nothing that a terminal would act on.

    >>> printable("a\nb\x1b[31m")
    'a\\nb\\x1b[31m'
    """
    shown = text if len(text) <= most else f"{text[:most]}..."
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown)


class Slice(NamedTuple):
    """Bytes [start, stop) of a file."""

    file: File
    start: int
    stop: int


class Source(Protocol):
    """Where a tensor's elements come from."""

    def read(self, start: int, stop: int) -> Array:
        """Elements [start, stop) in C order, 1-D; 0 <= start <= stop <= size holds already."""

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        """The bytes of files that such a read needs."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """A named array inside a checkpoint, whose elements are read when asked for.

    `dtype` is in native byte order, numpy's or ml_dtypes'; `shape` is the logical shape.

    >>> t = constant("bias", np.arange(6, dtype=np.float32).reshape(2, 3))
    >>> t.shape, t.size, t.nbytes, t.is_weight
    ((2, 3), 6, 24, True)
    >>> t.read(2, 5)
    array([2., 3., 4.], dtype=float32)
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    source: Source = field(repr=False)
    #: what a sketch kept of it, which stands for it where only a part is at hand
    sample: Tensor | None = field(default=None, repr=False)
    #: what its elements are decoded from ("Q4_K"), "" where they are stored as they are read
    scheme: str = ""
    #: of such a one in a sketch, the mean square of how far apart the numbers lie that codes mean
    cell: float = 0.0

    @property
    def kept(self) -> Tensor:
        """What of it can be read: its sample if it has one, else all of it."""
        return self if self.sample is None else self.sample

    @cached_property
    def size(self) -> int:
        return math.prod(self.shape)

    @cached_property
    def few(self) -> Array:
        """A few values from its middle, read once: copies are looked for by these many times."""
        return self.read(self.size // 2, self.size // 2 + FEW)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def is_weight(self) -> bool:
        return is_floating(self.dtype)

    @property
    def weights(self) -> int:
        """How many weights it holds: one an element where these are numbers. Integers may be
        packed codes, and count by their bits: an int32 holds eight weights. A mask holds none.

        >>> constant("w", np.zeros(3, np.float16)).weights
        3
        >>> constant("qweight", np.zeros(3, np.int32)).weights
        24
        """
        if self.is_weight or self.dtype.kind == "c":
            return self.size
        return 0 if self.dtype.kind == "b" else self.nbytes * 8 // CODE

    def read(self, start: int = 0, stop: int | None = None) -> Array:
        """Elements [start, stop) in C order as a 1-D array of the stored dtype.

        Bounds work as those of a slice. The array is a read-only view of the file's pages where
        the file stores the elements as they are and the slice is large, and a copy elsewhere; it
        holds memory only as long as it lives. Safe to call from several
        threads. Raises InputError if the file no longer yields what it promised when opened.
        """
        start, stop, _ = slice(start, stop).indices(self.size)
        if start >= stop:
            return np.empty(0, self.dtype)
        return self.source.read(start, stop)

    def parts(self, spans: Sequence[tuple[int, int]]) -> Array:
        """Spans [start, stop) of elements, ascending and of one length, (spans, length): by one
        read where they lie near each other.

        >>> constant("w", np.arange(12.0)).parts([(0, 3), (9, 12)])
        array([[ 0.,  1.,  2.],
               [ 9., 10., 11.]])
        """
        first, last = spans[0][0], spans[-1][1]
        if (last - first) * self.dtype.itemsize > NEAR:
            return np.stack([self.read(*span) for span in spans])
        near = self.read(first, last)
        return np.stack([near[start - first : stop - first] for start, stop in spans])

    def slices(self, start: int = 0, stop: int | None = None) -> Iterator[Slice]:
        """The bytes of files that the same read needs, for `prefetch`."""
        start, stop, _ = slice(start, stop).indices(self.size)
        return self.source.slices(start, stop) if start < stop else iter(())


@dataclass(frozen=True, eq=False)
class _Constant:
    values: Array

    def read(self, start: int, stop: int) -> Array:
        return self.values[start:stop]

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return iter(())


def constant(name: str, values: Array) -> Tensor:
    """A tensor over an array in memory.

    >>> constant("w", np.zeros((2, 2), np.float16)).read(3)
    array([0.], dtype=float16)
    """
    return Tensor(name, values.dtype, values.shape, _Constant(values.reshape(-1)))


def scheme_of(tensors: Iterable[Tensor]) -> str:
    """The scheme of most of the weights that are stored quantized; empty where none are."""
    sizes = Counter[str]()
    for tensor in tensors:
        if tensor.scheme:
            sizes[tensor.scheme] += tensor.size
    return max(sizes, key=lambda scheme: (sizes[scheme], scheme), default="")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """One model as stored: a file, a sharded set or a folder.

    `format` is a word for how it is stored, "safetensors", "pytorch", "gguf", "onnx" and so on;
    `config` is the parsed config.json or adapter_config.json beside the weights or what a GGUF file
    says of itself, else empty; `notes` says, one line each, what was skipped or chosen; `files` are
    those that the weights lie in; `base` is what an adapter was merged into; `scheme` is how its
    weights are quantized, "Q4_K_M" or "GPTQ 4 bit g128", empty where they are not: its tensors are
    those of the model that was quantized then, decoded as they are read; `unread` are the tensors
    that no reader opened, with how many weights each holds at least; `blocks` are the numbers
    of its blocks among its relatives, empty where they are its own, see `layouts.blocks`; `steps`
    are how many steps optimizers had made, of one number each, where their state lies beside the
    weights, by the name of the state.
    """

    id: str
    path: Path
    format: str
    tensors: Mapping[str, Tensor] = field(repr=False)
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = ()
    files: tuple[File, ...] = field(default=(), repr=False)
    base: Checkpoint | None = None
    scheme: str = ""
    unread: Mapping[str, int] = field(default_factory=dict, repr=False)
    blocks: tuple[int, ...] = field(default=(), repr=False)
    steps: Mapping[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def shown(self) -> str:
        """What it is called: its path, or its address on the Hub with the commit."""
        return shown(self.path)

    @property
    def named_files(self) -> dict[str, File]:
        """The files that the weights lie in by name, sorted: the path within the checkpoint's
        folder, or the name of a file beside others."""
        named = {}
        for file in self.files:
            inside = file.path.is_relative_to(self.path) and file.path != self.path
            name = file.path.relative_to(self.path).as_posix() if inside else file.path.name
            named[clean(name)] = file
        return dict(sorted(named.items()))

    @property
    def is_sketch(self) -> bool:
        """Whether samples stand for its weights."""
        return any(tensor.sample is not None for tensor in self.tensors.values())

    @property
    def parameters(self) -> int:
        """Number of elements over all weight tensors."""
        return sum(tensor.size for tensor in self.tensors.values() if tensor.is_weight)

    @property
    def weights(self) -> int:
        """Number of weights that it holds, those too that are not read as numbers."""
        return sum(tensor.weights for tensor in self.tensors.values()) + sum(self.unread.values())

    @property
    def dtype(self) -> str:
        """The number type that most weights are stored in; empty if there are none."""
        sizes = Counter[DType]()
        for tensor in self.tensors.values():
            if tensor.is_weight:
                sizes[tensor.dtype] += tensor.size
        return max(((size, str(dtype)) for dtype, size in sizes.items()), default=(0, ""))[1]


@dataclass(frozen=True)
class Problem:
    """One input that was refused, and why."""

    path: Path
    fault: str

    @property
    def shown(self) -> str:
        """What the input is called: its path, or its address on the Hub."""
        return shown(self.path)

    def __str__(self) -> str:
        return f"{printable(self.shown)}: {self.fault}"
