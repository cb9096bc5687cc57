"""Kinship that survives relabelling: units permuted, signs flipped, a stream rotated or rescaled.

Units of a layer stand in a matrix that writes them and in one that reads them. Which unit of one
model is which of the other is estimated from each of the two matrices by itself. If one model comes
from the other, the two estimates agree. If their trainings were independent, nothing ties the
order of one estimate to that of the other, and they agree as often as a random permutation has
fixed points (de Montmort 1713). After MATCH in Zhu et al. 2025 (arXiv 2502.12292), which correlates
two such estimates by rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mother.checkpoints import Tensor
from mother.evidence.agreement import Agreement
from mother.evidence.unwired import Axis, agreements, axes_of, found_alone
from mother.layouts import Group
from mother.layouts.units import (
    Array,
    Order,
    assigned,
    cosines,
    spread,
    stream_turns,
    values_of,
)
from mother.layouts.wiring import (
    Chain,
    Hidden,
    block,
    chain_of,
    matrices,
    stream_of,
    units_of,
)
from mother.thresholds import LITTLE, MOST

LEVEL = 1e-6  # probability of chance, over all pairs that are tried, below which models are kin
UNITS = 256  # of an axis that are looked for among all of the other model's
LEAST_P = 1e-300  # probability that is told
AXES = 16  # of a model that are looked at, spread over its blocks
CHAIN_LARGEST = 4096  # units of a chain's axis

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Relabelling:
    """Whether two models are kin, however their units are labelled.

    p: probability that independent trainings agree so much, by the smallest of all axes' times
    their number and `ways`, that were tried to bring one stream to the other (Bonferroni): nothing
    is assumed of how axes depend on each other. alike: share of units placed alike, the middle one
    of axes. axes: those looked at. spin: that of the ways which told, (d, d); None in a chain.
    """

    axes: tuple[Agreement, ...]
    ways: int = 1
    spin: Array | None = None

    @property
    def p(self) -> float:
        many = len(self.axes) * self.ways
        return min([1.0, *(max(many * axis.p, LEAST_P) for axis in self.axes)])

    @property
    def alike(self) -> float:
        return float(np.median([axis.alike / axis.units for axis in self.axes] or [0.0]))

    def is_kin(self, tried: int = 1) -> bool:
        """Whether they are, `tried` pairs being looked at: an axis agrees in most of its units, and
        its p times the number of axes and pairs is below LEVEL."""
        many = len(self.axes) * self.ways * tried
        return any(axis.agrees and many * axis.p <= LEVEL for axis in self.axes)

    @property
    def is_whole(self) -> bool:
        """Whether all axes agree in most of their units: none is of a layer made anew."""
        return all(axis.agrees for axis in self.axes)

    def is_chance(self, tried: int = 1) -> bool:
        """Whether independent trainings agree as much."""
        return self.p * tried > LEVEL


def tensors_of(group: Group) -> tuple[Tensors, Tensors]:
    """Of a group's first two models, the tensors that both have, by name."""
    layers = [layer for layer in group.layers if layer.members[:2] == (0, 1)]
    one, other = ({layer.name: layer.tensors[k] for layer in layers} for k in (0, 1))
    return one, other


def relabelling(one: Tensors, other: Tensors) -> Relabelling | None:
    """The test of two models' tensors of the same names and shapes: by the wiring, where one is
    known and tells, else without. None where there is nothing to look at.

    >>> from mother.checkpoints.tensor import constant
    >>> draw = np.random.default_rng(0)
    >>> def net(*weights):
    ...     return {f"{k}.weight": constant(f"{k}.weight", w) for k, w in enumerate(weights)}
    >>> first, second = draw.normal(size=(64, 16)), draw.normal(size=(32, 64))
    >>> order = draw.permutation(64)
    >>> test = relabelling(net(first, second), net(first[order], second[:, order]))
    >>> test.is_kin(), test.alike
    (True, 1.0)
    """
    test = wired(one, other)
    if test is not None and test.is_kin():
        return test
    free = unwired(axes_of(one, other))
    return free if (test is None and free.axes) or free.is_kin() else test


def unwired(axes: Sequence[Axis]) -> Relabelling:
    """The test of axes whose wiring is not known."""
    found, tried = agreements(axes)
    return Relabelling(tuple(found), 2 * tried)  # the second test that is made


def wired(one: Tensors, other: Tensors) -> Relabelling | None:
    """The test of the axes whose wiring is known; None where it is not."""
    shapes = matrices({name: tensor.shape for name, tensor in one.items()})
    if (stream := stream_of(shapes)) is not None:
        inside = spread(stream.hidden, AXES)
        spins = stream_turns(stream, one, other)
        tests = (
            Relabelling(tuple(_in_block(h, spin, one, other) for h in inside), len(spins), spin)
            for spin in spins
        )
        first = next(tests)  # of those who are kin by none: no best of several
        return next((test for test in (first, *tests) if test.is_kin()), first)
    if (chain := chain_of(shapes)) is not None:
        return Relabelling(tuple(_in_chain(chain, one, other)))
    return None


