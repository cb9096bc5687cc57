"""Files of a few kilobytes that ask for far more work than they are worth, one of each kind.

    python -m experiments.fuzz.attacks [NAME ...] [--seconds 60] [--json figures.json]

Each is put beside two good models, and `mother recover` is run on the folder: what is printed is
how long that took, how much memory, and whether the good models' tree is there. What all of them
have in common: something is copied, hashed, merged, inflated or read again each time that it is
referred to.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

#: writes into a folder; some take a scale, by which all that they repeat is fewer
Attack = Callable[..., None]
ATTACKS: dict[str, Attack] = {}


def attack(make: Attack) -> Attack:
    """Register what writes the files of one attack into a folder, under its own name."""
    ATTACKS[make.__name__] = make
    return make


# --- pickles -------------------------------------------------------------------------------------


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return b"X" + struct.pack("<I", len(data)) + data


def put(place: int) -> bytes:
    return b"r" + struct.pack("<I", place)


def get(place: int) -> bytes:
    return b"j" + struct.pack("<I", place)


def integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value) if value < 1 << 31 else long(value)


def long(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8b" + struct.pack("<I", len(data)) + data


def numbers(values: list[int]) -> bytes:
    return b"(" + b"".join(map(integer, values)) + b"t"


def symbol(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


_STORAGE = b"(" + text("storage") + symbol("torch", "FloatStorage") + text("0") + text("cpu")


def storage(count: int) -> bytes:
    """A storage of floats, by a persistent id."""
    return _STORAGE + integer(count) + b"tQ"


def view(place: int, offset: int, shape: bytes, strides: bytes) -> bytes:
    """A tensor over the memoised storage; the function that rebuilds it is memoised behind it."""
    return get(place + 1) + b"(" + get(place) + integer(offset) + shape + strides + b"\x89Nt" + b"R"


def torch_file(path: Path, program: bytes, data: bytes = b"", *, packed: bool = True) -> None:
    """A file as torch.save writes one, of a pickle's opcodes and the bytes of storage "0"."""
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + program + b".")
        archive.writestr("archive/data/0", data)
        archive.writestr("archive/version", b"3\n")


def start(count: int) -> bytes:
    """Memoise a storage at 0, and at 1 what rebuilds tensors of it."""
    return (
        storage(count)
        + put(0)
        + b"0"
        + symbol("torch._utils", "_rebuild_tensor_v2")
        + put(1)
        + b"0"
    )


def with_a_tensor(program: bytes) -> bytes:
    """A dict of one good tensor, "w", and what a program makes."""
    shape = numbers([4])
    good = text("w") + view(0, 0, shape, numbers([1])) + b"s"
    return start(4) + b"}" + good + text("x") + program + b"s"


@attack
def names_joined(folder: Path) -> None:
    """A long module, memoised, whose name is joined again for each of 60,000 symbols."""
    body = text("m" * 65_000) + put(2) + b"0" + text("f") + put(3) + b"0"
    body += b"(" + (get(2) + get(3) + b"\x93") * 60_000 + b"l"
    torch_file(folder / "bad.pt", with_a_tensor(body), bytes(16))


@attack
def names_split(folder: Path) -> None:
    """A long class name that is split again for each of 30,000 persistent ids."""
    body = text("storage") + put(2) + b"0" + symbol("m", "F." + "s " * 50_000 + "Storage") + put(3)
    body += b"0" + text("k") + put(4) + b"0"
    one = b"(" + get(2) + get(3) + get(4) + get(4) + b"K\x01tQ"
    torch_file(folder / "bad.pt", with_a_tensor(body + b"(" + one * 30_000 + b"l"), bytes(16))


@attack
def shapes_recalled(folder: Path) -> None:
    """A shape of 1,000 entries that 140,000 views recall."""
    body = numbers([1] * 1000) + put(2) + b"0("
    body += view(0, 0, get(2), get(2)) * 140_000 + b"l"
    torch_file(folder / "bad.pt", with_a_tensor(body), bytes(16))


