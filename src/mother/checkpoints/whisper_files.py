"""whisper.cpp's models (ggml-base.bin): sizes, a filter bank and a vocabulary, then tensors one
after another, in the blocks that GGUF has, too. Other files of GGML from before GGUF have other
headers.

Format: https://github.com/ggml-org/whisper.cpp/blob/master/models/convert-pt-to-ggml.py
"""

from __future__ import annotations

import struct

from mother.checkpoints.gguf import scheme_by_size, tensor_of
from mother.checkpoints.gguf_blocks import BLOCKS
from mother.checkpoints.gguf_header import Entry
from mother.checkpoints.laid_out import MAX_DIMENSIONS
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Checkpoint, Tensor, clean
from mother.checkpoints.work import STEP

MAGIC = b"lmgg"
#: what the header tells before the kind of numbers, each a size
SIZES = (
    *("n_vocab", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer"),
    *("n_text_ctx", "n_text_state", "n_text_head", "n_text_layer", "n_mels"),
)
MOST = 1 << 20  # of each of these
MAX_NAME = 1024
#: the kind of numbers holds the version of the blocks, too; those of before were otherwise
_VERSION, _TODAY = 1000, 2
_OTHER = "GGML, before GGUF; not of whisper.cpp; convert it by the program that wrote it"


def is_whisper(file: File, start: bytes) -> bool:
    """Whether a file is taken for whisper.cpp's, by its first bytes."""
    return start.startswith(MAGIC)


class Cursor:
    """Integers of 32 bits of a file, one after another."""

    def __init__(self, file: File, at: int) -> None:
        self.file, self.at = file, at

    def take(self, many: int) -> tuple[int, ...]:
        """So many of them."""
        self.file.work.spend(STEP)
        data = self.file.read(self.at, 4 * many)
        self.at += 4 * many
        return struct.unpack(f"<{many}i", data)


def read_whisper(file: File) -> Checkpoint:
    """The checkpoint in a file of whisper.cpp's; steps over the values. Raises InputError."""
    cursor = Cursor(file, len(MAGIC))
    try:
        *sizes, kind, filters, width = cursor.take(len(SIZES) + 3)
        if not all(0 < n <= MOST for n in (*sizes, filters, width)) or filters != sizes[-1]:
            raise file.fault(_OTHER)
        cursor.at += 4 * filters * width
        (words,) = cursor.take(1)
        if not 0 <= words <= MOST:
            raise file.fault(_OTHER)
        pass_words(cursor, words)
        tensors = tensors_of(cursor, kind // _VERSION == _TODAY)
    except ValueError as error:
        raise file.fault(f"whisper.cpp's model {error}") from None
    if not tensors:
        raise file.fault("holds no tensors")
    config = dict(zip(SIZES, sizes, strict=True))
    scheme = scheme_by_size(tensors)
    return Checkpoint(file.path.stem, file.path, "whisper.cpp", tensors, config, scheme=scheme)


def pass_words(cursor: Cursor, many: int, beside: int = 0) -> None:
    """Step over a vocabulary, and what stands beside each word, of so many bytes. Raises
    ValueError."""
    for _ in range(many):
        (length,) = cursor.take(1)
        if not 0 <= length <= MAX_NAME:
            raise ValueError(f"has a word of {length} bytes; {MAX_NAME} are the most")
        cursor.at += length + beside


def tensors_of(cursor: Cursor, current: bool, aligned: int = 1) -> dict[str, Tensor]:
    """All tensors from here to the end of the file, as `tensor_at`."""
    tensors: dict[str, Tensor] = {}
    while cursor.at < cursor.file.size:
        tensor = tensor_at(cursor, current, aligned)
        if tensor.name in tensors:
            raise ValueError(f"repeats the name {tensor.name[:200]!r}")
        tensors[tensor.name] = tensor
    return tensors


def tensor_at(cursor: Cursor, current: bool, aligned: int = 1) -> Tensor:
    """The next tensor, over which the cursor steps. current: whether blocks are those of today;
    aligned: of what number of bytes its values begin at a multiple. Raises ValueError and
    InputError."""
    file = cursor.file
    sides, length, kind = cursor.take(3)
    if not (0 <= sides <= MAX_DIMENSIONS and 0 < length <= MAX_NAME):
        raise ValueError(f"has a tensor of {sides} dimensions, called by {length} bytes")
    shape = cursor.take(sides)[::-1]
    name = clean(file.read(cursor.at, length).decode("utf-8", "surrogateescape"))
    if any(n < 0 for n in shape):
        raise ValueError(f"has a tensor {name[:200]!r} of the shape {shape}")
    if kind in BLOCKS and not current:
        raise ValueError("is quantized by a version from before June 2023; quantize it again")
    start = -(-(cursor.at + length) // aligned) * aligned
    tensor, nbytes = tensor_of(file, Entry(name, shape, kind, start), "<")
    cursor.at = start + nbytes
    return tensor
