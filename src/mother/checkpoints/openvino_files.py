"""OpenVINO's models: constants that an .xml describes and a .bin beside it holds.

Weights that are stored as integers go through a conversion, a subtraction of the zero point and a
multiplication by the scale, which is done here. No operation of the graph is run.
Format: https://docs.openvino.ai/latest/documentation/openvino-ir-format.html
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from itertools import islice
from xml.parsers import expat

import ml_dtypes
import numpy as np

from mother.checkpoints.affine import Nibbles, affine, looked_up, nibbles
from mother.checkpoints.graph_constants import weights_among
from mother.checkpoints.laid_out import Window, lay_out
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Array, Checkpoint, Slice, Tensor, clean, dtype_of
from mother.checkpoints.views import reshaped
from mother.checkpoints.work import STEP, Work

MAX_XML = 512 << 20
MAX_LAYERS = 2_000_000
_CHUNK = 1 << 20
_DTYPES = {
    "f64": "<f8",
    "f32": "<f4",
    "f16": "<f2",
    "bf16": ml_dtypes.bfloat16,
    "f8e4m3": ml_dtypes.float8_e4m3fn,
    "f8e5m2": ml_dtypes.float8_e5m2,
    "i64": "<i8",
    "i32": "<i4",
    "i16": "<i2",
    "i8": "|i1",
    "u64": "<u8",
    "u32": "<u4",
    "u16": "<u2",
    "u8": "|u1",
    "boolean": "|b1",
}
#: numbers of 4 bits: those of the QLoRA paper (arXiv:2305.14314, appendix E), and OCP's E2M1
_TABLES = {
    "nf4": (
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ),
    "f4e2m1": (0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6),
}
#: what is said of weights of these types that have scales; of scales of one type, OCP's MX
_FLOATS = {"nf4": "NF4", "f4e2m1": "FP4", "f8e4m3": "FP8 e4m3", "f8e5m2": "FP8 e5m2"}
_SCALE = "f8e8m0"


@dataclass
class _Layer:
    name: str
    kind: str
    data: dict[str, str] = field(default_factory=dict)


@dataclass
class _Graph:
    """The layers of a network by id, and for each the layers that it takes, by port."""

    layers: dict[str, _Layer] = field(default_factory=dict)
    inputs: dict[str, dict[str, str]] = field(default_factory=dict)
    takers: dict[str, list[str]] = field(default_factory=dict)


def is_openvino(file: File, start: bytes) -> bool:
    """Whether a file is the description of an OpenVINO model."""
    head = file.read(0, min(file.size, 1024))
    return head.lstrip().startswith(b"<?xml") and b"<net " in head


def values_of(name: str, names: Set[str]) -> Set[str]:
    """The file with the values of a description.

    >>> values_of("model.xml", {"model.xml", "model.bin", "other.bin"})
    {'model.bin'}
    """
    return {name.removesuffix(".xml") + ".bin"} & names


def read_openvino(file: File) -> Checkpoint:
    """The checkpoint that a description and the .bin beside it are. Raises InputError."""
    if file.size > MAX_XML:
        raise file.fault(f"has {file.size} bytes of XML; {MAX_XML} are the most")
    values = File(file.path.with_suffix(".bin"))
    notes: list[str] = []
    unread: dict[str, int] = {}
    try:
        graph = _parse(file)
        constants = {
            key: tensor
            for key, layer in graph.layers.items()
            if layer.kind == "Const"
            and (tensor := _constant(values, layer, notes, unread)) is not None
        }
        tensors, scheme = _numbers(graph, constants, file.work)
    except ValueError as error:
        raise file.fault(f"OpenVINO model {error}") from None
    tensors = weights_among(tensors)
    if not tensors:
        raise file.fault("; ".join(["holds no constants of numbers", *notes[:1]]))
    return Checkpoint(
        file.path.stem,
        file.path,
        "openvino",
        tensors,
        notes=tuple(notes),
        files=(file, values),
        scheme=scheme,
        unread=unread,
    )


def _parse(file: File) -> _Graph:
    graph = _Graph()
    parser = expat.ParserCreate()
    path: list[str] = []
    layer: list[_Layer] = []

    def start(tag: str, given: dict[str, str]) -> None:
        path.append(tag)
        if len(path) > 64:
            raise ValueError("has elements deeper than 64")
        if path == ["net", "layers", "layer"]:
            if len(graph.layers) >= MAX_LAYERS:
                raise ValueError(f"has more than {MAX_LAYERS} layers")
            name = clean(given.get("name", "")).removesuffix("_compressed")
            layer[:] = [_Layer(name, given.get("type", ""))]
            graph.layers[given.get("id", "")] = layer[0]
        elif path == ["net", "layers", "layer", "data"]:
            layer[0].data = given
        elif path == ["net", "edges", "edge"]:
            source, target = given.get("from-layer", ""), given.get("to-layer", "")
            graph.inputs.setdefault(target, {})[given.get("to-port", "")] = source
            graph.takers.setdefault(source, []).append(target)

    def refuse(*_: object) -> None:
        raise ValueError("declares a document type, which is not read")

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda tag: path.pop()
    parser.StartDoctypeDeclHandler = refuse
    try:
        for at in range(0, file.size, _CHUNK):
            parser.Parse(file.read(at, min(_CHUNK, file.size - at)), at + _CHUNK >= file.size)
    except expat.ExpatError:
        raise ValueError("is no valid XML, or truncated") from None
    return graph


def _constant(
    values: File, layer: _Layer, notes: list[str], unread: dict[str, int]
) -> Tensor | None:
    kind, data = layer.data.get("element_type", ""), layer.data
    numbers = [data.get(key, "") for key in ("offset", "size")]
    sides = [side.strip() for side in data.get("shape", "").split(",") if side.strip()]
    if not all(text.isascii() and text.isdecimal() and len(text) < 20 for text in numbers + sides):
        raise ValueError(f"has a constant {layer.name[:200]!r} at no valid place")
    offset, size = map(int, numbers)
    shape = tuple(map(int, sides))
    if offset + size > values.size:
        raise ValueError(f"has {layer.name[:200]!r} beyond the end of its .bin; it is truncated")
    window = Window(values, offset, size)
    if kind in ("u4", "i4"):
        return nibbles(layer.name, window, shape, signed=kind == "i4")
    if kind in _TABLES:
        return looked_up(layer.name, window, shape, _TABLES[kind])
    dtype = dtype_of("float8_e8m0fnu") if kind == _SCALE else _DTYPES.get(kind)
    if dtype is None:
        if kind != "string":
            notes.append(f"skipped {layer.name!r}: of the type {clean(kind)[:20]!r}")
            unread[layer.name] = math.prod(shape)
        return None
    try:
        return lay_out(layer.name, window, np.dtype(dtype), shape)
    except ValueError as error:
        raise ValueError(f"has a constant {layer.name[:200]!r} that {error}") from None


def _numbers(
    graph: _Graph, constants: dict[str, Tensor], work: Work
) -> tuple[dict[str, Tensor], str]:
    """The constants by name, quantized ones as numbers, and how most of those are quantized."""
    found: dict[str, Tensor] = {}
    used: set[str] = set()
    schemes = Counter[str]()
    for key, tensor in constants.items():
        chain = _chain(graph, constants, key)
        if chain is not None and key not in used:
            scale, zero, last = chain
            made = _dequantized(tensor, constants[scale], constants.get(zero))
            used |= {key, scale, zero}
            found[made.name] = _reshaped(graph, last, made)
            kind = _kind(graph, key, scale, tensor)
            group = (
                f" g{tensor.shape[-1]}" if len(tensor.shape) > len(found[made.name].shape) else ""
            )
            schemes[f"OpenVINO {kind}{group}"] += made.size
    for key, tensor in constants.items():
        if key not in used:
            name = tensor.name
            while name in found:
                name += "'"
                work.spend(STEP + len(name))
            found[name] = tensor
    return found, max(schemes, key=lambda each: schemes[each], default="")


def _kind(graph: _Graph, key: str, scale: str, tensor: Tensor) -> str:
    """What the codes of a constant are."""
    kind, scales = (graph.layers[k].data.get("element_type", "") for k in (key, scale))
    if kind in _FLOATS:
        told = _FLOATS[kind]
        return f"MX{told}" if scales == _SCALE else told
    return f"int{4 if isinstance(tensor.source, Nibbles) else 8 * tensor.dtype.itemsize}"


def _chain(graph: _Graph, constants: dict[str, Tensor], key: str) -> tuple[str, str, str] | None:
    """From codes on: Convert, Subtract of a zero point if any, Multiply by a scale. The ids of
    scale and zero point ("" if none), and of the multiplication."""
    coarse = graph.layers[key].data.get("element_type", "") in _FLOATS
    if constants[key].dtype.kind not in "iu" and not coarse:
        return None
    at, zero = _next(graph, key, "Convert"), ""
    if not at:
        return None
    if after := _next(graph, at, "Subtract"):
        zero, at = _other(graph, constants, after, at), after
        if not zero:
            return None
    if not (after := _next(graph, at, "Multiply")):
        return None
    scale = _other(graph, constants, after, at)
    return (scale, zero, after) if scale else None


def _next(graph: _Graph, key: str, kind: str) -> str:
    """The one layer of a kind that takes another; "" if there is none."""
    takers = graph.takers.get(key, [])
    layer = graph.layers.get(takers[0]) if len(takers) == 1 else None
    return takers[0] if layer is not None and layer.kind == kind else ""


def _other(graph: _Graph, constants: dict[str, Tensor], key: str, first: str) -> str:
    """The constant that a layer takes beside its first input, through a conversion or not."""
    inputs = graph.inputs.get(key, {})
    others = [each for each in inputs.values() if each != first] if len(inputs) == 2 else []
    if len(others) != 1:
        return ""
    if graph.layers.get(others[0], _Layer("", "")).kind == "Convert":
        others = list(islice(graph.inputs.get(others[0], {}).values(), 1)) or others
    return others[0] if others[0] in constants else ""


def _dequantized(tensor: Tensor, scale: Tensor, zero: Tensor | None) -> Tensor:
    shape, sides = tensor.shape, scale.shape
    if len(sides) > len(shape):
        raise ValueError(f"has {tensor.name[:200]!r} with a scale of {len(sides)} dimensions")
    sides = (1,) * (len(shape) - len(sides)) + sides
    if any(side not in (1, n) for side, n in zip(sides, shape, strict=True)):
        raise ValueError(f"has {tensor.name[:200]!r} with a scale of shape {scale.shape}")
    if zero is not None and zero.size == 1 != scale.size:
        zero = Tensor(zero.name, zero.dtype, scale.shape, _Repeated(zero))
    steps = tuple(n if side == 1 else 1 for side, n in zip(sides, shape, strict=True))
    # as the runtime has it: a scale in half precision is widened first
    return affine(tensor.name, tensor, scale, zero, steps, np.dtype(np.float32))


@dataclass(frozen=True, eq=False)
class _Repeated:
    """One number in every place."""

    tensor: Tensor

    def read(self, start: int, stop: int) -> Array:
        return np.repeat(self.tensor.read(), stop - start)

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return self.tensor.slices()


def _reshaped(graph: _Graph, key: str, tensor: Tensor) -> Tensor:
    """Groups along the last axis joined again, where the next layer does so."""
    if len(tensor.shape) != 3 or not _next(graph, key, "Reshape"):
        return tensor
    rows, groups, size = tensor.shape
    return reshaped(tensor, (rows, groups * size))