@attack
def integers_hashed(folder: Path) -> None:
    """An integer of 400,000 bytes as a key, hashed 100,000 times."""
    body = long(1 << 3_200_000) + put(2) + b"0N" + put(3) + b"0}("
    torch_file(
        folder / "bad.pt", with_a_tensor(body + (get(2) + get(3)) * 100_000 + b"u"), bytes(16)
    )


@attack
def integers_shown(folder: Path) -> None:
    """Tensors under integers of more digits than Python spells."""
    body = b"}" + long(1 << 40_000) + view(0, 0, numbers([4]), numbers([1])) + b"s"
    torch_file(folder / "bad.pt", with_a_tensor(body), bytes(16))


@attack
def integers_that_collide(folder: Path) -> None:
    """40,000 integers of one hash."""
    prime = (1 << 61) - 1
    body = b"}(" + b"".join(long(prime * k) + b"N" for k in range(1, 40_001)) + b"u"
    torch_file(folder / "bad.pt", with_a_tensor(body), bytes(16))


@attack
def dicts_updated(folder: Path) -> None:
    """A dict of 50,000 keys with which an object is updated at each of 100,000 opcodes."""
    body = b"}(" + b"".join(integer(k) + b"N" for k in range(50_000)) + b"u" + put(2) + b"0"
    body += symbol("a", "b") + b")R" + (get(2) + b"b") * 100_000
    torch_file(folder / "bad.pt", with_a_tensor(body), bytes(16))


@attack
def tuples_sliced(folder: Path) -> None:
    """A tuple of 50,000 that is sliced as a function's arguments 100,000 times."""
    body = b"(" + text("x") + b"N" * 50_000 + b"t" + put(2) + b"0" + symbol("_codecs", "encode")
    body += put(3) + b"0(" + (get(3) + get(2) + b"R") * 100_000 + b"l"
    torch_file(folder / "bad.pt", with_a_tensor(body), bytes(16))


@attack
def persistent_sliced(folder: Path) -> None:
    """A persistent id of 50,000 parts, 100,000 times."""
    body = (
        b"(" + text("storage") + symbol("torch", "FloatStorage") + text("0") + text("c") + b"K\x01"
    )
    body += b"N" * 50_000 + b"t" + put(2) + b"0(" + (get(2) + b"Q") * 100_000 + b"l"
    torch_file(folder / "bad.pt", with_a_tensor(body), bytes(16))


@attack
def sizes_copied(folder: Path) -> None:
    """A list of 50,000 that torch.Size copies 100,000 times."""
    body = (
        b"(" + b"K\x01" * 50_000 + b"l" + b"\x85" + put(2) + b"0" + symbol("torch", "Size") + put(3)
    )
    body += b"0(" + (get(3) + get(2) + b"R") * 100_000 + b"l"
    torch_file(folder / "bad.pt", with_a_tensor(body), bytes(16))


@attack
def arguments_kept(folder: Path) -> None:
    """50,000 arguments kept for each of 100,000 tensors of another layout."""
    body = b"(" + b"N" * 50_000 + b"t" + put(2) + b"0" + symbol("torch._utils", "_rebuild_sparse")
    body += put(3) + b"0(" + (get(3) + get(2) + b"R") * 100_000 + b"l"
    torch_file(folder / "bad.pt", with_a_tensor(body), bytes(16))


@attack
def states_unpacked(folder: Path) -> None:
    """A state of 50,000 parts that an array is built of 100,000 times."""
    body = (
        b"("
        + b"N" * 50_000
        + b"t"
        + put(2)
        + b"0"
        + symbol("numpy", "dtype")
        + text("f4")
        + b"\x85R"
    )
    torch_file(folder / "bad.pt", with_a_tensor(body + (get(2) + b"b") * 100_000), bytes(16))


