"""A llamafile: an executable that ends in a zip archive, with a GGUF file as it is in it.

Format: https://github.com/Mozilla-Ocho/llamafile#how-llamafile-works. The program is not looked at.
"""

from __future__ import annotations

from dataclasses import replace

from mother.checkpoints.gguf import read_gguf
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Checkpoint, clean
from mother.checkpoints.zip_archive import read_members


def is_llamafile(file: File, start: bytes) -> bool:
    """Whether a file is taken for a llamafile: by its ending, since it begins as programs do."""
    return file.path.suffix.lower() == ".llamafile"


def read_llamafile(file: File) -> Checkpoint:
    """The checkpoint of the only GGUF file in it. Raises InputError."""
    inside = [m for name, m in read_members(file).items() if name.lower().endswith(".gguf")]
    if len(inside) != 1:
        held = ", ".join(clean(m.name)[:80] for m in inside[:3])
        told = f"{len(inside)} GGUF files, {held}; take" if inside else "no GGUF file; take"
        raise file.fault(f"a llamafile with {told} the weights out of it by unzip")
    if inside[0].deflated:
        raise file.fault("a llamafile whose GGUF file is compressed; take it out by unzip")
    section = file.section(inside[0].offset, inside[0].offset + inside[0].size)
    return replace(read_gguf(section), files=(file,))
