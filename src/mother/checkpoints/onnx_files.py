"""ONNX files: the initializers of a graph, inline or in files beside it; no graph is run.

An exporter that folds a transposition into a weight calls it by a number, "onnx::MatMul_34"; the
node that takes it has the module's path in its name, "/blocks.0/fc1/MatMul", so it is given its
module's name and order of axes again. Quantized weights are read by onnx_quantized.py.
Format: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import math
import re
from collections.abc import Set
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np

from mother.checkpoints.graph_constants import weights_among
from mother.checkpoints.laid_out import Bytes, Span, Window, lay_out
from mother.checkpoints.onnx_quantized import dequantized
from mother.checkpoints.protobuf import Field, Messages
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Array, Checkpoint, DType, Tensor, clean
from mother.checkpoints.views import permuted

#: graphs within graphs, the branches of an `If`
MAX_DEPTH = 8
#: bytes of an initializer that is stored as a list of numbers
MAX_LISTED = 256 << 20
#: TensorProto.DataType, as stored; the 4-bit ones are two to a byte
_DTYPES = {
    1: "<f4",
    2: "|u1",
    3: "|i1",
    4: "<u2",
    5: "<i2",
    6: "<i4",
    7: "<i8",
    9: "|b1",
    10: "<f2",
    11: "<f8",
    12: "<u4",
    13: "<u8",
    14: "<c8",
    15: "<c16",
    16: ml_dtypes.bfloat16,
    17: ml_dtypes.float8_e4m3fn,
    18: ml_dtypes.float8_e4m3fnuz,
    19: ml_dtypes.float8_e5m2,
    20: ml_dtypes.float8_e5m2fnuz,
}
#: names that an exporter makes up: the node's, not the weight's
_MADE_UP = re.compile(r"onnx::\w+_\d+|_?val_\d+|\d+|.*_(?:merged|folded)_\d+")
#: in a node's name, what is the operation's and not the module's
_OPERATION = re.compile(r"/(?:MatMul|Gemm|Conv|ConvTranspose)(?:_\d+)?(?:_[\w]*quant[\w]*)?$")


def is_onnx(file: File, start: bytes) -> bool:
    """Whether a file is taken for ONNX: by its ending, since it has no magic."""
    return file.path.suffix.lower() in (".onnx", ".ort") and start[:1] in (
        b"\x08",
        b"\x3a",
        b"\x12",
    )


@dataclass
class Node:
    """One operation: what it takes and gives, and those of its attributes that are integers."""

    kind: str = ""
    name: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)


@dataclass
class Graph:
    """What of a graph is kept: its nodes, its tensors, notes on what was left out."""

    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    packed: dict[str, tuple[Span, tuple[int, ...], bool]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unread: dict[str, int] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)


def read_onnx(file: File) -> Checkpoint:
    """The checkpoint in an ONNX file; reads no initializer's values. Raises InputError."""
    graph = Graph()
    try:
        messages = Messages(Window(file, 0, file.size))
        for each in messages.fields():
            if each.number == 7 and each.value < 0:
                _Reader(file, messages, graph).graph(each, 0)
        tensors, scheme = dequantized(graph)
        tensors = weights_among(tensors)
    except ValueError as error:
        raise file.fault(f"ONNX model {error}") from None
    tensors = _as_modules_have_them(graph.nodes, tensors)
    if not tensors:
        raise file.fault("; ".join(["holds no tensors", *graph.notes[:1]]))
    files = (file, *graph.files.values())
    return Checkpoint(
        file.path.stem,
        file.path,
        "onnx",
        tensors,
        notes=tuple(graph.notes),
        files=files,
        scheme=scheme,
        unread=graph.unread,
    )


