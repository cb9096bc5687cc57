"""What the names that a pickle calls would make: tensors of torch's, arrays of numpy's, plain data.

Nothing is called. `rebuild` looks at the name of a function or a class and at the arguments that
the pickle gives it, and returns one of the classes below, which says what they would make and where
its elements lie; of a name that is not known, an inert `Opaque`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mother.checkpoints.work import STEP, Work

#: characters in the name of a class, a function or a dtype
MAX_NAME = 1000
#: axes of an array
MAX_AXES = 64
_DICTS = {"collections OrderedDict", "collections defaultdict", "builtins dict", "__builtin__ dict"}
_SEQUENCES = {"builtins tuple", "builtins list", "__builtin__ tuple", "__builtin__ list"}
_OF_BUFFERS = {"numpy.core.numeric _frombuffer", "numpy._core.numeric _frombuffer"}
_NEW_ARRAYS = {"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"}
#: torch's functions that make a tensor of its parts; only strided ones are read
REBUILT = "torch._utils _rebuild"
_SUBCLASS = "torch._tensor _rebuild_from_type_v2"
#: of one code each; others hold several in a byte
_CODES = ("QInt8Storage", "QUInt8Storage", "QInt32Storage", "UntypedStorage")
#: how the names end of a tensor that is spread over devices
DISTRIBUTED = " DTensor"
_WRAPPER = "torch._utils _rebuild_wrapper_subclass"


@dataclass(frozen=True)
class Symbol:
    """A name that the pickle would import, as "module name"."""

    name: str


@dataclass(eq=False)
class Opaque:
    """An object that was not constructed: its class or function, and what was set on it."""

    symbol: str
    state: dict[Any, Any] = field(default_factory=dict)
    items: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Stored:
    """Bytes [start, stop) of the stream, which were stepped over."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, eq=False)
class Storage:
    """A run of elements outside the pickle; `kind` is torch's class name, "FloatStorage"."""

    kind: str
    key: str
    count: int


@dataclass(frozen=True, eq=False)
class StridedView:
    """A torch tensor: a view of a storage; offset and strides in elements.

    `dtype` is torch's name where the tensor overrides the storage's own, else "".
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str = ""


@dataclass(frozen=True, eq=False)
class QuantizedView:
    """One of torch's own quantized tensors: codes, and (code - zero) * scale are its elements; of
    each place along an axis a scale and a zero of its own, or one for all."""

    codes: StridedView
    scale: StridedView | float
    zero: StridedView | float
    axis: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.codes.shape


@dataclass(eq=False)
class Wrapped:
    """A tensor of a class that is made of other tensors: its class, these by name, and the shape
    that it shows."""

    symbol: str
    parts: dict[Any, Any]
    whole: tuple[int, ...] = ()


@dataclass(eq=False)
class PickledDType:
    """numpy's dtype: its name, "f4" or "<f4"; "V" of records."""

    descr: str


@dataclass(eq=False)
class PickledArray:
    """numpy's array. data: the elements' bytes, or where they lie, or a str of characters below 256
    where Python 2 or an old protocol wrote them; of an array of objects these, in a list."""

    dtype: PickledDType
    shape: tuple[int, ...] = ()
    fortran: bool = False
    data: bytes | str | Stored | list[Any] = b""


def rebuild(function: Any, arguments: Any, work: Work) -> Any:
    """What calling the function would yield, without calling it."""
    name = function.name if isinstance(function, Symbol) else ""
    if name == _SUBCLASS and isinstance(arguments, tuple) and len(arguments) == 4:
        function, kind, arguments, parts = arguments  # once: none is made within another
        name = function.name if isinstance(function, Symbol) else ""
        if name == _WRAPPER and isinstance(kind, Symbol):
            return _wrapped(kind.name, arguments, parts)
    if name in _DICTS:
        return {}
    if not isinstance(arguments, tuple):
        return Opaque(name)
    if arguments and name.startswith(("torch._utils _rebuild_parameter", "torch.nn.parameter Par")):
        return arguments[0]
    if name in ("torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2"):
        return _view(arguments)
    if name == "torch._utils _rebuild_tensor_v3" and isinstance(arguments[6], Symbol):
        return _view(arguments, arguments[6].name.removeprefix("torch "))
    if name == "torch._utils _rebuild_qtensor":
        return _quantized(arguments)
    if name.startswith("torch.jit._pickle ") and arguments:
        return arguments[0]
    if name == "torch Size" and len(arguments) == 1 and isinstance(arguments[0], tuple | list):
        work.spend(STEP * len(arguments[0]))
        return tuple(arguments[0])
    if name == "_codecs encode" and len(arguments) == 2 and arguments[1] == "latin1":
        # not encoded: a text that is mentioned a million times must not be copied as often
        return arguments[0]
    if name in ("builtins bytes", "__builtin__ bytes") and not arguments:
        return b""
    if name == "numpy dtype" and arguments and isinstance(arguments[0], str):
        return PickledDType(arguments[0] if len(arguments[0]) <= MAX_NAME else "V")
    if name in _NEW_ARRAYS:
        return PickledArray(PickledDType("V"))
    if name in _OF_BUFFERS and len(arguments) == 4:
        data, dtype, shape, order = arguments
        array = PickledArray(PickledDType("V"))
        set_state(array, (1, shape, dtype, order == "F", data))
        return array
    if name in _SEQUENCES and len(arguments) == 1 and isinstance(arguments[0], tuple | list):
        work.spend(STEP * len(arguments[0]))
        return list(arguments[0])
    if name.startswith(REBUILT):
        work.spend(STEP * len(arguments))
        return Opaque(name, items=dict(enumerate(arguments)))
    return Opaque(name)


