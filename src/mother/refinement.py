"""More bytes where a decision lies within its error, and only of the models it concerns.

What a method decides from sketches is held against what it decides from replicates, the same
evidence off by its standard error. Where a model's parent is another one there, the model and all
that may be its parent are looked at again in sketches TIMES as large; so are two models whose
kinship parts a family or joins it, where that is within its error. Then everything is decided anew,
until nothing is in doubt or there is nothing larger to be had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from mother.checkpoints import Checkpoint, Group, Layer, align
from mother.checkpoints.alignment import common_part
from mother.heritage.forest import Forest
from mother.heritage.relatedness import kinship, unsure
from mother.measures import Measures, is_matrix, measure
from mother.measures.mixed import mixed
from mother.measures.replicates import replicate

REPLICATES = 8
TIMES = 4  # as many bytes, each time that more are asked for
LEVELS = 3  # how often they are of one model
ROUNDS = 4 * LEVELS
HELD = 1 << 30  # bytes of larger sketches of one family
Decide = Callable[[Measures], Forest]
Doubts = list[frozenset[int]]
#: a checkpoint's sketch of TIMES ** level budgets; None where it can't be had
More = Callable[[Checkpoint, int], Checkpoint | None]


@dataclass
class Refinement:
    """Larger sketches, as they are asked for while forests are recovered. asked: by id, how often
    more bytes of a model were looked at."""

    more: More
    asked: dict[str, int] = field(default_factory=dict)

    def refined(
        self,
        group: Group,
        coarse: Measures,
        decide: Decide,
        threads: int = 1,
        *,
        families: bool = True,
    ) -> Measures:
        """The measures of a group of sketches, closer where that may matter to what is decided.
        families: whether kinship decides how many trees there are."""

        def doubts(closer: _Closer) -> Doubts:
            now = closer.measures()
            found = in_doubt(decide(now), map(decide, closer.replicates()))
            return found + [frozenset(pair) for pair in unsure(now) if families]

        return self._settled(_Closer(group, coarse, threads), doubts)

    def related(self, one: Checkpoint, other: Checkpoint) -> bool:
        """Whether two models are relatives, from sketches as large as it takes."""
        groups = align([one, other])
        if len(groups) > 1:
            return False
        closer = _Closer(groups[0], measure(groups[0], l1=False), 1)
        found = self._settled(closer, lambda c: [frozenset(p) for p in unsure(c.measures())])
        return bool(kinship(found)[0, 1] > 1)

    def _settled(self, closer: _Closer, doubts: Callable[[_Closer], Doubts]) -> Measures:
        group = closer.group
        for _ in range(ROUNDS):
            found = {
                k: sketch
                for k, level in closer.wanted(doubts(closer)).items()
                if (sketch := self.more(group.checkpoints[k], level)) is not None
            }
            if not found:
                break
            closer.take(found)
        self.asked |= {group.checkpoints[k].id: level for k, level in closer.levels.items()}
        return closer.measures()


def in_doubt(forest: Forest, others: Iterable[Forest]) -> Doubts:
    """Of each model whose parent is another one in any of the others, itself and all that would be
    its parent.

    >>> def of(*parents):
    ...     return Forest(np.array(parents))
    >>> in_doubt(of(-1, 0, 1), [of(-1, 0, 1), of(-1, 0, 0)])
    [frozenset({0, 1, 2})]
    """
    parents = np.stack([forest.parents, *(other.parents for other in others)])
    return [
        frozenset([c, *(p for p in parents[:, c].tolist() if p >= 0)])
        for c in np.flatnonzero((parents != parents[0]).any(axis=0)).tolist()
    ]


class _Closer:
    """A group of sketches, and larger ones of some of its models. levels: of these."""

    def __init__(self, group: Group, coarse: Measures, threads: int) -> None:
        self.group, self._coarse, self._threads = group, coarse, threads
        self._larger: dict[int, Checkpoint] = {}
        self._parts: list[tuple[Group, Measures, list[int], list[int]]] = []
        self.levels: dict[int, int] = {}

    def measures(self) -> Measures:
        """Of all models, of each pair as closely as both were looked at."""
        out = self._coarse
        for _, fine, layers, models in self._parts:
            out = mixed(out, fine, layers, models)
        return out

    def replicates(self) -> Iterator[Measures]:
        """The same, off by a standard error."""
        for seed in range(REPLICATES):
            out = replicate(self.group, self._coarse, seed)
            for group, fine, layers, models in self._parts:
                out = mixed(out, replicate(group, fine, seed), layers, models)
            yield out

    def wanted(self, doubts: Iterable[frozenset[int]]) -> dict[int, int]:
        """The level that each model is to be looked at on, if it is a higher one than it was:
        what is in doubt about some of them needs all of them on one level."""
        out: dict[int, int] = {}
        held = sum(self._bytes(k, level) for k, level in self.levels.items())
        for models in doubts:
            open_ = [k for k in models if not self._whole(k)]
            level = 1 + min((self.levels.get(k, 0) for k in open_), default=LEVELS)
            higher = {k: level for k in open_ if self.levels.get(k, 0) < level <= LEVELS}
            more = sum(self._bytes(k, level) for k in higher.keys() - out.keys())
            if held + more <= HELD:
                held += more
                out |= higher
        return dict(sorted(out.items()))

    def take(self, sketches: dict[int, Checkpoint]) -> None:
        """Look at larger sketches of some models, each of the next level."""
        for k, sketch in sketches.items():
            self.levels[k] = self.levels.get(k, 0) + 1
            self._larger[k] = sketch
        self._parts = []
        for level in range(1, max(self.levels.values()) + 1):
            models = sorted(k for k, reached in self.levels.items() if reached >= level)
            if len(models) > 1:
                group, layers = self._among(models)
                fine = measure(group, l1=False, threads=self._threads)
                self._parts.append((group, fine, layers, models))

    def _among(self, models: list[int]) -> tuple[Group, list[int]]:
        """The larger sketches of some models as a group with the layers that two of them have, and
        which of the layers these are."""
        place = {k: at for at, k in enumerate(models)}
        chosen, layers = [], []
        for number, layer in enumerate(self.group.layers):
            pairs = [
                (place[k], self._larger[k].tensors[small.name].kept)
                for k, small in zip(layer.members, layer.tensors, strict=True)
                if k in place
            ]
            if len(pairs) > 1:
                members, tensors = zip(*pairs, strict=True)
                layers.append(Layer(layer.name, layer.shape, members, common_part(tensors)))
                chosen.append(number)
        whole = self.group
        group = Group(
            tuple(whole.checkpoints[k] for k in models),
            tuple(layers),
            tuple(whole.unaligned[k] for k in models),
            tuple(whole.architecture[k] for k in models),
        )
        return group, chosen

    def _whole(self, k: int) -> bool:
        """Whether all of a model's matrices are at hand."""
        held = self._larger.get(k, self.group.checkpoints[k])
        return all(t.kept.size == t.size for t in held.tensors.values() if is_matrix(t.shape))

    def _bytes(self, k: int, level: int) -> int:
        """How much a model's larger sketch may hold."""
        tensors = self.group.checkpoints[k].tensors.values()
        kept, all_ = (
            sum(n) for n in zip(*((t.kept.nbytes, t.nbytes) for t in tensors), strict=True)
        )
        return int(min(all_, kept * TIMES**level))
