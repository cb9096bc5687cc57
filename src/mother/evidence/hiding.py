"""Families of one architecture that are kin under other labels, found at a glance.

Models that are alike where they are share a family and cost nothing more. One of which some layers
are not is a family of its own: it may be hidden in part. Of every two families signatures are
compared that no relabelling changes: cosines between the rows of labels. Only where these are alike
is the test made, and what hides one family undone.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from mother.checkpoints import Checkpoint, Tensor
from mother.evidence.kinship import threshold
from mother.evidence.relabelled import Relabelling, relabelling
from mother.layouts import Group, Layer, align
from mother.layouts.moves import SHORTEST, SPREAD
from mother.layouts.undoing import Undone, undone
from mother.layouts.units import Array, spread, values_of
from mother.layouts.wiring import matrices, natural, stream_of
from mother.sketches.labels import all_labelled
from mother.thresholds import ALL_BUT_NOISE, DEVIATIONS, LARGELY, MOST, NEARLY_ALL, SLIGHT, TRACE

GLANCE_MATRICES = 12  # matrices of a group, of which a glance is taken
GLANCE_WEIGHTS = 1 << 11  # weights of each
MOVED_LAYERS = 2  # that moved units show in at least: what writes them and what reads them
WEAK = 2  # layers that are, those that are alike least
TESTS = 64  # of one group at most, the likeliest
MISSED = 8  # in vain, of models that may be hidden in part: no more are tried then


@dataclass(frozen=True)
class Hidden:
    """A model seen in the coordinates of a relative, what hid it, and the test that told. tried:
    pairs of families that could have been kin so."""

    own: Checkpoint
    seen: Checkpoint
    undone: Undone
    test: Relabelling
    tried: int


@dataclass
class _Family:
    """Numbers of models that are alike at a glance. rescaled: of those whose units seem to have
    been scaled one by one, which are alike where they are."""

    members: list[int]
    first: Checkpoint
    rescaled: list[int] = field(default_factory=list)

    @cached_property
    def signatures(self) -> dict[str, Array]:
        """What no relabelling changes, by the axis that has labels, or may have some."""
        return all_labelled(self.first)


def find_hidden(group: Group) -> list[Hidden]:
    """The models of a group that are kin of others under other labels, each in the coordinates of
    one of the largest family that it is kin of."""
    whole = [k for k, c in enumerate(group.checkpoints) if not c.is_sketch]
    families = _at_a_glance(group, whole)
    families.sort(key=lambda f: (-len(f.members), f.members[0]))
    tried = len(families) * (len(families) - 1) // 2
    home = list(range(len(families)))
    found: dict[int, Hidden] = {}
    missed = 0
    for pair in _likely(families):
        i, k = sorted(home[x] for x in pair)
        two = _Two.of(families[i].first, families[k].first) if i != k else None
        if two is None or (two.in_part and missed == MISSED):
            continue
        told = two.undone(tried)
        if told is None:
            missed += two.in_part
            continue
        test, hidden = told
        for m in (m for x, f in enumerate(families) if home[x] == k for m in f.members):
            own = group.checkpoints[m]
            # those that lie as this one by now go with it
            seen = hidden.seen(found[m].seen if m in found else own)
            found[m] = Hidden(own, seen, hidden, test, tried)
        home = [i if h == k else h for h in home]
    missed = 0
    for one, k in ((family.first, k) for family in families for k in family.rescaled):
        if k in found or missed == MISSED:
            continue
        own = group.checkpoints[k]
        two = _Two.of(one, own)
        if two is None or (told := two.rescaled()) is None:
            missed += 1
            continue
        test, hidden = told
        found[k] = Hidden(own, hidden.seen(own), hidden, test, max(tried, 1))
    return list(found.values())


@dataclass(frozen=True)
class _Two:
    """The first models of two families, the layers that both have, the matrices among these, and
    cosines of what is seen of them at a glance, (L,)."""

    one: Checkpoint
    other: Checkpoint
    layers: Sequence[Layer]
    matrices: Sequence[Layer]
    cosine: Array

    @classmethod
    def of(cls, one: Checkpoint, other: Checkpoint) -> _Two | None:
        """None where they can't be compared, or lie too much alike to be told."""
        groups = align([one, other])
        layers = [layer for layer in groups[0].layers if layer.members == (0, 1)]
        if len(groups) > 1 or not layers:
            return None
        told = [layer for layer in layers if len(layer.shape) > 1]
        cosine = [float(np.dot(*map(_corner, layer.tensors))) for layer in told]
        return cls(one, other, layers, told, np.array(cosine))

    @property
    def in_part(self) -> bool:
        """Whether most layers lie where names have them."""
        related = self.cosine >= _least(self.matrices)
        return bool(len(related) and related.mean() > MOST)

    def undone(self, tried: int) -> tuple[Relabelling, Undone] | None:
        """What hides the other from the one, and the test that says that they are kin; None where
        it does not, or nothing is found to have moved. tried: pairs that could have been kin."""
        one, other = ({layer.name: layer.tensors[k] for layer in self.layers} for k in (0, 1))
        test = relabelling(one, other)
        if test is None or not test.is_kin(tried):
            return None
        # in a chain, a layer made anew looks like one whose units were moved, but to the test
        if self.in_part and not (test.is_whole or _is_transformer(self.layers)):
            return None
        if not self.in_part:
            hidden = undone(self.one, self.other, spin=test.spin)
            return None if hidden is None else (test, hidden)
        each = zip(self.matrices, self.cosine, strict=True)
        least = LARGELY * np.quantile(self.cosine, LARGELY)
        hidden = undone(self.one, self.other, {x.name for x, alike in each if alike >= least})
        if hidden is None or sum(fit.moves for fit in hidden.fits.values()) < MOVED_LAYERS:
            return None
        return test, replace(hidden, lost=frozenset())  # what is not found is new there, and stays

    def rescaled(self) -> tuple[Relabelling, Undone] | None:
        """The same of scales alone, if they hid most of the way: training moves scales, too."""
        one, other = ({layer.name: layer.tensors[k] for layer in self.layers} for k in (0, 1))
        test = relabelling(one, other)
        if test is None or not test.is_kin():
            return None
        hidden = undone(self.one, self.other, spin=test.spin)
        return (test, hidden) if hidden is not None and self._hid(hidden) else None

    def _hid(self, hidden: Undone) -> bool:
        seen = hidden.seen(self.other).tensors
        ways = np.zeros(2)
        for layer in self.layers:
            a, b = layer.tensors
            stored = hidden.places.get(b.name, b.name)
            if stored in seen and seen[stored].size == a.size:
                own, *others = (values_of(t).ravel() for t in (a, b, seen[stored]))
                length = max(float(np.linalg.norm(own)), 1e-300)
                ways += [(float(np.linalg.norm(own - x)) / length) ** 2 * a.size for x in others]
        return bool(ways[1] < MOST**2 * ways[0])


