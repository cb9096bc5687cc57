"""Which family an adapter was trained on, told by its factors.

What is learnt by a factor B (rows, r), which writes to the rows of a matrix, came to it as
gradients: through the matrices that read what it writes. So B lies along what these pick up; and a
factor that reads lies along what others write. Of a matrix W that reads what B writes,

    a = |W B| / (|W| |B| / sqrt(rows)),

which is 1 for a W that knows nothing of B, give or take chance, and above 1 for the family that the
adapter was trained on. Which matrix of a block reads what another writes is not asked of names: all
of the same block that have as many columns are tried, and rows, for W' B.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FITS = 1.35  # of the alignment, from which an adapter was trained on a family
STRANGE = 1.12  # up to which it was not
FEWEST_MODULES = 2  # modules of a kind, to take a mean over
_NUMBER = re.compile(r"\d+")


def alignment(left: Mapping[str, Array], matrices: Mapping[str, Array]) -> float:
    """How much better an adapter's factors fit these matrices than chance has it; NaN where no
    matrix stands beside a factor.

    Args:
        left: (rows, r) factors by the name of the matrix they were trained for.
        matrices: (rows, columns) of one model, by name.

    The mean over blocks for each pair of kinds, the adapted matrix and the one beside it; the
    largest of these. Kinds are names without numbers; a block is what has the same first number.

    >>> rng = np.random.default_rng(0)
    >>> out = {f"h.{k}.out": rng.standard_normal((64, 8)) @ rng.standard_normal((8, 64))
    ...        for k in range(4)}
    >>> read = {f"h.{k}.v": np.linalg.svd(out[f"h.{k}.out"])[2][:4].T for k in range(4)}
    >>> blind = {name: rng.standard_normal((64, 4)) for name in read}
    >>> round(alignment(read, out), 1), round(alignment(blind, out), 1)
    (3.3, 1.0)
    """
    beside: dict[str, list[str]] = {}
    for name in matrices:
        beside.setdefault(block(name), []).append(name)
    ratios: dict[tuple[str, str, bool], list[float]] = {}
    for module, b in left.items():
        rows, b = b.shape[0], b - b.mean(axis=0)  # scales lie about one
        size = float(np.linalg.norm(b))
        if not size > 0:
            continue
        for name in beside.get(block(module), ()):
            w = matrices[name]
            norm = float(np.linalg.norm(w))
            for reads, across in ((True, w), (False, w.T)):
                if across.shape[1] != rows or not norm > 0:
                    continue
                found = float(np.linalg.norm(across @ b)) * rows**0.5 / norm / size
                kinds = _NUMBER.sub("#", module), _NUMBER.sub("#", name), reads
                ratios.setdefault(kinds, []).append(found)
    means = [float(np.mean(r)) for r in ratios.values() if len(r) >= FEWEST_MODULES]
    return max(means, default=float("nan"))


def block(name: str) -> str:
    """A name up to its first number."""
    found = _NUMBER.search(name)
    return name[: found.end()] if found else name
