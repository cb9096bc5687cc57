"""How closely each of some models is looked at: sketches grow where a decision is in doubt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mother.checkpoints import Checkpoint
from mother.layouts import Group, Layer
from mother.layouts.alignment import common_part
from mother.measures import is_matrix
from mother.measures.comparable import unfit

TIMES = 4  # as many bytes, each time that more are asked for
MAX_LEVELS = 3  # how often they are of one model
SKETCHES_HELD = 1 << 30  # bytes of larger sketches of one family
#: a checkpoint's sketch of TIMES ** level budgets; None where it can't be had
More = Callable[[Checkpoint, int], Checkpoint | None]


@dataclass(frozen=True)
class Doubt:
    """A decision that lies within its error. about: whom it is about; models: these, and all others
    that it is between; in_full: whether the inner products of these in full would settle it."""

    about: tuple[int, ...]
    models: frozenset[int]
    in_full: bool = True


Doubts = list[Doubt]


class Levels:
    """How closely the models of a group of sketches are looked at. levels: of those that larger
    ones are held of. lost: models that none could be had of that can be compared. full: those
    looked at in full. most: how often a larger sketch of one model is asked for; MAX_LEVELS if
    None."""

    def __init__(self, group: Group, most: int | None = None) -> None:
        self.group, self.most = group, MAX_LEVELS if most is None else most
        self.larger: dict[int, Checkpoint] = {}
        self.levels: dict[int, int] = {}
        self.lost: set[int] = set()
        self.full: frozenset[int] = frozenset()

    def asked(self, doubts: Doubts, more: More) -> bool:
        """Get larger sketches of models in doubt; whether there are any."""
        wanted = self.wanted(doubts)
        for k, level in wanted.items():
            sketch = more(self.group.checkpoints[k], level)
            if sketch is None or _spoilt(sketch, self.group.checkpoints[k]):
                self.lost.add(k)
            else:
                self.levels[k], self.larger[k] = level, sketch
        return bool(wanted.keys() - self.lost)

    def counted(self) -> dict[str, int]:
        """By id, how often more of a model was looked at."""
        every = self.levels | dict.fromkeys(self.full, self.most + 1)
        return {self.group.checkpoints[k].id: times for k, times in every.items()}

    def reached(self, level: int) -> list[int]:
        """The models that are looked at on that level or a higher one."""
        return sorted(k for k, own in self.levels.items() if own >= level)

    def wanted(self, doubts: Doubts) -> dict[int, int]:
        """The level that each model is to be looked at on, if it is a higher one than it was:
        what is in doubt about some of them needs all of them on one level."""
        out: dict[int, int] = {}
        held = sum(self._bytes(k, level) for k, level in self.levels.items())
        for models in (doubt.models for doubt in doubts if not doubt.models & self.full):
            open_ = [k for k in models if not self.at_hand(k) and k not in self.lost]
            level = 1 + min((self.levels.get(k, 0) for k in open_), default=self.most)
            higher = {k: level for k in open_ if self.levels.get(k, 0) < level <= self.most}
            more = sum(self._bytes(k, level) for k in higher.keys() - out.keys())
            if held + more <= SKETCHES_HELD:
                held += more
                out |= higher
        return dict(sorted(out.items()))

    def in_full(self, doubts: Doubts, most: int) -> list[int]:
        """The models to be looked at in full, of no more than so many bytes together, where that is
        more than what was."""
        some = self.full
        for models in (doubt.models for doubt in doubts if doubt.in_full):
            told = models <= some or all(map(self.at_hand, models)) or models & self.lost
            if not told and self.bytes_of(some | models) <= most:
                some |= models
        return sorted(some) if some != self.full else []

    def bytes_of(self, models: Iterable[int]) -> int:
        """How much some models are in full."""
        every = (self.group.checkpoints[k].tensors.values() for k in models)
        return sum(t.nbytes for tensors in every for t in tensors if t.is_weight)

    def among(
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

    def at_hand(self, k: int) -> bool:
        """Whether its sketch holds all of a model's matrices."""
        held = self.larger.get(k, self.group.checkpoints[k])
        return all(t.kept.size == t.size for t in held.tensors.values() if is_matrix(t.shape))

    def _bytes(self, k: int, level: int) -> int:
        """How much a model's larger sketch may hold."""
        tensors = self.group.checkpoints[k].tensors.values()
        kept, all_ = (
            sum(n) for n in zip(*((t.kept.nbytes, t.nbytes) for t in tensors), strict=True)
        )
        return int(min(all_, kept * TIMES**level))


def _spoilt(larger: Checkpoint, first: Checkpoint) -> bool:
    """Whether a larger sketch of a model holds what is no weight, such as NaN, where the first one
    holds none."""
    both = ((t.kept, larger.tensors[n].kept) for n, t in first.tensors.items() if t.is_weight)
    return any(unfit(more) and not unfit(small) for small, more in both)