def _is_transformer(layers: Sequence[Layer]) -> bool:
    """Whether there is a stream, and most weights are in matrices, not in kernels."""
    shapes = matrices({layer.name: layer.shape for layer in layers})
    flat = sum(math.prod(shape) for shape in shapes.values() if len(shape) == 2)
    return 2 * flat > sum(map(math.prod, shapes.values())) and stream_of(shapes) is not None


def _likely(families: Sequence[_Family]) -> list[tuple[int, int]]:
    """Pairs of families whose signatures are alike, the likeliest first."""
    if len(families) < 2:
        return []
    held: dict[tuple[str, int], list[int]] = defaultdict(list)
    for k, family in enumerate(families):
        for name, values in family.signatures.items():
            if len(values):
                held[name, len(values)].append(k)
    pairs: dict[tuple[int, int], float] = {}
    for (name, _), numbers in held.items():
        values = np.stack([families[k].signatures[name] for k in numbers])
        # of labels that are known to be some, the first name; others by chance more often
        main = all(next(iter(families[k].signatures)) == name for k in numbers)
        products = values @ values.T
        likely = products >= (LARGELY if main else NEARLY_ALL)
        for x, y in np.argwhere(np.triu(likely, 1)).tolist():
            pair = numbers[x], numbers[y]
            pairs[pair] = max(pairs.get(pair, 0.0), float(products[x, y]))
    return sorted(pairs, key=lambda pair: (-pairs[pair], pair))[:TESTS]


