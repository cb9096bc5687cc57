"""Neural-network checkpoints as named tensors, read by slices from untrusted bytes.

Nothing in a file is executed, every allocation is bounded by the file's size, and whatever is
refused is an InputError of one line.
"""

from mother.checkpoints.discovery import discover, open_checkpoint
from mother.checkpoints.storage import File, lacking, prefetch
from mother.checkpoints.tensor import Checkpoint, Problem, Slice, Tensor

__all__ = [
    "Checkpoint",
    "File",
    "Problem",
    "Slice",
    "Tensor",
    "discover",
    "lacking",
    "open_checkpoint",
    "prefetch",
]
