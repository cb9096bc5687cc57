"""More bytes where a decision lies within its error, and only of the models it concerns.

What a method decides from sketches is held against what it decides from replicates, the same
evidence off by its standard error. Where a model's parent is another one there, the model and all
that may be its parent are looked at again in sketches TIMES as large; so are two models whose
kinship parts a family or joins it, where that is within its error. Then everything is decided anew,
until nothing is in doubt or there is nothing larger to be had. Where the largest sketches leave
a doubt, the models are read in full, in one pass that holds a block of each at a time, as long as
that is no more than may be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

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
READ = 1 << 34  # bytes of models of one family that are read in full
Decide = Callable[[Measures], Forest]
#: a checkpoint's sketch of TIMES ** level budgets; None where it can't be had
More = Callable[[Checkpoint, int], Checkpoint | None]
#: the measures of a group of sketches from all weights, of those of its layers where these can be
#: had; None where they can't
Whole = Callable[[Group], Measures | None]


@dataclass(frozen=True)
class Doubt:
    """A decision that lies within its error. about: whom it is about; models: these, and all others
    that it is between."""

    about: tuple[int, ...]
    models: frozenset[int]


Doubts = list[Doubt]


@dataclass
class Refinement:
    """Larger sketches, as they are asked for while forests are recovered, and at last the weights.

    read: bytes of models of one family that may be read in full, each time counted. asked: by id,
    how often more bytes of a model were looked at.
    """

    more: More
    whole: Whole | None = None
    read: int = READ
    asked: dict[str, int] = field(default_factory=dict)

    def refined(
        self,
        group: Group,
        coarse: Measures,
        decide: Decide,
        threads: int = 1,
        *,
        families: bool = True,
    ) -> tuple[Measures, Doubts]:
        """The measures of a group of sketches, closer where that may matter to what is decided, and
        the decisions that are within their error still. families: whether kinship decides how many
        trees there are."""

        def doubts(closer: _Closer) -> Doubts:
            now = closer.measures()
            found = in_doubt(decide(now), map(decide, closer.replicates()))
            return found + (_of_kinship(now) if families else [])

        return self._settled(_Closer(group, coarse, threads), doubts)

    def related(self, one: Checkpoint, other: Checkpoint) -> bool:
        """Whether two models are relatives, from sketches as large as it takes."""
        groups = align([one, other])
        if len(groups) > 1:
            return False
        closer = _Closer(groups[0], measure(groups[0], l1=False), 1)
        found, _ = self._settled(closer, lambda c: _of_kinship(c.measures()))
        return bool(kinship(found)[0, 1] > 1)

    def _settled(
        self, closer: _Closer, doubted: Callable[[_Closer], Doubts]
    ) -> tuple[Measures, Doubts]:
        group, left, doubts = closer.group, self.read, doubted(closer)
        for _ in range(ROUNDS):
            wanted = closer.wanted(doubts)
            found = {
                k: sketch
                for k, level in wanted.items()
                if (sketch := self.more(group.checkpoints[k], level)) is not None
            }
            closer.lost |= wanted.keys() - found.keys()
            if found:
                closer.take(found)
            elif (some := closer.in_full(doubts, left)) and self.whole is not None:
                fine = self.whole(closer.among(some))
                if fine is None:
                    break
                closer.take_full(some, fine)
                left -= closer.bytes_of(some)
            else:
                break
            doubts = doubted(closer)
        reached = closer.levels | dict.fromkeys(closer.full, LEVELS + 1)
        self.asked |= {group.checkpoints[k].id: level for k, level in reached.items()}
        return closer.measures(), doubts


def _of_kinship(m: Measures) -> Doubts:
    return [Doubt(pair, frozenset(pair)) for pair in unsure(m)]


def in_full(group: Group, whole: Sequence[Checkpoint]) -> Group:
    """A group of sketches with the same models, opened, in their place."""
    layers = (
        replace(
            layer,
            tensors=tuple(
                whole[k].tensors[t.name] for k, t in zip(layer.members, layer.tensors, strict=True)
            ),
        )
        for layer in group.layers
    )
    return replace(group, checkpoints=tuple(whole), layers=tuple(layers))


def in_doubt(forest: Forest, others: Iterable[Forest]) -> Doubts:
    """Of each model whose parent is another one in any of the others: between all that would be its
    parent.

    >>> def of(*parents):
    ...     return Forest(np.array(parents))
    >>> in_doubt(of(-1, 0, 1), [of(-1, 0, 1), of(-1, 0, 0)])
    [Doubt(about=(2,), models=frozenset({0, 1, 2}))]
    """
    parents = np.stack([forest.parents, *(other.parents for other in others)])
    return [
        Doubt((c,), frozenset([c, *(p for p in parents[:, c].tolist() if p >= 0)]))
        for c in np.flatnonzero((parents != parents[0]).any(axis=0)).tolist()
    ]


class _Closer:
    """A group of sketches, larger ones of some of its models, and some in full. levels: of the
    larger ones. lost: models that none could be had of."""

    def __init__(self, group: Group, coarse: Measures, threads: int) -> None:
        self.group, self._coarse, self._threads = group, coarse, threads
        self._larger: dict[int, Checkpoint] = {}
        self._parts: list[tuple[Group | None, Measures, list[int], list[int]]] = []
        self._full: list[tuple[None, Measures, list[int], list[int]]] = []
        self.levels: dict[int, int] = {}
        self.lost: set[int] = set()

    def measures(self) -> Measures:
        """Of all models, of each pair as closely as both were looked at."""
        out = self._coarse
        for _, fine, layers, models in [*self._parts, *self._full]:
            out = mixed(out, fine, layers, models)
        return out

    def replicates(self) -> Iterator[Measures]:
        """The same, off by a standard error."""
        for seed in range(REPLICATES):
            out = replicate(self.group, self._coarse, seed)
            for group, fine, layers, models in [*self._parts, *self._full]:
                off = fine if group is None else replicate(group, fine, seed)
                out = mixed(out, off, layers, models)
            yield out

    def wanted(self, doubts: Doubts) -> dict[int, int]:
        """The level that each model is to be looked at on, if it is a higher one than it was:
        what is in doubt about some of them needs all of them on one level."""
        out: dict[int, int] = {}
        held = sum(self._bytes(k, level) for k, level in self.levels.items())
        for models in (doubt.models for doubt in doubts if not doubt.models & self.full):
            open_ = [k for k in models if not self._at_hand(k) and k not in self.lost]
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
                group, layers = self._among(models, self._larger)
                fine = measure(group, l1=False, threads=self._threads)
                self._parts.append((group, fine, layers, models))

    def in_full(self, doubts: Doubts, most: int) -> list[int]:
        """The models to be looked at in full, of no more than so many bytes together, where that is
        more than what was."""
        some = self.full
        for models in (doubt.models for doubt in doubts):
            told = models <= some or all(map(self._at_hand, models)) or models & self.lost
            if not told and self.bytes_of(some | models) <= most:
                some |= models
        return sorted(some) if some != self.full else []

    @property
    def full(self) -> frozenset[int]:
        """The models that were looked at in full."""
        return frozenset(k for _, _, _, models in self._full for k in models)

    def among(self, models: list[int]) -> Group:
        """Some of the models as a group of their own, with the layers that two of them have."""
        return self._among(models, self.group.checkpoints)[0]

    def take_full(self, models: list[int], fine: Measures) -> None:
        """Look at some models in full. fine: measures of layers of theirs."""
        place = {(x.name, x.shape): k for k, x in enumerate(self.group.layers)}
        layers = [place[key] for key in zip(fine.names, fine.shapes, strict=True)]
        self._full = [(None, fine, layers, models)]

    def bytes_of(self, models: Iterable[int]) -> int:
        """How much some models are in full."""
        every = (self.group.checkpoints[k].tensors.values() for k in models)
        return sum(t.nbytes for tensors in every for t in tensors if t.is_weight)

    def _among(
        self, models: list[int], held: Mapping[int, Checkpoint] | Sequence[Checkpoint]
    ) -> tuple[Group, list[int]]:
        """The sketches that are held of some models as a group with the layers that two of them
        have, and which of the layers these are."""
        place = {k: at for at, k in enumerate(models)}
        chosen, layers = [], []
        for number, layer in enumerate(self.group.layers):
            pairs = [
                (place[k], held[k].tensors[small.name].kept)
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

    def _at_hand(self, k: int) -> bool:
        """Whether its sketch holds all of a model's matrices."""
        held = self._larger.get(k, self.group.checkpoints[k])
        return all(t.kept.size == t.size for t in held.tensors.values() if is_matrix(t.shape))

    def _bytes(self, k: int, level: int) -> int:
        """How much a model's larger sketch may hold."""
        tensors = self.group.checkpoints[k].tensors.values()
        kept, all_ = (
            sum(n) for n in zip(*((t.kept.nbytes, t.nbytes) for t in tensors), strict=True)
        )
        return int(min(all_, kept * TIMES**level))
