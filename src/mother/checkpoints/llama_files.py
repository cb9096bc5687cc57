"""llama.cpp's models of before GGUF (GGJT, version 3): sizes and a vocabulary, then tensors one
after another, each from a multiple of 32 bytes on. What was quantized into versions 1 and 2 lies
in other blocks. Names and the order of rows are Meta's.

Format: llama_file_loader in https://github.com/ggml-org/llama.cpp/blob/master-c7c4d2e/llama.cpp
"""

from __future__ import annotations

from mother.checkpoints.gguf import scheme_by_size
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Checkpoint
from mother.checkpoints.whisper_files import MOST, Cursor, pass_words, tensors_of

MAGIC = b"tjgg"
SIZES = ("n_vocab", "n_embd", "n_mult", "n_head", "n_layer", "n_rot", "ftype")
_VERSIONS, _TODAY, _ALIGNED = (1, 2, 3), 3, 32
_SCORE = 4  # bytes of a word's score


def is_llama(file: File, start: bytes) -> bool:
    """Whether a file is llama.cpp's of before GGUF, by its first bytes."""
    return start.startswith(MAGIC)


def read_llama(file: File) -> Checkpoint:
    """The checkpoint in a GGJT file; steps over the values. Raises InputError."""
    cursor = Cursor(file, len(MAGIC))
    try:
        version, *sizes = cursor.take(1 + len(SIZES))
        if version not in _VERSIONS or not 0 <= sizes[0] <= MOST:
            raise ValueError(f"is of the unknown version {version}")
        pass_words(cursor, sizes[0], _SCORE)
        tensors = tensors_of(cursor, version == _TODAY, _ALIGNED)
    except ValueError as error:
        raise file.fault(f"GGML model {error}") from None
    if not tensors:
        raise file.fault("holds no tensors")
    config = dict(zip(SIZES, sizes, strict=True))
    scheme = scheme_by_size(tensors)
    return Checkpoint(file.path.stem, file.path, "ggml", tensors, config, scheme=scheme)
