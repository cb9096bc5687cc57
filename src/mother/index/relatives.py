"""Which models of an index a newcomer is related to, without reading them all.

Two models are joined by their kinship, which needs both sketches. Whose sketches are read is told
by signatures: of each family that can be compared, the models nearest to the newcomer, the nearest
families first. A newcomer that is related to any member of a family is related to its nearest one.
It is not where it holds some large layers of the family bit for bit and others of its own: beside
strangers these make its signature. So contents are looked up as well: of each family, the models
that share the most of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint
from mother.evidence.kinship import kinship_of_first, kinship_of_some
from mother.layouts import align
from mother.sketches.signature import SIGNATURE

MEMBERS = 2  # of a family that are compared with a newcomer
FAMILIES = 64  # that are
HOLDERS = 256  # models that are looked up for one content: the first that came
ROUNDED = 1e-5  # of two squared norms: more than single precision takes from their distance
BLOCK = 1024  # signatures that are worked on at once
CLOSE = 4  # times as many numbers as models are few
_GROWTH = 1.5


@dataclass
class Pool:
    """The models known so far: number, family, architecture and signature of each, (n,).

    comparable: from an architecture to those it can be compared with, itself among them. holders:
    from a content to the numbers of the first HOLDERS models that hold it.
    """

    comparable: Callable[[str], frozenset[str]]
    holders: Callable[[int], Sequence[int]]
    size: int = 0
    numbers: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    families: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    kinds: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    signatures: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros((0, SIGNATURE), np.float32)
    )
    squares: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    _kind: dict[str, int] = field(default_factory=dict)

    def extend(
        self,
        numbers: Sequence[int],
        families: Sequence[int],
        architectures: Sequence[str],
        signatures: NDArray[np.float32],
    ) -> None:
        """Take in more models."""
        start, stop = self.size, self.size + len(numbers)
        if stop > len(self.numbers):
            room = max(stop, int(_GROWTH * stop) if start else stop)
            for name in ("numbers", "families", "kinds", "signatures", "squares"):
                old = getattr(self, name)
                new = np.zeros((room, *old.shape[1:]), old.dtype)
                new[:start] = old[:start]
                setattr(self, name, new)
        self.numbers[start:stop] = numbers
        self.families[start:stop] = families
        self.kinds[start:stop] = [self._kind.setdefault(a, len(self._kind)) for a in architectures]
        self.signatures[start:stop] = signatures
        self.squares[start:stop] = np.square(signatures).sum(axis=1)
        self.size = stop

    def join(self, families: Iterable[int], into: int) -> None:
        """Make one family of several."""
        inside = np.isin(self.families[: self.size], list(families))
        self.families[: self.size][inside] = into

    def family(self, number: int) -> int:
        """That of a model."""
        return int(self.families[: self.size][self.numbers[: self.size] == number][0])

    def comparable_to(self, architecture: str) -> NDArray[np.bool_]:
        """Which models can be compared with one of that architecture, (size,)."""
        of = self.comparable(architecture)
        known = np.array([a in of for a in self._kind], dtype=bool)
        if known.all():
            return np.ones(self.size, dtype=bool)
        return np.asarray(known[self.kinds[: self.size]])

    def nearest(
        self, architecture: str, signature: NDArray[np.float32], many: int
    ) -> NDArray[np.intp]:
        """Places of the comparable models nearest by signature, nearest first; of equally near ones
        the older first."""
        far = self._far(architecture, signature)
        places = np.arange(self.size)
        if self.size > 4 * many:
            # float32 loses the last digits of a difference: take some more, then look closely
            places = np.argpartition(far, 4 * many)[: 4 * many]
        places = places[np.isfinite(far[places])]
        apart = _squared_distances(self.signatures[places], signature)
        if len(apart) > many:
            near = apart <= np.partition(apart, many - 1)[many - 1]
            places, apart = places[near], apart[near]
        return np.asarray(places[np.lexsort((self.numbers[places], apart))][:many])

    def _far(self, architecture: str, signature: NDArray[np.float32]) -> NDArray[np.float32]:
        """Squared distances, less the square of the signature, (size,), as single precision has
        them; infinite where a model can't be compared."""
        far = self.squares[: self.size] - 2 * (self.signatures[: self.size] @ signature)
        far[~self.comparable_to(architecture)] = np.inf
        return np.asarray(far)

    def sharing(
        self, architecture: str, signature: NDArray[np.float32], contents: Iterable[int]
    ) -> NDArray[np.intp]:
        """Places of the comparable models that hold some of these contents, those with the most
        first; of equally many the nearest by signature first, then the older."""
        shared = Counter(number for content in contents for number in self.holders(content))
        if not shared:
            return np.zeros(0, np.intp)
        numbers = self.numbers[: self.size]
        known = np.isin(numbers, list(shared)) & self.comparable_to(architecture)
        places = np.flatnonzero(known)
        times = [shared[number] for number in numbers[places].tolist()]
        apart = _squared_distances(self.signatures[places], signature)
        return places[np.lexsort((numbers[places], apart, np.negative(times)))]

    def candidates(
        self, architecture: str, signature: NDArray[np.float32], contents: Iterable[int]
    ) -> NDArray[np.intp]:
        """Places of the models whose kinship with one is looked at: those near by signature, and
        those that share contents."""
        near = self._some(self._near(architecture, signature))
        sharing = self._some(self.sharing(architecture, signature, contents))
        return np.append(near, sharing[~np.isin(sharing, near)])

    def _near(self, architecture: str, signature: NDArray[np.float32]) -> NDArray[np.intp]:
        """Places of comparable models nearest by signature, nearest first, of equally near ones the
        older first: those among which the first ones of the first families are."""
        far = self._far(architecture, signature)
        places = np.flatnonzero(np.isfinite(far))
        if not len(places):
            return places
        error = ROUNDED * (self.squares[: self.size].max() + np.square(signature).sum())
        places = places[_first_of_each(far[places], _close(self.families[places]), error)]
        apart = _squared_distances(self.signatures[places], signature)
        return np.asarray(places[np.lexsort((self.numbers[places], apart))])

    def _some(self, places: NDArray[np.intp]) -> NDArray[np.intp]:
        """The first MEMBERS of each of the first FAMILIES, in an order of places."""
        _, first, family = np.unique(self.families[places], return_index=True, return_inverse=True)
        rank = np.argsort(np.argsort(first))[family]  # of its family: that of the first is 0
        return places[(rank < FAMILIES) & (_times_before(family) < MEMBERS)]


