"""Models whose names and layout fit no relative's, seen in a relative's layout.

A sketch holds the same window of each layer of a name and a shape. A copy in another framework's
format has other names and orders of axes, so its sketch says nothing of whom it comes from. Such a
model is looked for, where it lies, in models whose shapes leave room for it (layouts/content.py).
Where it is found in one, it is sketched again in that one's layout, and is as any other from then
on. Which layout holds for both is the same whoever came first. What lies on the Hub is not looked
for: whole matrices would have to come.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from mother.checkpoints import Checkpoint, open_checkpoint
from mother.errors import InputError
from mother.hub import is_address
from mother.index.catalogue import Catalogue, Model
from mother.index.newcomer import (
    Newcomer,
    architecture,
    base_in,
    is_as_it_was,
    like_in,
    newcomer,
    reduced,
)
from mother.index.settings import Settings
from mother.layouts import align
from mother.layouts.content import left_over, may_be_seen, plainness, plan_of

NOTE = "compared in the layout of its relatives, found by content"  # whoever came first
TRIED = 4  # models that one is looked for in, each of another family
LOOKS = 256  # pairs of models that are opened for it in one go


@dataclass(frozen=True)
class Unlike:
    """Of an index: its catalogue, and the settings by which sketches are taken."""

    catalogue: Catalogue
    settings: Settings

    def seen(self, checkpoint: Checkpoint, new: Newcomer) -> Newcomer | None:
        """A checkpoint that is not in the index, in the layout of a model there, if it is found in
        one."""
        if is_address(new.path):
            return None
        own = np.frombuffer(new.labels, np.int8)
        for other in _Likely(self.catalogue).to(new.architecture, new.sketch, own):
            relative = where_it_lies(other)
            if relative is not None and (found := self._seen(checkpoint, relative)):
                return found
        return None

    def joined(self, ids: Collection[str]) -> list[Newcomer]:
        """Models of the index as they are seen in the layouts of relatives, where they or these
        were just added. ids: of all that were."""
        found: dict[str, Newcomer] = {}
        kin: set[int] = set()  # families that were found in others
        for model, other in islice(self._pairs(set(ids), kin), LOOKS):
            opened, relative = where_it_lies(model), where_it_lies(other)
            if opened is None or relative is None:
                continue
            if model.sure == other.sure and not _are_left(opened, relative):
                continue
            pair = (opened, model), (relative, other)
            (plain, _), (foreign, of) = sorted(pair, key=lambda each: _rank(each[0]))
            if seen := self._seen(foreign, plain):
                found |= {of.path: seen} | self._beside(of, plain)
                kin.add(model.sure)
        return list(found.values())

    def _pairs(self, ids: set[str], kin: set[int]) -> Iterator[tuple[Model, Model]]:
        """Models that were just added, each with one in whose layout it may be, or that in its own:
        of families where names join some of them, one of each other architecture; of families that
        are new and not yet among their kin, the likeliest of all others."""
        fresh: dict[int, list[Model]] = {}
        for model in (m for id_ in sorted(ids) for m in self.catalogue.models("id = ?", id_)):
            fresh.setdefault(model.sure, []).append(model)
        likely = _Likely(self.catalogue)
        for sure, models in fresh.items():
            members = self.catalogue.members(sure)
            family = [m for m in members if _has_its_own(m)]
            kinds = {m.architecture: m for m in reversed(family)}
            for model in {m.architecture: m for m in reversed(models) if _has_its_own(m)}.values():
                yield from ((model, m) for key, m in kinds.items() if key != model.architecture)
            if family and len(models) == len(members):
                for other in likely.to_that_of(family[0]):
                    if sure not in kin:
                        yield family[0], other

    def _beside(self, model: Model, plain: Checkpoint) -> dict[str, Newcomer]:
        """The others of a model's sure family that are stored as it is, or that names do not join
        to a plain one, in the same layout, by path."""
        joined = self.catalogue.compared(architecture(plain)) - {model.architecture}
        others = (m for m in self.catalogue.members(model.sure) if m.path != model.path)
        opened = ((m.path, where_it_lies(m)) for m in others if m.architecture not in joined)
        seen = ((path, self._seen(own, plain)) for path, own in opened if own is not None)
        return {path: new for path, new in seen if new is not None}

    def _seen(self, own: Checkpoint, relative: Checkpoint) -> Newcomer | None:
        """The one in the other's layout, None where it is not found in it."""
        try:
            plan = plan_of(own, relative)
            if plan is None:
                return None
            s, seen = self.settings, replace(plan.seen(own), notes=(*own.notes, NOTE))
            content = reduced(seen, s.budget, seed=s.seed, matrices=s.matrices)
            return newcomer(seen, content, s.seed, like=relative)
        except InputError:  # torn since it was opened, or not comparable
            return None