@attack
def dtypes_copied(folder: Path) -> None:
    """A dtype's name of 100,000 letters, copied with a byte order before it 60,000 times."""
    state = b"(K\x03" + text("<") + b"NNNt"
    body = text("f" * 100_000) + b"\x85" + put(2) + b"0" + state + put(3) + b"0"
    body += symbol("numpy", "dtype") + put(4) + b"0("
    body += (get(4) + get(2) + b"R" + get(3) + b"b") * 60_000 + b"l"
    torch_file(folder / "bad.pt", with_a_tensor(body), bytes(16))


@attack
def keys_spelled(folder: Path) -> None:
    """A key of a megabyte of bytes in each of 60,000 dicts."""
    body = b"B" + struct.pack("<I", 1 << 20) + bytes(1 << 20) + put(2) + b"0("
    torch_file(
        folder / "bad.pt", with_a_tensor(body + (b"}" + get(2) + b"Ns") * 60_000 + b"l"), bytes(16)
    )


@attack
def names_prefixed(folder: Path) -> None:
    """A name of 1,900 letters before each of 400,000 tensors."""
    body = view(0, 0, numbers([4]), numbers([1])) + put(2) + b"0}" + text("n" * 1900) + b"("
    torch_file(folder / "bad.pt", with_a_tensor(body + get(2) * 400_000 + b"ls"), bytes(16))


@attack
def rebuilt_within(folder: Path) -> None:
    """Subclasses of tensors in one another, 100,000 deep."""
    body = symbol("torch._tensor", "_rebuild_from_type_v2") + put(2) + b"0)"
    body += (put(3) + b"0(" + get(2) + b"N" + get(3) + b"Nt") * 100_000
    body += put(4) + b"0" + get(2) + get(4) + b"R"
    torch_file(folder / "bad.pt", with_a_tensor(body), bytes(16))


@attack
def lists_in_lists(folder: Path) -> None:
    """Lists in lists, 200,000 deep, and doubled at each level."""
    body = b"]" + b"".join(put(2) + b"0(" + get(2) + get(2) + b"l" for _ in range(200_000))
    torch_file(folder / "bad.pt", with_a_tensor(body), bytes(16))


@attack
def operations(folder: Path) -> None:
    """As many opcodes as there may be, deflated."""
    torch_file(folder / "bad.pt", with_a_tensor(b"(" + b"]" * 4_900_000 + b"l"), bytes(16))


@attack
def legacy_again(folder: Path) -> None:
    """The first of the five pickles of an old file: lists, 60,000 of 1,000 recalled entries."""
    magic = b"\x80\x02\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little") + b"."
    body = b"(" + b"N" * 1000 + b"t" + put(2) + b"0" + symbol("torch", "Size") + put(3) + b"0("
    body += (get(3) + get(2) + b"\x85R") * 60_000 + b"l"
    rest = b"\x80\x02K\x01." + b"\x80\x02" + body + b"." + b"\x80\x02}." + b"\x80\x02]."
    (folder / "bad.pt").write_bytes(magic + rest)


# --- what tensors read ---------------------------------------------------------------------------


@attack
def views_descending(folder: Path) -> None:
    """2,000 views at descending offsets of a deflated storage: each inflates from the start."""
    count = 15 << 20
    body = start(count) + b"}("
    for k in range(2000):
        body += text(f"w{k:04}") + view(
            0, count - 4096 - 7000 * k, numbers([64, 64]), numbers([64, 1])
        )
    torch_file(folder / "bad.pt", body + b"u", bytes(4 * count))


@attack
def views_overlapping(folder: Path) -> None:
    """2,000 views of all of a deflated storage."""
    count = 15 << 20
    body = start(count) + b"}("
    for k in range(2000):
        body += text(f"w{k:04}") + view(0, 0, numbers([3840, 4096]), numbers([4096, 1]))
    torch_file(folder / "bad.pt", body + b"u", bytes(4 * count))