def _as_modules_have_them(nodes: list[Node], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights that were named by a number under the name of the module whose node takes them."""
    renamed: dict[str, Tensor] = {}
    taken = set(tensors)
    for node in nodes:
        if node.kind not in ("MatMul", "MatMulInteger") or len(node.inputs) < 2:
            continue
        stored, path = node.inputs[1], _OPERATION.sub("", node.name)
        if stored not in tensors or stored in renamed or not _MADE_UP.fullmatch(stored):
            continue
        name = clean(f"{path.strip('/').replace('/', '.')}.weight")
        if path.startswith("/") and name not in taken and len(tensors[stored].shape) == 2:
            renamed[stored] = permuted(tensors[stored], (1, 0), name)
            taken.add(name)
    return {
        each.name: each for name, tensor in tensors.items() for each in [renamed.get(name, tensor)]
    }


@dataclass
class _Reader:
    """A walk over the messages of a model."""

    file: File
    messages: Messages
    into: Graph

    def graph(self, message: Field, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise ValueError(f"has graphs deeper than {MAX_DEPTH}")
        for each in self.messages.inside(message):
            if each.number == 1:
                self._node(each, depth)
            elif each.number == 5:
                self._initializer(each, "")
            elif each.number == 15:
                sides = [self.messages.numbers(f, 1 << 10) for f in self._sides(each)]
                self.into.notes.append("skipped a sparse initializer")
                name = f"sparse initializer {len(self.into.unread)}"
                self.into.unread[name] = math.prod(max(n, 0) for side in sides for n in side)

    def _sides(self, message: Field) -> list[Field]:
        """Of a SparseTensorProto."""
        return [each for each in self.messages.inside(message) if each.number == 3]

    def _node(self, message: Field, depth: int) -> None:
        node, values = Node(), []
        for each in self.messages.inside(message):
            if each.number == 1:
                node.inputs.append(clean(self.messages.text(each)))
            elif each.number == 2:
                node.outputs.append(clean(self.messages.text(each)))
            elif each.number == 3:
                node.name = clean(self.messages.text(each))
            elif each.number == 4:
                node.kind = self.messages.text(each)
            elif each.number == 5:
                values += self._attribute(each, node, depth)
        self.into.nodes.append(node)
        if node.kind == "Constant" and len(values) == 1 and node.outputs:
            self._initializer(values[0], node.outputs[0])

    def _attribute(self, message: Field, node: Node, depth: int) -> list[Field]:
        """Tensors among the values of an attribute; graphs are walked, integers kept."""
        name, number, tensors = "", None, []
        for each in self.messages.inside(message):
            if each.number == 1:
                name = self.messages.text(each)
            elif each.number == 3:
                number = self.messages.numbers(each)[0]
            elif each.number == 5:
                tensors.append(each)
            elif each.number in (6, 11):
                self.graph(each, depth + 1)
        if number is not None:
            node.numbers[name] = number
        return tensors

    def _initializer(self, message: Field, called: str) -> None:
        """Keep a TensorProto; `called`: its name where it is a node's output."""
        name, kind, shape, external = called, 0, [], False
        listed: list[Field] = []
        raw: Field | None = None
        where: dict[str, str] = {}
        for each in self.messages.inside(message):
            if each.number == 1:
                shape += self.messages.numbers(each, 1 << 10)
            elif each.number == 2:
                kind = each.value
            elif each.number in (4, 5, 7, 10, 11):
                listed.append(each)
            elif each.number == 8 and not called:
                name = clean(self.messages.text(each))
            elif each.number == 9:
                raw = each
            elif each.number == 13:
                where |= self._entry(each)
            elif each.number == 14:
                external = each.value == 1
        if any(not 0 <= n < 1 << 62 for n in shape) or name in self.into.tensors:
            raise ValueError(f"has the tensor {name[:200]!r} twice, or of a negative size")
        self._keep(name, kind, tuple(shape), self._span(name, kind, raw, listed, external, where))

    def _span(
        self,
        name: str,
        kind: int,
        raw: Field | None,
        listed: list[Field],
        external: bool,
        where: dict[str, str],
    ) -> Span:
        if external:
            return self._external(name, where)
        if raw is not None:
            return Window(self.file, raw.start, raw.stop - raw.start)
        if len(listed) == 1 and listed[0].number in (4, 10) and listed[0].value < 0:
            return Window(self.file, listed[0].start, listed[0].stop - listed[0].start)
        return Bytes(self._listed(kind, listed).tobytes())

    def _listed(self, kind: int, fields: list[Field]) -> Array:
        """Numbers stored one by one: floats of fixed width, or integers that stand for others."""
        if sum(each.stop - each.start for each in fields) > MAX_LISTED:
            raise ValueError(f"lists more than {MAX_LISTED} bytes of numbers")
        if any(each.number in (4, 10) for each in fields):
            return np.frombuffer(
                b"".join(self.messages.content(f, MAX_LISTED) for f in fields), np.uint8
            )
        numbers = [n for f in fields for n in self.messages.numbers(f, MAX_LISTED)]
        values = np.array(numbers, np.int64)
        if kind in (10, 16, *range(17, 25)):
            # the bits of a half are listed as an integer
            return values.astype("<u2" if kind in (10, 16) else "|u1")
        return values.astype(_DTYPES[kind]) if kind in _DTYPES else values

    def _entry(self, message: Field) -> dict[str, str]:
        pair = {each.number: self.messages.text(each) for each in self.messages.inside(message)}
        return {pair.get(1, ""): pair.get(2, "")}

    def _external(self, name: str, where: dict[str, str]) -> Span:
        place = where.get("location", "")
        if not all(map(_is_plain, place.split("/"))):
            raise ValueError(f"keeps {name[:200]!r} outside its folder: {clean(place)[:200]!r}")
        if place not in self.into.files:
            self.into.files[place] = File(self.file.path.parent / place)
        file = self.into.files[place]
        offset, length = (where.get(key, "") for key in ("offset", "length"))
        if not all(text.isdecimal() and len(text) < 20 for text in (offset, length) if text):
            raise ValueError(f"has the tensor {name[:200]!r} at no valid place")
        start = int(offset or 0)
        size = int(length) if length else file.size - start
        if start + size > file.size or size < 0:
            raise ValueError(f"has {name[:200]!r} beyond the end of {clean(place)[:200]}")
        return Window(file, start, size)

    def _keep(self, name: str, kind: int, shape: tuple[int, ...], span: Span) -> None:
        if kind in (21, 22):
            self.into.packed[name] = span, shape, kind == 22
        elif kind not in _DTYPES:
            if kind != 8:
                self.into.notes.append(f"skipped {name[:200]!r}: of the data type {kind}")
                self.into.unread[name] = math.prod(shape)
        else:
            dtype: DType = np.dtype(_DTYPES[kind])
            try:
                self.into.tensors[name] = lay_out(name, span, dtype, shape)
            except ValueError as error:
                raise ValueError(f"tensor {name[:200]!r} {error}") from None


def _is_plain(name: str) -> bool:
    return name not in ("", ".", "..") and not any(mark in name for mark in "\\\0:")


def external_parts(name: str, names: Set[str]) -> Set[str]:
    """Names that exporters give to a model's external data.

    >>> sorted(external_parts("a.onnx", {"a.onnx", "a.onnx_data", "a.onnx.data", "b.onnx_data"}))
    ['a.onnx.data', 'a.onnx_data']
    """
    return {each for each in names if each.startswith((f"{name}_data", f"{name}.data"))}