@dataclass
class _Likely:
    """The models of an index that others may be found in; what is read of it is read once."""

    catalogue: Catalogue
    _shares: dict[str, dict[str, float]] = field(default_factory=dict)
    _rows: dict[str, list[Model]] = field(default_factory=dict)

    def to_that_of(self, model: Model) -> list[Model]:
        """The same of one of the index."""
        own = self._labels.get(model.number, np.zeros(0, np.int8))
        return self.to(model.architecture, self._layouts[model.architecture], own)

    def to(self, key: str, own: Checkpoint, labels: NDArray[np.int8]) -> list[Model]:
        """Of one by the key of its architecture, its layout and its labels: of architectures that
        names do not join to its own, those first of which the most weights are of the same sides,
        then those whose labels are most alike; one of each family, TRIED in all."""
        if key not in self._shares:
            self._shares[key] = {
                other: _share(own, layout)
                for other, layout in self._layouts.items()
                if other not in self.catalogue.compared(key) and may_be_seen(own, layout)
            }
        shares = self._shares[key]
        rows = [m for other in shares for m in self._of(other)]
        alike = {m.number: _cosine(labels, self._labels.get(m.number)) for m in rows}
        rows.sort(key=lambda m: (-shares[m.architecture], -alike[m.number], m.id))
        first = {m.sure: m for m in reversed(rows)}
        return [m for m in rows if first[m.sure] is m][:TRIED]

    @cached_property
    def _layouts(self) -> dict[str, Checkpoint]:
        return self.catalogue.layouts()

    @cached_property
    def _labels(self) -> dict[int, NDArray[np.int8]]:
        numbers, held = self.catalogue.labels(frozenset(self._layouts))
        return dict(zip(numbers, held, strict=True))

    def _of(self, key: str) -> list[Model]:
        if key not in self._rows:
            models = self.catalogue.models("architecture = ?", key)
            self._rows[key] = [m for m in models if _has_its_own(m)]
        return self._rows[key]


def where_it_lies(model: Model) -> Checkpoint | None:
    """A model of the index opened, None where it is gone, or not as it was, or on the Hub."""
    try:
        found = open_checkpoint(model.path, base=base_in(model.facts))
        return found if is_as_it_was(found, model.stamp) else None
    except (InputError, ValueError, TypeError, KeyError):
        return None


def _are_left(own: Checkpoint, relative: Checkpoint) -> bool:
    """Whether names leave tensors of the same sides in both."""
    groups = align([own, relative])
    if len(groups) > 1:
        return False
    left = [
        replace(c, tensors={n: c.tensors[n] for n in names})
        for c, names in zip((own, relative), left_over(groups[0]), strict=True)
    ]
    return bool(_sides(left[0]) & _sides(left[1]))


def _has_its_own(model: Model) -> bool:
    """Whether it is on a disk and is seen in the layout that it has there."""
    try:
        return not is_address(model.path) and like_in(model.facts) is None
    except (ValueError, TypeError, KeyError):
        return False


def _rank(checkpoint: Checkpoint) -> tuple[bool, bool, str]:
    """Less of the one in whose layout the other is seen."""
    return *plainness(checkpoint), architecture(checkpoint)


def _share(own: Checkpoint, other: Checkpoint) -> float:
    """The share of a model's weights in tensors with the same sides as the other has, in any
    order.

    >>> from pathlib import Path
    >>> from mother.checkpoints.tensor import constant
    >>> def model(**shapes):
    ...     tensors = {n: constant(n, np.ones(s)) for n, s in shapes.items()}
    ...     return Checkpoint("a", Path("a"), "npz", tensors)
    >>> _share(model(a=(2, 3), b=(2, 1)), model(c=(3, 2), d=(5,)))
    0.75
    """
    left, found = _sides(other), 0
    for sides, many in _sides(own).items():
        found += min(many, left[sides]) * math.prod(sides)
    return found / max(own.parameters, 1)


def _sides(checkpoint: Checkpoint) -> Counter[tuple[int, ...]]:
    weights = (t for t in checkpoint.tensors.values() if t.is_weight and t.size)
    return Counter(tuple(sorted(n for n in t.shape if n > 1)) for t in weights)


def _cosine(own: NDArray[np.int8], other: NDArray[np.int8] | None) -> float:
    """Of the labels of two models; 0 where one has none."""
    if other is None or own.shape != other.shape:
        return 0.0
    a, b = own.astype(np.float64), other.astype(np.float64)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else 0.0
