"""From tensors as a program stored them to those of the model: decoded, and by its names."""

from __future__ import annotations

from collections.abc import Callable

from mother.checkpoints.gguf_names import as_transformers
from mother.checkpoints.quantized import dequantized
from mother.checkpoints.tensor import Checkpoint

#: what reads more into a checkpoint of a format, once all its files are together
READINGS: dict[str, Callable[[Checkpoint], Checkpoint]] = {"gguf": as_transformers}


def unpacked(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with the tensors that its model had before it was quantized or converted, and
    the scheme by which it was; itself where nothing of the kind was done. Reads no weights. Raises
    InputError."""
    return READINGS.get(checkpoint.format, dequantized)(checkpoint)