def tells(one: Tensors) -> bool:
    """Whether the test would tell a model from itself, changed by noise of a tenth of its norm:
    whether it has power at this size. Strangers are called so only then."""
    noisy = {name: _noisy(tensor) for name, tensor in one.items()}
    stream = stream_of(matrices({name: tensor.shape for name, tensor in one.items()}))
    whole = sum(tensor.size for tensor in one.values())
    if stream is None:
        return sum(one[name].size for name in found_alone(one, noisy)) >= MOST * whole
    looked_at = {*stream.labelled, *(n for h in stream.hidden for n in (*h.written, *h.read))}
    if sum(one[name].size for name in looked_at) < MOST * whole:
        return False
    test = wired(one, noisy)
    return test is not None and test.is_kin()


def _noisy(tensor: Tensor) -> Tensor:
    from mother.checkpoints.tensor import constant

    values = values_of(tensor).reshape(tensor.shape)
    draw = np.random.default_rng(tensor.size)
    scale = LITTLE * float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0
    return constant(tensor.name, values + scale * draw.standard_normal(values.shape, np.float32))


def _in_block(hidden: Hidden, spin: Array, one: Tensors, other: Tensors) -> Agreement:
    picked = np.array(spread(range(hidden.units), UNITS))

    def placed(names: Sequence[str], *gains: Array) -> Array:
        total = np.zeros((len(picked), hidden.units), np.float32)
        for name in names:
            a, b = (values_of(side[name]) for side in (one, other))
            if len(a) != hidden.units:
                a, b = a.T, b.T
            a, b = (x * gain for x, gain in zip((a, b), gains or (1, 1), strict=True))
            # all units' mean says nothing of which is which; a ~ b R is a R' ~ b
            total += np.abs(cosines((a[picked] - a.mean(axis=0)) @ spin.T, b - b.mean(axis=0)))
        return total

    ways = [placed(hidden.written)]
    ways += [placed(hidden.written, *g) for g in _flipped(hidden.written[0], len(spin), one, other)]
    written = max(ways, key=lambda way: float(way.max(axis=1).sum()))
    first, second = _assigned(written, 0), _assigned(placed(hidden.read), 1)
    alike = int((first == second).sum())
    return Agreement(hidden.written[0], alike, len(picked), hidden.units)


def _flipped(name: str, width: int, one: Tensors, other: Tensors) -> Iterator[tuple[Array, Array]]:
    """Signs of the scales of norms in the block of a matrix, of the one and the other: those who
    read a channel may read it flipped."""
    for beside, tensor in one.items():
        if tensor.size == width and block(beside) == block(name):
            gains = [values_of(side[beside]).ravel() for side in (one, other)]
            # scales lie about one length, biases about 0
            if all(2 * np.abs(g).std() < np.abs(g).mean() for g in gains) and any(
                (g < 0).any() and (g > 0).any() for g in gains
            ):
                yield np.sign(gains[0]), np.sign(gains[1])


def _in_chain(chain: Chain, one: Tensors, other: Tensors) -> list[Agreement]:
    """Each axis as seen from where the chain begins and from where it ends; the two have no matrix
    in common."""
    shapes = chain.shapes
    if max(max(shapes[name][:2]) for name in chain.matrices) > CHAIN_LARGEST:
        return []
    readers = dict(units_of(chain))

    def sides(name: str) -> tuple[Array, Array]:
        a, b = (values_of(side[name]).reshape(*shapes[name][:2], -1) for side in (one, other))
        return a, b

    ahead: dict[str, Order] = {}  # of rows
    for name in chain.matrices:
        a, b = sides(name)
        source = chain.source.get(name)
        if source in ahead:
            ahead[name] = _units(a, b[:, ahead[source]], 0)
        elif source is None:
            ahead[name] = _units(a, b, 0)
    behind: dict[str, Order] = {}  # of columns
    for name in reversed(chain.matrices):
        a, b = sides(name)
        reader = readers.get(name)
        if reader in behind:
            b = b[behind[reader]]
        elif reader is not None:
            continue
        behind[name] = _units(a.swapaxes(0, 1), b.swapaxes(0, 1), 1)
    return [
        Agreement(name, int((ahead[name] == behind[reader]).sum()), *[len(ahead[name])] * 2)
        for name, reader in readers.items()
        if name in ahead and reader in behind
    ]


def _units(a: Array, b: Array, seed: int) -> Order:
    a, b = (x.reshape(len(x), -1) for x in (a, b))
    return _assigned(cosines(a - a.mean(axis=0), b - b.mean(axis=0)), seed)


def _assigned(alike: Array, seed: int) -> Order:
    """The assignment; units that nothing tells from each other go where chance has it, and not by
    the order that they are stored in. seed: another one for each of two estimates."""
    order = np.random.default_rng(seed).permutation(alike.shape[1])
    return np.asarray(order[assigned(alike[:, order])])
