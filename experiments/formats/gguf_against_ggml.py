"""Every block type of GGUF, decoded by ours and by ggml's own C: how many values differ.

LLAMA_CPP=.../bins/linux-x64 python -m experiments.formats.gguf_against_ggml
"""

import ctypes
import os
from pathlib import Path

import numpy as np

from mother.checkpoints.gguf_blocks import BLOCKS

MANY = 10_000


def main() -> None:
    library = ctypes.CDLL(str(Path(os.environ["LLAMA_CPP"]) / "libggml-base.so"))
    draw = np.random.default_rng(0)
    for kind in BLOCKS.values():
        name = f"dequantize_row_{kind.name.lower().replace('_k', '_K')}"
        if not hasattr(library, name):
            print(f"{kind.name}: ggml only multiplies by it")
            continue
        raw = draw.integers(0, 256, (MANY, kind.block.itemsize), dtype=np.uint8)
        wanted = np.empty((MANY, kind.elements), np.float32)
        places = ctypes.c_void_p(raw.ctypes.data), ctypes.c_void_p(wanted.ctypes.data)
        getattr(library, name)(*places, ctypes.c_int64(wanted.size))
        with np.errstate(all="ignore"):
            ours = kind.decode(raw.view(kind.block).reshape(-1))
        differ = (ours.view(np.uint32) != wanted.view(np.uint32)) & ~np.isnan(ours + wanted)
        print(f"{kind.name}: {int(differ.sum())} of {ours.size} values differ")


if __name__ == "__main__":
    main()