def _close(family: NDArray[np.int64]) -> NDArray[np.int64]:
    """The families by numbers of which there are few: as they are, but where many models are gone.

    >>> _close(np.array([1, 3, 1])), _close(np.array([10, 1 << 60, 10]))
    (array([1, 3, 1]), array([0, 1, 0]))
    """
    if family.min() >= 0 and family.max() < CLOSE * len(family):
        return family
    return np.unique(family, return_inverse=True)[1]


def _first_of_each(
    far: NDArray[np.float32], family: NDArray[np.int64], error: float
) -> NDArray[np.bool_]:
    """The MEMBERS nearest of each of the FAMILIES nearest families, and whoever may be nearer than
    these if all may be off by an error, (n,).

    >>> far = np.array([1.0, 9.0, 2.0, 3.0, 2.1], dtype=np.float32)
    >>> _first_of_each(far, np.array([0, 1, 0, 0, 0]), 0.2)
    array([ True,  True,  True, False,  True])
    """
    least = np.full(int(family.max()) + 1, np.inf, dtype=np.float32)
    np.minimum.at(least, family, far)
    known = least[np.isfinite(least)]
    farthest = np.partition(known, min(FAMILIES, len(known)) - 1)[:FAMILIES].max()
    near = least[family] <= farthest + error
    for _ in range(MEMBERS - 1):
        others = near & (far > least[family])
        next_ = np.full_like(least, np.inf)
        np.minimum.at(next_, family[others], far[others])
        least = np.where(np.isfinite(next_), next_, least)
    return np.asarray(near & (far <= least[family] + error))


def _squared_distances(
    rows: NDArray[np.float32], signature: NDArray[np.float32]
) -> NDArray[np.float64]:
    """|row - signature|^2, (n,): some at once, as many as a cache holds."""
    wide = signature.astype(np.float64)
    some = (rows[at : at + BLOCK] for at in range(0, len(rows), BLOCK))
    return np.concatenate([np.zeros(0), *(np.square(r - wide).sum(axis=1) for r in some)])


def _times_before(values: NDArray[np.intp]) -> NDArray[np.intp]:
    """How often each value stands before its place, (n,).

    >>> _times_before(np.array([0, 1, 0, 0]))
    array([0, 0, 1, 2])
    """
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    out = np.empty_like(order)
    out[order] = np.arange(len(values)) - np.searchsorted(ranked, ranked)
    return out


def kinships(
    new: Checkpoint, others: Sequence[Checkpoint]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Kinship with each of the others, (n,), 0 where they can't be compared, and whether it is
    within the error of their sketches; of any architectures."""
    found, unsure = np.zeros(len(others)), np.zeros(len(others), dtype=bool)
    for members in _kinds(others):
        group = align([new, *(others[k] for k in members)])[0]
        if len(group.checkpoints) > 1:
            kin, doubt = kinship_of_first(group)
            found[members], unsure[members] = kin[1:], doubt[1:]
    return found, unsure


def kinships_between(
    some: Sequence[Checkpoint], others: Sequence[Checkpoint]
) -> NDArray[np.float64]:
    """As `kinships` of each of some with the others, (m, n): the same numbers, of weights that are
    read and of layers that are aligned once."""
    found = np.zeros((len(some), len(others)))
    for own in _kinds(some):
        for members in _kinds(others):
            group = align([*(some[k] for k in own), *(others[k] for k in members)])[0]
            if len(group.checkpoints) > len(own):
                found[np.ix_(own, members)] = kinship_of_some(group, len(own))
    return found


def _kinds(checkpoints: Sequence[Checkpoint]) -> list[list[int]]:
    """Those of the same tensors, and of one size, too: what is compared of any two is what both
    hold."""
    kinds: dict[tuple[object, ...], list[int]] = {}
    for k, each in enumerate(checkpoints):
        kind = tuple((n, t.shape, t.kept.shape) for n, t in each.tensors.items())
        kinds.setdefault(kind, []).append(k)
    return list(kinds.values())
