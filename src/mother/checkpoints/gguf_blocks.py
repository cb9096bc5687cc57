"""How GGUF stores numbers: blocks of some elements, each with its own scales.

One function a type, from blocks as structs to (blocks, elements) float32, in the order of
operations of the reference (ggml-quants.c and the package gguf): the same values bit for bit.
Layouts: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import unpack

Blocks = NDArray[np.void]
Floats = NDArray[np.float32]
Codes = NDArray[Any]  # whole numbers, unsigned unless said otherwise
F32 = np.float32


@dataclass(frozen=True)
class BlockType:
    """A way to store `elements` numbers in one `block`."""

    name: str
    elements: int
    block: np.dtype[Any]
    decode: Callable[[Blocks], Floats]


def planes(packed: Codes, bits: int, run: int) -> Codes:
    """Codes of which `8 / bits` share a byte: the lowest bits of `run` bytes are the first `run`
    codes, the next bits the `run` codes after. (n, k) -> (n, k * 8 / bits)

    >>> planes(np.array([[0x21, 0x43]], np.uint8), 4, 2)
    array([[1, 3, 2, 4]], dtype=uint8)
    """
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    codes = packed.reshape(len(packed), -1, 1, run) >> shifts
    return (codes & np.uint8((1 << bits) - 1)).reshape(len(packed), -1)


def _bits(packed: Codes, width: int) -> Codes:
    """The lowest `width` bits of each, lowest first: (n, k) -> (n, k * width)."""
    shifts = np.arange(width, dtype=packed.dtype)
    bits: Codes = (packed[..., None] >> shifts) & packed.dtype.type(1)
    return bits.reshape(len(packed), -1)


def _scale(blocks: Blocks, name: str = "d") -> Floats:
    return blocks[name].astype(F32)[:, None]


def _times(scales: Floats, codes: Codes) -> Floats:
    """Each scale times its equal share of the codes: (n, s) and (n, e) -> (n, e)."""
    n, many = scales.shape
    values = codes.reshape(n, many, -1).astype(F32)
    values *= scales[:, :, None]
    return values.reshape(n, -1)


def _affine(scales: Floats, lows: Floats, codes: Codes) -> Floats:
    """scale * code - low, by equal shares of the codes."""
    n, many = scales.shape
    values = _times(scales, codes).reshape(n, many, -1)
    values -= lows[:, :, None]
    return values.reshape(n, -1)


def _q4_0(b: Blocks) -> Floats:
    return _times(_scale(b), planes(b["qs"], 4, 16).view(np.int8) - np.int8(8))


def _q4_1(b: Blocks) -> Floats:
    return _times(_scale(b), planes(b["qs"], 4, 16)) + _scale(b, "m")


def _fives(b: Blocks) -> Codes:
    high = _bits(b["qh"].astype(np.uint32)[:, None], 32).astype(np.uint8)
    codes: Codes = planes(b["qs"], 4, 16) | high << 4
    return codes


def _q5_0(b: Blocks) -> Floats:
    return _times(_scale(b), _fives(b).view(np.int8) - np.int8(16))


def _q5_1(b: Blocks) -> Floats:
    return _times(_scale(b), _fives(b)) + _scale(b, "m")


def _q8(b: Blocks) -> Floats:
    return _times(_scale(b), b["qs"])


def _q1_0(b: Blocks) -> Floats:
    return _times(_scale(b), _bits(b["qs"], 8).view(np.int8) * np.int8(2) - np.int8(1))


def _q2_0(b: Blocks) -> Floats:
    pairs = b["qs"][..., None] >> np.arange(0, 8, 2, dtype=np.uint8)
    return _times(_scale(b), (pairs & np.uint8(3)).view(np.int8) - np.int8(1))


def _q2_k(b: Blocks) -> Floats:
    scales, lows = b["scales"] & np.uint8(15), b["scales"] >> 4
    codes = planes(b["qs"], 2, 32)
    return _affine(_scale(b) * scales.astype(F32), _scale(b, "dmin") * lows.astype(F32), codes)


def _q3_k(b: Blocks) -> Floats:
    low, high = planes(b["scales"][:, :8], 4, 8), planes(b["scales"][:, 8:], 2, 4)
    scales = (low | high << 4).view(np.int8) - np.int8(32)
    absent = planes(b["hmask"], 1, 32) ^ np.uint8(1)
    codes = planes(b["qs"], 2, 32).view(np.int8) - (absent << 2).view(np.int8)
    return _times(_scale(b) * scales.astype(F32), codes)


def sixes(b: Blocks) -> tuple[Floats, Floats]:
    """Scales and lows of the eight runs of 32 in a Q4_K or Q5_K block, (n, 8) each: six bits each,
    the upper two of the last four apart from the others."""
    first, second, rest = b["scales"][:, :4], b["scales"][:, 4:8], b["scales"][:, 8:]
    scales = np.hstack([first & np.uint8(63), rest & np.uint8(15) | first >> 6 << 4])
    lows = np.hstack([second & np.uint8(63), rest >> 4 | second >> 6 << 4])
    return _scale(b) * scales.astype(F32), _scale(b, "dmin") * lows.astype(F32)


def _q4_k(b: Blocks) -> Floats:
    little = b.dtype["d"].byteorder != ">"
    found = unpack.q4_k(b) if little else None
    return _affine(*sixes(b), planes(b["qs"], 4, 32)) if found is None else found


def _q5_k(b: Blocks) -> Floats:
    return _affine(*sixes(b), planes(b["qs"], 4, 32) | planes(b["qh"], 1, 32) << 4)


def _q6_k(b: Blocks) -> Floats:
    codes = planes(b["ql"], 4, 64) | planes(b["qh"], 2, 32) << 4
    scales = _scale(b) * b["scales"].astype(F32)
    return _times(scales, codes.view(np.int8) - np.int8(32))


def _tq1_0(b: Blocks) -> Floats:
    powers = np.array([1, 3, 9, 27, 81], np.uint8)[:, None]
    n = len(b)
    # five digits of base 3 a byte, as a fraction of 256; the last four bytes hold four
    parts = [
        (b["qs"][:, None, :32] * powers).reshape(n, -1),
        (b["qs"][:, None, 32:] * powers).reshape(n, -1),
        (b["qh"][:, None] * powers[:4]).reshape(n, -1),
    ]
    digits = np.hstack(parts).astype(np.uint16) * 3 >> 8
    return _times(_scale(b), digits.astype(np.int8) - np.int8(1))


def _tq2_0(b: Blocks) -> Floats:
    return _times(_scale(b), planes(b["qs"], 2, 32).view(np.int8) - np.int8(1))


#: twice the values of E2M1 (OCP Microscaling Formats 1.0, section 5.3.3)
_E2M1 = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.int8)
_IQ4 = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.int8)


def _mxfp4(b: Blocks) -> Floats:
    e = b["e"].astype(np.uint32)
    # half of 2^(e - 127): a subnormal float for the two smallest
    half = np.where(e < 2, np.uint32(0x00200000) << np.minimum(e, 1), (e - 1) << 23)
    return _times(half.astype(np.uint32).view(F32)[:, None], _E2M1[planes(b["qs"], 4, 16)])


def _nvfp4(b: Blocks) -> Floats:
    code = b["d"]
    exponent, mantissa = code >> 3 & np.uint8(15), (code & np.uint8(7)).astype(F32)
    normal = (1 + mantissa / 8) * np.exp2(exponent.astype(F32) - 7)
    scale = np.where(exponent == 0, mantissa * F32(2**-9), normal)
    # the upper bit is not looked at, but for the one that is no number
    scale = np.where((code == 0) | (code == 127), F32(0), scale * F32(0.5)).astype(F32)
    return _times(scale, _E2M1[planes(b["qs"], 4, 8)])


def _iq4_nl(b: Blocks) -> Floats:
    return _times(_scale(b), _IQ4[planes(b["qs"], 4, 16)])


def _iq4_xs(b: Blocks) -> Floats:
    low = _nibbles(b["scales_l"])
    high = b["scales_h"][:, None] >> np.arange(0, 16, 2, dtype=np.uint16) & np.uint16(3)
    scales = (low | high.astype(np.uint8) << 4).view(np.int8) - np.int8(32)
    return _times(_scale(b) * scales.astype(F32), _IQ4[planes(b["qs"], 4, 16)])


def _nibbles(packed: Codes) -> Codes:
    """The low half of each byte, then its high half: (n, k) -> (n, 2 k)."""
    return np.stack([packed & np.uint8(15), packed >> 4], axis=-1).reshape(len(packed), -1)


@cache
def _grid(name: str) -> Floats:
    """The points of a lattice that codes of an IQ type number, (points, 4 or 8)."""
    with (files("mother.checkpoints") / "gguf_grids.npz").open("rb") as stream:
        return np.load(stream, allow_pickle=False)[name].astype(F32)  # type: ignore[no-any-return]


def _points(grid: str, scales: Floats, codes: Codes, negative: Codes) -> Floats:
    """scale * point, negative where that bit is set: (n, s), (n, points), (n, e) -> (n, e)."""
    values = _times(scales, _grid(grid)[codes])
    return np.where(negative.astype(bool), -values, values)


def _even(signs: Codes) -> Codes:
    """Seven signs each and the eighth, which makes the negative ones an even number."""
    parity: Codes = signs.astype(np.uint8)
    for half in (4, 2, 1):
        parity = parity ^ parity >> half
    return _bits(signs.astype(np.uint8) | parity << 7, 8)


def _quarter(scale: Floats, codes: Codes, part: float = 0.25) -> Floats:
    return scale * (F32(0.5) + codes.astype(F32)) * F32(part)


def _sevens(words: Codes) -> Codes:
    """Four times seven signs in each word."""
    shifts = np.arange(0, 28, 7, dtype=np.uint32)
    return _even((words[..., None] >> shifts & np.uint32(127)).reshape(len(words), -1))


def _iq2_xxs(b: Blocks) -> Floats:
    words = np.ascontiguousarray(b["qs"]).astype(np.uint32)
    grids, rest = words[:, 0::2], words[:, 1::2]
    codes = (grids[..., None] >> np.arange(0, 32, 8, dtype=np.uint32) & 255).reshape(len(b), -1)
    return _points("iq2_xxs", _quarter(_scale(b), rest >> 28), codes, _sevens(rest))


def _iq2_xs(b: Blocks) -> Floats:
    scales = _quarter(_scale(b), _nibbles(b["scales"]))
    return _points("iq2_xs", scales, b["qs"] & np.uint16(511), _even(b["qs"] >> 9))


def _above(packed: Codes, width: int) -> Codes:
    """Bits that go above the eight of other codes, lowest first: (n, k) -> (n, k * 8 / width)."""
    shifts = np.arange(0, 8, width, dtype=np.uint8)
    upper = packed[..., None] >> shifts & np.uint8((1 << width) - 1)
    return upper.reshape(len(packed), -1).astype(np.uint16) << 8


def _iq2_s(b: Blocks) -> Floats:
    scales = _quarter(_scale(b), _nibbles(b["scales"]))
    return _points("iq2_s", scales, b["qs"] | _above(b["qh"], 2), _bits(b["signs"], 8))


def _iq3_xxs(b: Blocks) -> Floats:
    words = b["signs"].astype(np.uint32)
    return _points("iq3_xxs", _quarter(_scale(b), words >> 28, 0.5), b["qs"], _sevens(words))


def _iq3_s(b: Blocks) -> Floats:
    scales = _scale(b) * (1 + 2 * _nibbles(b["scales"])).astype(F32)
    return _points("iq3_s", scales, b["qs"] | _above(b["qh"], 1), _bits(b["signs"], 8))


def _shifted(scales: Floats, codes: Codes, below: Codes) -> Floats:
    """scale * (point - or + 1/8)."""
    delta = np.where(below, F32(-0.125), F32(0.125))
    points = _grid("iq1")[codes].reshape(*delta.shape, -1) + delta[..., None]
    return _times(scales, points)


def _iq1_s(b: Blocks) -> Floats:
    qh = b["qh"].astype(np.uint16)
    scales = _scale(b) * (2 * (qh >> 12 & 7) + 1).astype(F32)
    upper = qh[..., None] >> np.arange(0, 12, 3, dtype=np.uint16) & 7
    return _shifted(scales, b["qs"] | upper.reshape(len(b), -1) << 8, qh >> 15 != 0)


def _iq1_m(b: Blocks) -> Floats:
    words = b["scales"].astype(np.uint16)
    # the scale's four digits are the upper ones of the four words
    digits = words >> 12 << np.arange(0, 16, 4, dtype=np.uint16)
    d = np.bitwise_or.reduce(digits, axis=1).view(np.float16).astype(F32)[:, None]
    threes = words[..., None] >> np.arange(0, 12, 3, dtype=np.uint16) & 7
    scales = d * (2 * threes.reshape(len(b), -1) + 1).astype(F32)
    qh = _nibbles(b["qh"])
    return _shifted(scales, b["qs"] | (qh & 7).astype(np.uint16) << 8, qh & 8 != 0)


def _type(name: str, elements: int, decode: Callable[[Blocks], Floats], block: str) -> BlockType:
    """`block` names each field and its numbers, as numpy writes them."""
    words = block.split()
    fields = list(zip(words[::2], words[1::2], strict=True))
    return BlockType(name, elements, np.dtype(fields).newbyteorder("<"), decode)


#: by the number that stands in a file
BLOCKS = {
    2: _type("Q4_0", 32, _q4_0, "d f2 qs 16u1"),
    3: _type("Q4_1", 32, _q4_1, "d f2 m f2 qs 16u1"),
    6: _type("Q5_0", 32, _q5_0, "d f2 qh u4 qs 16u1"),
    7: _type("Q5_1", 32, _q5_1, "d f2 m f2 qh u4 qs 16u1"),
    8: _type("Q8_0", 32, _q8, "d f2 qs 32i1"),
    9: _type("Q8_1", 32, _q8, "d f2 s f2 qs 32i1"),
    10: _type("Q2_K", 256, _q2_k, "scales 16u1 qs 64u1 d f2 dmin f2"),
    11: _type("Q3_K", 256, _q3_k, "hmask 32u1 qs 64u1 scales 12u1 d f2"),
    12: _type("Q4_K", 256, _q4_k, "d f2 dmin f2 scales 12u1 qs 128u1"),
    13: _type("Q5_K", 256, _q5_k, "d f2 dmin f2 scales 12u1 qh 32u1 qs 128u1"),
    14: _type("Q6_K", 256, _q6_k, "ql 128u1 qh 64u1 scales 16i1 d f2"),
    15: _type("Q8_K", 256, _q8, "d f4 qs 256i1 sums 16i2"),
    16: _type("IQ2_XXS", 256, _iq2_xxs, "d f2 qs 16u4"),
    17: _type("IQ2_XS", 256, _iq2_xs, "d f2 qs 32u2 scales 8u1"),
    18: _type("IQ3_XXS", 256, _iq3_xxs, "d f2 qs 64u1 signs 8u4"),
    19: _type("IQ1_S", 256, _iq1_s, "d f2 qs 32u1 qh 8u2"),
    20: _type("IQ4_NL", 32, _iq4_nl, "d f2 qs 16u1"),
    21: _type("IQ3_S", 256, _iq3_s, "d f2 qs 64u1 qh 8u1 signs 32u1 scales 4u1"),
    22: _type("IQ2_S", 256, _iq2_s, "d f2 qs 32u1 signs 32u1 qh 8u1 scales 8u1"),
    23: _type("IQ4_XS", 256, _iq4_xs, "d f2 scales_h u2 scales_l 4u1 qs 128u1"),
    29: _type("IQ1_M", 256, _iq1_m, "qs 32u1 qh 16u1 scales 4u2"),
    34: _type("TQ1_0", 256, _tq1_0, "qs 48u1 qh 4u1 d f2"),
    35: _type("TQ2_0", 256, _tq2_0, "qs 64u1 d f2"),
    39: _type("MXFP4", 32, _mxfp4, "e u1 qs 16u1"),
    40: _type("NVFP4", 64, _nvfp4, "d 4u1 qs 32u1"),
    41: _type("Q1_0", 128, _q1_0, "d f2 qs 16u1"),
    42: _type("Q2_0", 64, _q2_0, "d f2 qs 16u1"),
}
#: numpy's names of the types that are stored number by number
PLAIN = {
    0: "float32",
    1: "float16",
    24: "int8",
    25: "int16",
    26: "int32",
    27: "int64",
    28: "float64",
    30: "bfloat16",
}