def _at_a_glance(group: Group, models: Sequence[int]) -> list[_Family]:
    """Models are of the family whose first model they are most alike to, if that is alike in all
    layers but few."""
    most = max((len(x.members) for x in group.layers), default=0)
    common = sorted((x for x in group.layers if 2 * len(x.members) > most), key=_name)
    some = spread([x for x in common if len(x.shape) > 1], GLANCE_MATRICES)
    stream, least = _is_transformer(group.layers), _least(some)
    families: list[_Family] = []
    leaders = np.zeros((1, len(some), GLANCE_WEIGHTS), np.float32)  # and room for more
    for k in models:
        own = np.zeros(leaders.shape[1:], np.float32)
        for x, layer in enumerate(some):
            if k in layer.members:
                own[x] = _corner(layer.tensors[layer.members.index(k)])
        if families and some:
            cosine = _cosines(leaders[: len(families)], own)
            told = np.maximum((~np.isnan(cosine)).sum(axis=1), 1)
            kin = (cosine >= least).sum(axis=1) / told
            best = int(np.lexsort((-np.nansum(cosine, axis=1), -kin))[0])
            if kin[best] > MOST:
                left = LARGELY * np.nanquantile(cosine[best], LARGELY) if stream else least
                # kin by names and places already: what training moved is not to be undone
                if (cosine[best] < left).sum() < MOVED_LAYERS:
                    families[best].members.append(k)
                    if stream and _rescaled(some, cosine[best], leaders[best], own):
                        families[best].rescaled.append(k)
                    continue
        if len(families) == len(leaders):
            leaders = np.concatenate([leaders, np.zeros_like(leaders)])
        leaders[len(families)] = own
        families.append(_Family([k], group.checkpoints[k]))
    return families


def _rescaled(layers: Sequence[Layer], cosine: Array, one: Array, other: Array) -> bool:
    """Whether units of those layers were scaled one by one that are alike least, as far as is seen
    of them, (L, w)."""
    weak = [int(x) for x in np.argsort(cosine)[:MOVED_LAYERS] if cosine[x] < ALL_BUT_NOISE]
    found = 0
    for x in weak:
        width = min(layers[x].size // layers[x].shape[0], GLANCE_WEIGHTS)
        seen = min(layers[x].size, GLANCE_WEIGHTS) // width * width
        a, b = (side[x, :seen].reshape(-1, width) for side in (one, other))
        found += _stretched(a, b) or _stretched(a.T, b.T)
    return found == MOVED_LAYERS


def _stretched(one: Array, other: Array) -> bool:
    """Whether lengths of rows have changed by more than what turned them would change them by."""
    a, b = (np.linalg.norm(x, axis=1) for x in (one, other))
    live = (a > 0) & (b > 0)
    if one.shape[1] < SHORTEST or not live.any():
        return False
    cosine = np.einsum("ij,ij->i", one, other)[live] / (a * b)[live]
    turned = np.sqrt(max(1 / max(float(np.median(cosine)), TRACE) ** 2 - 1, 0.0) / one.shape[1])
    ratio = np.log(a[live] / b[live])
    spread = float(np.mean(np.abs(ratio - np.median(ratio))))
    return spread >= max(SPREAD, DEVIATIONS * float(turned))


def _cosines(leaders: Array, own: Array) -> Array:
    """The cosines of layers with those of each leader, (F, L); NaN where one has none."""
    held = own.any(axis=1) & leaders.any(axis=2)
    return np.where(held, np.einsum("flw,lw->fl", leaders, own), np.nan)


def _least(layers: Sequence[Layer]) -> Array:
    """The cosines above which what is seen of layers at a glance speaks for kinship, (L,)."""
    seen = [min(layer.tensors[0].size, GLANCE_WEIGHTS) for layer in layers]
    return threshold(np.array(seen, dtype=np.int64))


def _name(layer: Layer) -> list[tuple[int, str]]:
    return natural(layer.name)


def regained(one: Tensor, other: Tensor) -> bool:
    """Whether the scales of a norm, all of one sign, differ by more than training changes them."""
    a, b = (t.read().astype(np.float64) for t in (one, other))
    if not (np.isfinite(a) & np.isfinite(b)).all():
        return False
    if not (a.size and (a * b > 0).all() and abs(a.mean()) > 2 * a.std()):
        return False  # no scales of a norm, which start as ones
    off = float(np.linalg.norm(a - b))
    return bool(off > SLIGHT * float(np.linalg.norm(a)))


def _corner(tensor: Tensor) -> Array:
    """The first weights of a tensor, together of length 1."""
    out = np.zeros(GLANCE_WEIGHTS, np.float32)
    first = tensor.read(0, GLANCE_WEIGHTS).astype(np.float64)
    values = np.nan_to_num(first, posinf=0.0, neginf=0.0)
    values /= max(float(np.abs(values).max(initial=0.0)), 1e-300)  # no square is too large then
    out[: len(values)] = values / max(float(np.linalg.norm(values)), 1.0)
    return out
