"""How much work a file may ask for: as much as its size justifies, whatever its format.

Bounds on sizes do not hold who refers to the same thing again and again: a kilobyte of a pickle
copies a long name or updates a large dict at each of its opcodes, a deflated storage is inflated
for each of its views, two thousand tensors of stride 0 read a million elements out of one float.
So readers count what they touch, in bytes or elements: what they copy, hash, compare, merge,
inflate, and what there will be to read. All of it together stays within `justified`.
"""

from __future__ import annotations

#: what any file may ask for, and what each of its bytes adds. A second or so; a file that is
#: honest needs a unit for some bytes, one that is deflated well some hundred units for each
BASE, RATE = 1 << 26, 128
#: what a step costs: an opcode, an entry of a table; each may leave an object of some 100 bytes
STEP = 64
#: what a tensor costs beside its elements: its name, where it lies
TENSOR = 1024


def justified(nbytes: int) -> int:
    """Bytes and elements that may be touched for a file of so many bytes.

    >>> justified(0), justified(1 << 20)
    (67108864, 201326592)
    """
    return BASE + RATE * nbytes


class Work:
    """What is left of the work that a file of `nbytes` bytes may ask for.

    >>> work = Work(10)
    >>> work.spend(justified(10))
    >>> work.spend(1)
    Traceback (most recent call last):
        ...
    ValueError: asks for more work than its 10 bytes justify
    """

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self.left = justified(nbytes)

    def spend(self, units: int) -> None:
        """Count bytes, elements, or steps of `STEP` each. ValueError, in one line, once there are
        too many."""
        self.left -= units
        if self.left < 0:
            raise ValueError(f"asks for more work than its {self.nbytes} bytes justify")