@attack
def strides_of_none(folder: Path) -> None:
    """2,000 tensors of stride 0 over one float, a million elements each."""
    body = start(1) + b"}("
    for k in range(2000):
        body += text(f"w{k:04}") + view(0, 0, numbers([1024, 1024]), numbers([0, 0]))
    torch_file(folder / "bad.pt", body + b"u", bytes(4))


@attack
def tensors_of_nothing(folder: Path, scale: float = 1) -> None:
    """500,000 tensors without elements."""
    body = start(1) + b"}" + view(0, 0, numbers([0]), numbers([1])) + put(2) + b"0("
    body += b"".join(integer(k) + get(2) for k in range(round(scale * 500_000))) + b"u"
    torch_file(folder / "bad.pt", body, bytes(4))


def npy(shape: tuple[int, ...]) -> bytes:
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head = head.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head


@attack
def arrays_aliased(folder: Path, scale: float = 1) -> None:
    """A pickled dict of 300,000 keys over one array of 256 kB."""
    keys, held = range(round(scale * 300_000)), np.zeros((256, 256), np.float32)
    out = io.BytesIO()
    np.save(out, np.array(dict.fromkeys(keys, held), object), allow_pickle=True)
    (folder / "bad.npy").write_bytes(out.getvalue())


@attack
def members(folder: Path, scale: float = 1) -> None:
    """An archive of 20,000 arrays that are all the same few bytes."""
    with zipfile.ZipFile(folder / "bad.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(round(scale * 20_000)):
            archive.writestr(f"{k}.npy", npy((0,)))


@attack
def members_inflated(folder: Path) -> None:
    """An archive of 60 arrays, each a megabyte of zeros in a kilobyte."""
    with zipfile.ZipFile(folder / "bad.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(60):
            archive.writestr(f"{k}.npy", npy((512, 512)) + bytes(1 << 20))


@attack
def transposed_inflated(folder: Path) -> None:
    """A deflated matrix in the other order, of which each slice reads everything."""
    head = npy((3840, 4096)).replace(b"False", b"True ")
    with zipfile.ZipFile(folder / "bad.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", head + bytes(60 << 20))


# --- tables of contents --------------------------------------------------------------------------


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def message(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def _table(entries: list[tuple[int, bytes, bytes]]) -> bytes:
    """A block of leveldb's: shared prefix, rest of the key, value."""
    out = b"".join(varint(s) + varint(len(k)) + varint(len(v)) + k + v for s, k, v in entries)
    return out + struct.pack("<I", 0) + b"\0"


def _bundle(folder: Path, blocks: list[bytes], again: int) -> None:
    out, index = b"", []
    for block in blocks:
        handle = varint(len(out)) + varint(len(block) - 1)
        index += [(0, b"k", handle)] * again
        out += block + bytes(4)
    last = _table(index)
    footer = varint(0) * 2 + varint(len(out)) + varint(len(last) - 1)
    magic = (0xDB4775248B80FB57).to_bytes(8, "little")
    (folder / "bad.index").write_bytes(out + last + bytes(4) + footer.ljust(40, b"\0") + magic)
    (folder / "bad.data-00000-of-00001").write_bytes(bytes(64))


@attack
def keys_shared(folder: Path, scale: float = 1) -> None:
    """A TensorFlow index whose 100,000 keys share 60,000 letters."""
    tensor = b"\x08\x01" + message(2, message(2, b"\x08\x01")) + b"\x28\x04"
    entries = [(0, b"", b"\x08\x01"), (0, b"a" * 60_000, tensor)]
    entries += [(60_000, b"%06d" % k, tensor) for k in range(round(scale * 100_000))]
    _bundle(folder, [_table(entries)], 1)


@attack
def blocks_again(folder: Path) -> None:
    """A TensorFlow index that refers 50,000 times to one block of 500 kB."""
    _bundle(folder, [_table([(0, b"", b"\x08\x01" + message(9, bytes(500_000)))])], 50_000)


class _Flatbuffer:
    """A flatbuffer, from its end on; places are counted from there, so that offsets lead on."""

    def __init__(self) -> None:
        self.data = b""

    def put(self, data: bytes) -> int:
        self.data = data + self.data
        return len(self.data)

    def again(self, to: int, many: int) -> int:
        """A vector of many offsets to one place."""
        first = len(self.data) + 4 * many
        offsets = [first - 4 * k - to for k in range(many)]
        return self.put(struct.pack(f"<I{many}I", many, *offsets))

    def vector(self, code: str, values: Sequence[float]) -> int:
        return self.put(struct.pack(f"<I{len(values)}{code}", len(values), *values))

    def table(self, fields: dict[int, tuple[str, int]]) -> int:
        """A table. fields: of each a struct code and a value, or "@" and the place it leads to."""
        many, body, where = max(fields) + 1, b"", {}
        end = len(self.data) + 8 * len(fields)
        for k, (code, value) in fields.items():
            where[k] = 4 + len(body)
            told = struct.pack("<I", end - len(body) - value) if code == "@" else b""
            body += (told or struct.pack(f"<{code}", value)).ljust(8, b"\0")
        vtable = struct.pack("<HH", 4 + 2 * many, 4 + len(body))
        vtable += b"".join(struct.pack("<H", where.get(k, 0)) for k in range(many))
        at = self.put(struct.pack("<i", len(vtable)) + body)
        self.put(vtable)
        return at


def _tflite(folder: Path, graphs: int, tensors: int, scales: int) -> None:
    """A TensorFlow Lite model that refers again and again to one graph, one tensor, one scale."""
    made = _Flatbuffer()
    buffer = made.table({0: ("@", made.vector("B", [1] * 64))})
    how = made.table({2: ("@", made.vector("f", [1.0] * scales))})
    shape, name = made.vector("i", [8, 8]), made.vector("B", b"w")
    tensor = made.table({0: ("@", shape), 1: ("b", 9), 2: ("I", 0), 3: ("@", name), 4: ("@", how)})
    graph = made.table({0: ("@", made.again(tensor, tensors))})
    root = made.table({2: ("@", made.again(graph, graphs)), 4: ("@", made.again(buffer, 1))})
    start = struct.pack("<I", 8 + len(made.data) - root) + b"TFL3"
    (folder / "bad.tflite").write_bytes(start + made.data)


@attack
def graphs_again(folder: Path) -> None:
    """A TensorFlow Lite model of 3,000 times one graph of 3,000 times one tensor."""
    _tflite(folder, 3000, 3000, 1)


@attack
def names_again(folder: Path) -> None:
    """A TensorFlow Lite model of 40,000 tensors of one name."""
    _tflite(folder, 1, 40_000, 1)


@attack
def scales_again(folder: Path) -> None:
    """A TensorFlow Lite model of 5,000 tensors that share 30,000 scales."""
    _tflite(folder, 1, 5000, 30_000)


_CONST = (
    '<layer id="{}" name="{}" type="Const">'
    '<data element_type="{}" shape="4" offset="0" size="{}"/></layer>'
)


@attack
def openvino_names(folder: Path) -> None:
    """An OpenVINO model of 20,000 constants of one name."""
    one = _CONST.format("{0}", "w", "f32", 16)
    _openvino(folder, "".join(one.format(k) for k in range(20_000)), "")


@attack
def openvino_chains(folder: Path) -> None:
    """An OpenVINO model in which 20,000 constants lead to one subtraction."""
    const = _CONST.format("{0}", "w{0}", "i8", 4)
    convert = '<layer id="c{0}" name="c{0}" type="Convert"/>'
    edge = '<edge from-layer="{0}" to-layer="c{0}" to-port="0"/>'
    edge += '<edge from-layer="c{0}" to-layer="s" to-port="{0}"/>'
    many = range(20_000)
    layers = "".join(const.format(k) + convert.format(k) for k in many)
    layers += '<layer id="s" name="s" type="Subtract"/>'
    _openvino(folder, layers, "".join(edge.format(k) for k in many))


@attack
def openvino_entities(folder: Path) -> None:
    """Entities of entities, a billion of them."""
    held = "".join(f'<!ENTITY e{k} "{f"&e{k - 1};" * 10}">' for k in range(1, 10))
    doctype = f'<!DOCTYPE net [<!ENTITY e0 "x">{held}]>'
    head = f'<?xml version="1.0"?>{doctype}<net name="&e9;"><layers/></net>'
    (folder / "bad.xml").write_text(head.replace("?>", "?><!--<net -->", 1))
    (folder / "bad.bin").write_bytes(bytes(16))


def _openvino(folder: Path, layers: str, edges: str) -> None:
    head = '<?xml version="1.0"?><net name="n" version="11">'
    content = f"{head}<layers>{layers}</layers><edges>{edges}</edges></net>"
    (folder / "bad.xml").write_text(content)
    (folder / "bad.bin").write_bytes(bytes(16))


@attack
def ncnn_digits(folder: Path) -> None:
    """A parameter's number of more digits than Python reads."""
    line = f"InnerProduct w 1 1 a b 0=4 1=0 2=16 {'9' * 5000}=1"
    (folder / "bad.param").write_text(f"7767517\n1 2\n{line}\n")
    (folder / "bad.bin").write_bytes(bytes(68))


def _hdf5(
    folder: Path, shape: tuple[int, int], sides: tuple[int, int], levels: int, many: int
) -> None:
    """An HDF5 file that is one dataset of a deflated chunk, to which nodes of a tree refer."""
    data = zlib.compress(bytes(4 * sides[0] * sides[1]), 9)
    out = bytearray(
        b"\x89HDF\r\n\x1a\n\x02\x08\x08\0" + struct.pack("<QQQQI", 0, 0, 0, 64, 0)
    ).ljust(4096, b"\0")
    at = len(out)
    out += data
    for level in range(levels):
        key = struct.pack("<II", len(data), 0) + struct.pack("<QQQ", 0, 0, 0)
        node = b"TREE" + struct.pack("<BBHQQ", 1, level, many, 0, 0)
        node += (key + struct.pack("<Q", at)) * many + key
        at = len(out)
        out += node
    told = {
        1: struct.pack("<BBB5xQQ", 1, 2, 0, *shape),
        3: struct.pack("<BBBBIHHBBBBI", 0x11, 0x20, 31, 0, 4, 0, 32, 23, 8, 0, 23, 127),
        8: struct.pack("<BBBQIII", 3, 2, 3, at, *sides, 4),
        11: struct.pack("<BB6xHHHHI4x", 1, 1, 1, 0, 0, 1, 9),
    }
    body = b"".join(
        struct.pack("<HHB3x", k, len(v) + -len(v) % 8, 0) + v.ljust(len(v) + -len(v) % 8, b"\0")
        for k, v in told.items()
    )
    out[64 : 64 + 16 + len(body)] = struct.pack("<BBHII4x", 1, 0, len(told), 1, len(body)) + body
    (folder / "bad.h5").write_bytes(bytes(out))


@attack
def hdf5_one_chunk(folder: Path) -> None:
    """An HDF5 dataset of one deflated chunk, which is inflated whole for each slice."""
    _hdf5(folder, (4096, 8192), (4096, 8192), 1, 1)


@attack
def hdf5_nodes(folder: Path, scale: float = 1) -> None:
    """An HDF5 tree of three levels in which each node is referred to 1,000 times."""
    _hdf5(folder, (1 << 15, 1 << 15), (1, 1), 3, round(scale ** (1 / 3) * 1000))


@attack
def distributed_parts(folder: Path, scale: float = 1) -> None:
    """A distributed checkpoint of 20,000 times one part, with a long pickle."""
    parts, length = round(scale * 20_000), round(scale * 400_000)
    place = folder / "bad"
    place.mkdir()
    body = start(4) + b"}" + text("w") + view(0, 0, numbers([4]), numbers([1])) + b"s"
    body += text("x") + b"(" + b"]" * length + b"ls"
    torch_file(place / "__0_0.distcp", body, bytes(16))
    size = (place / "__0_0.distcp").stat().st_size
    meta = "torch.distributed.checkpoint.metadata"
    kind = symbol(meta, "TensorStorageMetadata") + b")R}" + text("size") + numbers([4]) + b"sb"
    info = symbol("torch.distributed.checkpoint.filesystem", "_StorageInfo") + b")R}("
    info += text("relative_path") + text("__0_0.distcp") + text("offset") + integer(0)
    info += text("length") + integer(size) + b"ub" + put(9) + b"0"
    index = b"".join(
        symbol(meta, "MetadataIndex") + b")R}(" + text("fqn") + text("w") + text("offset")
        + numbers([4 * k]) + b"ub" + get(9) for k in range(parts)
    )  # fmt: skip
    body = info + symbol(meta, "Metadata") + b")R}(" + text("state_dict_metadata") + b"}"
    body += text("w") + kind + b"s" + text("storage_data") + b"}(" + index + b"u" + b"ub"
    (place / ".metadata").write_bytes(b"\x80\x02" + body + b".")


@attack
def flax_chunks(folder: Path, scale: float = 1) -> None:
    """A msgpack file of one array in 200,000 chunks without elements."""
    empty = round(scale * 200_000)

    def texted(value: str) -> bytes:
        return bytes([0xA0 | len(value)]) + value.encode()

    def array(shape: bytes, data: bytes) -> bytes:
        inner = b"\x93" + shape + texted("float32") + b"\xc6" + struct.pack(">I", len(data)) + data
        return b"\xc9" + struct.pack(">I", len(inner)) + b"\x01" + inner

    parts = b"".join(texted(str(k)) + array(b"\x91\x00", b"") for k in range(empty))
    parts += texted(str(empty)) + array(b"\x91\x01", bytes(4))
    chunks = b"\xdf" + struct.pack(">I", empty + 1) + parts
    held = b"\x83" + texted("__msgpack_chunked_array__".ljust(25)[:25]) + b"\xc3"
    held += texted("shape") + b"\x81" + texted("0") + b"\x01" + texted("chunks") + chunks
    (folder / "bad.msgpack").write_bytes(b"\x81" + texted("w") + held)


@attack
def safetensors_names(folder: Path, scale: float = 1) -> None:
    """A safetensors header of 100,000 tensors without elements."""
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    head = json.dumps({f"w{k}": entry for k in range(round(scale * 100_000))}).encode()
    (folder / "bad.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)


@attack
def json_in_json(folder: Path) -> None:
    """A config nested 100,000 deep beside the weights, and an index of shards as deep."""
    place = folder / "bad"
    place.mkdir()
    (place / "config.json").write_text("[" * 100_000)
    (place / "model.safetensors.index.json").write_text('{"weight_map":' * 50_000)


@attack
def card_in_depth(folder: Path) -> None:
    """A card's front matter of half a megabyte of brackets, aliases and keys."""
    place = folder / "bad"
    place.mkdir()
    (place / "README.md").write_text(
        "---\n" + "a: &a [x]\n" + "? " * 100_000 + "[" * 100_000 + "\n---\n"
    )
    save(place / "model.safetensors", 7)


@attack
def caffe_shapes(folder: Path) -> None:
    """A blob of 500,000 sides, whose product has as many words."""
    sides = field(7, field(1, varint(2**62 - 1) * 50_000) * 10)
    (folder / "bad.caffemodel").write_bytes(caffe(sides + field(5, bytes(4))))


@attack
def caffe_names(folder: Path) -> None:
    """A layer with a name of 60,000 letters, and 100,000 blobs without elements."""
    blob = field(7, field(1, b"\0")) + field(5, b"")
    (folder / "bad.caffemodel").write_bytes(caffe(*[blob] * 100_000, name=b"n" * 60_000))


@attack
def darknet_sides(folder: Path) -> None:
    """20,000 layers of which each has 2^46 times as many channels as the one before."""
    layers = "[reorg]\nstride=9999999\n" * 20_000
    (folder / "bad.cfg").write_text(f"[net]\nheight=1\nwidth=1\n{layers}")
    (folder / "bad.weights").write_bytes(bytes(64))


@attack
def lists_named(folder: Path) -> None:
    """A pickle of numpy's with a name of 1,900 letters before each of 100,000 None."""
    array = symbol("numpy.core.multiarray", "_reconstruct") + put(2) + b"0"
    body = b"\x80\x02}" + array + text("n" * 1900) + b"(" + b"N" * 100_000 + b"ls."
    (folder / "bad.pkl").write_bytes(body)


def field(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def caffe(*blobs: bytes, name: bytes = b"conv") -> bytes:
    """A network of one layer."""
    return field(100, field(1, name) + b"".join(field(7, blob) for blob in blobs))


# --- measuring -----------------------------------------------------------------------------------


def save(path: Path, seed: int) -> None:
    """A good model of two matrices, tuned from a common root."""
    draw = np.random.default_rng(0)
    root = [draw.normal(size=(64, 64)) for _ in range(4)]
    own = np.random.default_rng(seed)
    data = [
        (w + 0.05 * own.normal(size=w.shape) * (seed > 0)).astype("<f4").tobytes() for w in root
    ]
    head, at = {}, 0
    for k, held in enumerate(data):
        head[f"w{k}"] = {"dtype": "F32", "shape": [64, 64], "data_offsets": [at, at + len(held)]}
        at += len(held)
    told = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(told)) + told + b"".join(data))


def measured(name: str, seconds: int) -> dict[str, Any]:
    """Run `mother recover` on the attack beside two good models."""
    with tempfile.TemporaryDirectory() as made:
        folder, output = Path(made) / "models", Path(made) / "graph.json"
        folder.mkdir()
        ATTACKS[name](folder)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for seed in range(2):
            save(folder / f"good{seed}.safetensors", seed)
        command = [sys.executable, "-c", "from mother.cli import main; main()"]
        command += ["recover", str(folder), "-o", str(output)]
        bounded = partial(resource.setrlimit, resource.RLIMIT_AS, (8 << 30, 8 << 30))
        begin = time.monotonic()
        child = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=bounded,
        )
        try:
            _, err = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            _, err = child.communicate()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        edges = json.loads(output.read_text())["edges"] if output.exists() else []
        ends = [{edge["parent"], edge["child"]} for edge in edges]
        told = [line for line in err.splitlines() if line.strip()]
        return {
            "bytes": size,
            "seconds": round(time.monotonic() - begin, 1),
            "processor": round(used.ru_utime + used.ru_stime, 1),
            "MiB": used.ru_maxrss >> 10,
            "code": child.returncode,
            "tree": {"good0", "good1"} in ends,
            "said": told[-1][-150:] if told else "",
        }


def each(names: list[str], seconds: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Figures of each attack, from a process of its own: a peak of memory is told of children."""
    for name in names:
        one = [sys.executable, "-m", "experiments.fuzz.attacks", name, "--one", "--seconds"]
        out = subprocess.run(
            [*one, str(seconds)], capture_output=True, text=True, check=True
        ).stdout
        yield name, json.loads(out)


def main() -> None:
    """Run, print a line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.names[0], options.seconds)))
        return
    found = {}
    print(f"{'attack':24}{'kB':>8}{'s':>7}{'CPU s':>7}{'MiB':>7}  tree  said")
    for name, told in each(options.names or list(ATTACKS), options.seconds):
        found[name] = told
        line = f"{name:24}{told['bytes'] / 1000:8.1f}"
        line += "".join(f"{told[key]:7}" for key in ("seconds", "processor", "MiB"))
        print(f"{line}  {'yes ' if told['tree'] else 'NO  '}  {told['said']}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
