"""The lattices of GGUF's IQ types as the package gguf has them.

    python -m experiments.formats.gguf_grids

They are constants of the format (ggml-common.h, MIT): points chosen by a search, not by a rule.
"""

from pathlib import Path

import numpy as np
from gguf import quants

GRIDS = {"iq2_xxs": quants.IQ2_XXS, "iq2_xs": quants.IQ2_XS, "iq2_s": quants.IQ2_S}
GRIDS |= {"iq3_xxs": quants.IQ3_XXS, "iq3_s": quants.IQ3_S, "iq1": quants.IQ1_S}


def grids() -> dict[str, np.ndarray]:
    """Points by type, (points, 4 or 8) int8."""
    found = {}
    for name, kind in GRIDS.items():
        kind.init_grid()
        found[name] = kind.grid.reshape(kind.grid_shape).astype(np.int8)
    return found


if __name__ == "__main__":
    np.savez_compressed(Path("src/mother/checkpoints/gguf_grids.npz"), **grids())