def set_state(target: PickledArray | PickledDType, state: Any) -> None:
    """What numpy's own `__setstate__` would do."""
    if not isinstance(state, tuple) or not 5 <= len(state) <= 9:
        raise ValueError("the pickle holds a malformed array")
    if isinstance(target, PickledDType):
        _, order, _, names, fields, *_ = state
        if names is not None or fields is not None:
            target.descr = "V"
        elif order in ("<", ">"):
            target.descr = order + target.descr.lstrip("<>=|")
        return
    _, shape, dtype, fortran, data = state
    if not isinstance(dtype, PickledDType) or not isinstance(data, bytes | str | Stored | list):
        raise ValueError("the pickle holds a malformed array")
    if not isinstance(shape, tuple) or len(shape) > MAX_AXES:
        raise ValueError("the pickle holds a malformed array")
    if any(type(n) is not int or not 0 <= n < 2**63 for n in shape):
        raise ValueError("the pickle holds a malformed array")
    target.shape, target.dtype, target.fortran = shape, dtype, fortran is True
    target.data = data


def _wrapped(kind: str, arguments: Any, state: Any) -> Any:
    """A tensor over others. Of PyTorch's DTensor, which a mesh of devices shares, this rank's part;
    where that is all of it, a tensor like others. state: of a class with slots, in two parts."""
    held = state if isinstance(state, tuple) else (state,)
    parts = next((part for part in held[:2] if isinstance(part, dict)), {})
    local = parts.get("_local_tensor") if kind.endswith(DISTRIBUTED) else None
    whole = arguments[2] if isinstance(arguments, tuple) and len(arguments) > 2 else ()
    if not isinstance(whole, tuple) or len(whole) > MAX_AXES:
        return Wrapped(kind, parts)
    if any(type(n) is not int or not 0 <= n < 2**63 for n in whole):
        raise ValueError("the pickle holds a malformed tensor")
    if isinstance(local, StridedView) and local.shape == whole:
        return local
    return Wrapped(kind, parts, whole)


def _view(arguments: tuple[Any, ...], dtype: str = "") -> StridedView | Opaque:
    storage, offset, shape, strides = arguments[:4]
    if not isinstance(storage, Storage):
        return Opaque("tensor")
    for numbers in ((offset,), shape, strides):
        if not isinstance(numbers, tuple | list) or len(numbers) > MAX_AXES:
            raise ValueError("the pickle holds a malformed tensor")
        if any(type(n) is not int or not 0 <= n < 2**63 for n in numbers):
            raise ValueError("the pickle holds a malformed tensor")
    return StridedView(storage, offset, tuple(shape), tuple(strides), dtype)


def _quantized(arguments: tuple[Any, ...]) -> QuantizedView | Opaque:
    """torch's `_rebuild_qtensor`: storage, offset, shape, strides, and how it is quantized."""
    codes, how = _view(arguments), arguments[4]
    if not isinstance(codes, StridedView) or not isinstance(how, tuple):
        return Opaque("tensor")
    kind = how[0].name if isinstance(how[0], Symbol) else ""
    if codes.storage.kind not in _CODES:
        kind = ""
    if kind == "torch per_tensor_affine" and all(type(n) in (int, float) for n in how[1:3]):
        return QuantizedView(codes, how[1], how[2])
    if kind.startswith("torch per_channel_affine"):  # with zeros that are floats, too
        scale, zero, axis = how[1:4]
        told = isinstance(scale, StridedView) and isinstance(zero, StridedView)
        if told and type(axis) is int and 0 <= axis < len(codes.shape):
            return QuantizedView(codes, scale, zero, axis)
    return Opaque(f"{REBUILT}_qtensor", items={0: codes})
