"""ncnn's models: layers that a .param lists, and their weights one behind the other in a .bin.

The .bin tells neither names nor sizes: what each kind of layer loads is in `_LOADS`. Where a layer
of a kind that is not there has weights, the sizes no longer add up and the model is refused.
Format: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure, src/layer/*.cpp
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Set

import numpy as np

from mother.checkpoints.affine import affine
from mother.checkpoints.laid_out import Window, lay_out
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Array, Checkpoint, Slice, Tensor, clean

MAGIC = b"7767517"
MAX_PARAM = 64 << 20
_HALF, _INT8, _FLOAT = 0x01306B47, 0x000D4B38, 0x0002C056
#: a tensor that a layer loads: its name, its shape, whether a tag tells its type
Load = tuple[str, tuple[int, ...], bool]


class _Layer:
    """One line of a .param: kind, name and numbers."""

    def __init__(self, words: list[str]) -> None:
        self.kind, self.name = words[0], clean(words[1])
        self.numbers: dict[int, str] = {}
        for word in words[4 + int(words[2]) + int(words[3]) :]:
            key, mark, value = word.partition("=")
            if mark and len(key) < 12 and key.removeprefix("-").isdecimal():
                self.numbers[int(key)] = value

    def get(self, key: int, default: int = 0) -> int:
        """A whole number among its parameters."""
        text = self.numbers.get(key, str(default))
        if not text.removeprefix("-").isdecimal() or len(text) > 12:
            raise ValueError(
                f"has a layer {self.name[:200]!r} with the parameter {clean(text)[:40]!r}"
            )
        return int(text)


Loads = Callable[[_Layer], Iterator[Load]]


def _convolution(dimensions: int) -> Loads:
    return lambda layer: _of_convolution(layer, dimensions)


def _of_convolution(layer: _Layer, dimensions: int) -> Iterator[Load]:
    if layer.get(19):
        return  # its weights are computed
    rows, size = layer.get(0), layer.get(6)
    across = layer.get(1)
    kernel = {1: (across,), 2: (layer.get(11, across), across)}[dimensions]
    if dimensions == 3:
        kernel = (layer.get(21, across), layer.get(11, across), across)
    inner = size // max(rows * math.prod(kernel), 1)
    shape = (rows, inner, *kernel)
    yield "weight", shape if math.prod(shape) == size else (size,), True
    if layer.get(5):
        yield "bias", (rows,), False
    if layer.get(8):
        scales = rows if layer.get(7, 1) <= 1 else layer.get(7)
        yield "weight_scale", (scales,), False
        yield "input_scale", (1,), False
        if layer.get(8) > 100:
            yield "output_scale", (1,), False


def _linear(layer: _Layer) -> Iterator[Load]:
    rows, size = layer.get(0), layer.get(2)
    yield "weight", (rows, size // max(rows, 1)), True
    if layer.get(1):
        yield "bias", (rows,), False
    if layer.get(8):
        yield "weight_scale", (rows,), False
        yield "input_scale", (1,), False


def _embed(layer: _Layer) -> Iterator[Load]:
    yield "weight", (layer.get(1), layer.get(0)), True
    if layer.get(2):
        yield "bias", (layer.get(0),), False
    if layer.get(18):
        yield "weight_scale", (1,), False


def _vectors(names: str, size: int, wanted: int = -1) -> Loads:
    """Vectors of as many elements as parameter `size` says, unless parameter `wanted` is 0."""

    def loads(layer: _Layer) -> Iterator[Load]:
        if wanted < 0 or layer.get(wanted, 1):
            for name in names.split():
                yield name, (layer.get(size),), False

    return loads


def _scale(layer: _Layer) -> Iterator[Load]:
    if layer.get(0) != -233:
        yield "weight", (layer.get(0),), False
        if layer.get(1):
            yield "bias", (layer.get(0),), False


def _memory(layer: _Layer) -> Iterator[Load]:
    sides = [layer.get(key) for key in (2, 11, 1, 0)]
    yield "data", tuple(side for side in sides if side), not layer.get(21, 1)


def _recurrent(gates: int, biases: int) -> Loads:
    def loads(layer: _Layer) -> Iterator[Load]:
        out, ways = layer.get(0), 2 if layer.get(2) == 2 else 1
        hidden = layer.get(3, out) if gates == 4 else out
        inner = layer.get(1) // max(ways * hidden * gates, 1)
        yield "weight_ih", (ways, hidden * gates, inner), True
        yield "bias", (ways, biases, hidden), True
        yield "weight_hh", (ways, hidden * gates, out), True
        if out != hidden:
            yield "weight_hr", (ways, out, hidden), True
        if layer.get(8):
            raise ValueError(f"has a quantized layer {layer.name[:200]!r}, which is not read")

    return loads


def _attention(layer: _Layer) -> Iterator[Load]:
    width = layer.get(0)
    query = layer.get(2) // max(width, 1)
    sides = {"q": query, "k": layer.get(3, width), "v": layer.get(4, width)}
    if layer.get(18):
        raise ValueError(f"has a quantized layer {layer.name[:200]!r}, which is not read")
    for name, side in sides.items():
        yield f"{name}_proj.weight", (width, side), True
        yield f"{name}_proj.bias", (width,), False
    yield "out_proj.weight", (query, width), True
    yield "out_proj.bias", (query,), False


def _product(layer: _Layer) -> Iterator[Load]:
    m, n, k = (layer.get(key) for key in (7, 8, 9))
    if layer.get(18):
        raise ValueError(f"has a quantized layer {layer.name[:200]!r}, which is not read")
    if layer.get(4):
        yield "a", (k, m) if layer.get(2) else (m, k), True
    if layer.get(5):
        yield "b", (n, k) if layer.get(3) else (k, n), True
    shapes: dict[int, tuple[int, ...]] = {0: (1,), 1: (m,), 2: (m,), 3: (m, n), 4: (n,)}
    if layer.get(6) and layer.get(10) in shapes:
        yield "c", shapes[layer.get(10)], True


#: what each kind of layer loads; those of other kinds have no weights
_LOADS: dict[str, Loads] = {
    "InnerProduct": _linear,
    "Embed": _embed,
    "BatchNorm": _vectors("weight running_mean running_var bias", 0),
    "LayerNorm": _vectors("weight bias", 0, 2),
    "RMSNorm": _vectors("weight", 0, 2),
    "GroupNorm": _vectors("weight bias", 1, 3),
    "InstanceNorm": _vectors("weight bias", 0, 2),
    "PReLU": _vectors("weight", 0),
    "Bias": _vectors("bias", 0),
    "Normalize": _vectors("weight", 3),
    "Scale": _scale,
    "MemoryData": _memory,
    "LSTM": _recurrent(4, 4),
    "GRU": _recurrent(3, 4),
    "RNN": _recurrent(1, 1),
    "MultiHeadAttention": _attention,
    "Gemm": _product,
}
for _name, _count in (("", 2), ("1D", 1), ("3D", 3)):
    for _kind in ("Convolution", "ConvolutionDepthWise", "Deconvolution", "DeconvolutionDepthWise"):
        _LOADS[_kind + _name] = _convolution(_count)


def is_ncnn(file: File, start: bytes) -> bool:
    """Whether a file is a .param, by its first line."""
    return start.split(b"\n")[0].strip() == MAGIC


def values_of(name: str, names: Set[str]) -> Set[str]:
    """The file with the weights of a .param.

    >>> values_of("net.ncnn.param", {"net.ncnn.param", "net.ncnn.bin", "other.bin"})
    {'net.ncnn.bin'}
    """
    return {name.removesuffix(".param") + ".bin"} & names


def read_ncnn(file: File) -> Checkpoint:
    """The checkpoint that a .param and the .bin beside it are. Raises InputError."""
    if file.size > MAX_PARAM:
        raise file.fault(f"has {file.size} bytes; {MAX_PARAM} are the most")
    values = File(file.path.with_name(file.path.name.removesuffix(".param") + ".bin"))
    tensors: dict[str, Tensor] = {}
    at = quantized = 0
    try:
        for layer in _layers(file):
            if layer.kind.startswith("pnnx."):
                raise ValueError("is one of pnnx; the .ncnn.param that it makes is read")
            held: dict[str, Tensor] = {}
            loads = _LOADS[layer.kind](layer) if layer.kind in _LOADS else ()
            for name, shape, tagged in loads:
                held[name], at = _load(values, at, f"{layer.name}.{name}", shape, tagged)
            scale = held.pop("weight_scale", None)
            held = {
                name: t for name, t in held.items() if name not in ("input_scale", "output_scale")
            }
            if scale is not None and "weight" in held and held["weight"].dtype.kind == "i":
                codes = held["weight"]
                own = scale.size == codes.shape[0] > 1
                steps = tuple(1 if own and k == 0 else n for k, n in enumerate(codes.shape))
                held["weight"] = affine(codes.name, codes, scale, None, steps, divide=True)
                quantized += codes.size
            for tensor in held.values():
                if tensor.name in tensors:
                    raise ValueError(f"names {tensor.name[:200]!r} twice")
                tensors[tensor.name] = tensor
        if at != values.size:
            raise ValueError(f"describes {at} bytes of weights, its .bin has {values.size}")
    except ValueError as error:
        raise file.fault(f"ncnn model {error}") from None
    if not tensors:
        raise file.fault("an ncnn model without weights")
    scheme = "ncnn int8" if 2 * quantized > sum(t.size for t in tensors.values()) else ""
    files, name = (file, values), file.path.stem
    return Checkpoint(name, file.path, "ncnn", tensors, files=files, scheme=scheme)


def _layers(file: File) -> Iterator[_Layer]:
    lines = file.read(0, file.size).decode("utf-8", "backslashreplace").splitlines()
    for line in lines[2:]:
        words = line.split()
        if not words:
            continue
        if len(words) < 4 or not all(word.isdecimal() and len(word) < 8 for word in words[2:4]):
            raise ValueError(f"has the line {clean(line)[:80]!r}")
        yield _Layer(words)


def _load(
    values: File, at: int, name: str, shape: tuple[int, ...], tagged: bool
) -> tuple[Tensor, int]:
    """A tensor that starts at a byte, and where the next one does."""
    if any(not 0 <= n < 1 << 40 for n in shape):
        raise ValueError(f"has a tensor {name[:200]!r} of a negative size")
    size = math.prod(shape)
    tag, dtype = 0, "<f4"
    if tagged:
        tag, at = int.from_bytes(_take(values, at, 4, name), "little"), at + 4
    if tag in (_HALF, _INT8):
        dtype = "<f2" if tag == _HALF else "|i1"
    elif tag not in (0, _FLOAT):
        return _of_table(values, at, name, shape)
    nbytes = size * np.dtype(dtype).itemsize
    end = at + (-(-nbytes // 4) * 4 if tag else nbytes)
    _enough(values, end, name)
    return lay_out(name, Window(values, at, nbytes), np.dtype(dtype), shape), end


def _of_table(values: File, at: int, name: str, shape: tuple[int, ...]) -> tuple[Tensor, int]:
    """A tensor of bytes, each of which stands for one of 256 numbers."""
    table = np.frombuffer(_take(values, at, 1024, name), "<f4")
    at, size = at + 1024, math.prod(shape)
    _enough(values, at + -(-size // 4) * 4, name)
    codes = lay_out(name, Window(values, at, size), np.dtype("u1"), shape)
    source = _Looked(codes, table)
    made = Tensor(name, np.dtype("f4"), shape, source, scheme="256 values")
    return made, at + -(-size // 4) * 4


class _Looked:
    """The numbers of a table that codes stand for."""

    def __init__(self, codes: Tensor, table: Array) -> None:
        self.codes, self.table = codes, table

    def read(self, start: int, stop: int) -> Array:
        return self.table[self.codes.read(start, stop)]

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        return self.codes.slices(start, stop)


def _take(values: File, at: int, count: int, name: str) -> bytes:
    _enough(values, at + count, name)
    return values.read(at, count)


def _enough(values: File, end: int, name: str) -> None:
    if end > values.size:
        raise ValueError(f"needs {end} bytes up to {name[:200]!r}, its .bin has {values.size}")
