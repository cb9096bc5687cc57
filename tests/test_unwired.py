"""Kinship under other labels where no wiring is known: recurrent and branching nets, experts."""

from __future__ import annotations

import numpy as np
import pytest

import mother
from mother.checkpoints.memory import opened_one
from mother.evidence.relabelled import relabelling, tells
from mother.evidence.unwired import Axis, agreements, axes_of
from mother.layouts.undoing import undone

#: which units lie along the axes of each tensor; labels, 3 x gates, joined maps
GRU = {
    "rnn.weight_ih": ("hhh", "8"),
    "rnn.weight_hh": ("hhh", "h"),
    "rnn.bias_ih": ("hhh",),
    "up.weight_ih": ("ggg", "h"),
    "up.weight_hh": ("ggg", "g"),
    "head.weight": ("7", "g"),
}
UNET = {
    "down.0.weight": ("a", "1", "9"),
    "down.1.weight": ("b", "a", "9"),
    "norm.1.weight": ("b",),
    "norm.1.running_mean": ("b",),
    "middle.weight": ("c", "b", "9"),
    "up.1.weight": ("d", "bc", "9"),
    "up.0.weight": ("e", "ad", "9"),
    "out.weight": ("1", "e"),
}
EXPERTS = {"embed.weight": ("s", "9"), "router.weight": ("x", "s"), "head.weight": ("7", "s")}
EXPERTS |= {f"experts.{k}.up.weight": (f"{k}u", "s") for k in range(4)}
EXPERTS |= {f"experts.{k}.up.bias": (f"{k}u",) for k in range(4)}
EXPERTS |= {f"experts.{k}.down.weight": ("s", f"{k}u") for k in range(4)}
SIZES = {"h": 24, "g": 20, "a": 16, "b": 24, "c": 32, "d": 16, "e": 12, "s": 24, "x": 4}
SIZES |= {f"{k}u": 32 for k in range(4)} | {label: int(label) for label in "1789"}
NETS = {"gru": GRU, "unet": UNET, "experts": EXPERTS}


def parts(axis):
    return [axis] if axis in SIZES else list(axis)


def net(kind, seed=0):
    draw = np.random.default_rng(seed)
    return {
        name: draw.standard_normal([sum(SIZES[p] for p in parts(a)) for a in axes], "f4")
        for name, axes in NETS[kind].items()
    }


def hidden(kind, weights, seed=1):
    """Units in another order, experts too."""
    draw = np.random.default_rng(seed)
    orders = {p: draw.permutation(n) for p, n in SIZES.items() if not p.isdigit()}

    def order(axis):
        many = np.cumsum([0, *(SIZES[p] for p in parts(axis))])
        each = (orders.get(p, np.arange(SIZES[p])) for p in parts(axis))
        return np.concatenate([start + o for start, o in zip(many, each, strict=False)])

    moved = {n: w[np.ix_(*map(order, NETS[kind][n]))] for n, w in weights.items()}
    for k, other in enumerate(orders["x"]) if kind == "experts" else ():
        for name in (n for n in weights if f".{k}." in n):
            moved[name] = moved_from(weights, name.replace(f".{k}.", f".{other}."), kind, order)
    return {n: np.ascontiguousarray(w) for n, w in moved.items()}


def moved_from(weights, name, kind, order):
    return weights[name][np.ix_(*map(order, NETS[kind][name]))]


def changed(weights, share, seed=1):
    draw = np.random.default_rng(seed)
    return {n: w + share * draw.standard_normal(w.shape, "f4") for n, w in weights.items()}


@pytest.mark.parametrize("kind", NETS)
def test_what_hides_is_undone(kind):
    base, kid = net(kind), changed(net(kind), 0.1)
    own, other = opened_one(base, id="own"), opened_one(hidden(kind, kid), id="other")
    assert relabelling(own.tensors, other.tensors).is_kin()
    seen = undone(own, other).seen(other).tensors
    assert seen.keys() == kid.keys()
    for name, values in kid.items():
        assert np.allclose(seen[name].read().reshape(values.shape), values, atol=1e-6), name


@pytest.mark.parametrize("kind", NETS)
def test_strangers_are_none_of_it(kind):
    one, other = (opened_one(net(kind, seed), id="x").tensors for seed in (0, 1))
    assert not relabelling(one, other).is_kin()
    assert tells(one)


@pytest.mark.parametrize("kind", NETS)
def test_a_hidden_child_finds_its_parent(kind):
    base = net(kind)
    models = {"base": base, "kid": changed(base, 0.2, 2), "other": net(kind, 9)}
    plain = mother.recover(models | {"hidden": changed(base, 0.1, 3)}, bootstrap=0)
    graph = mother.recover(models | {"hidden": hidden(kind, changed(base, 0.1, 3))}, bootstrap=0)
    edges = {(e.parent, e.child) for e in graph.edges}
    assert edges == {(e.parent, e.child) for e in plain.edges}
    assert len(edges) == 2


def test_units_alike_by_chance_are_as_many_as_of_random_orders():
    """One of all, whatever their number, where trainings are independent."""
    alike = []
    for seed in range(12):
        one, other = (opened_one(net("gru", 2 * seed + k), id="x").tensors for k in (0, 1))
        axes = axes_of(one, other)
        pairs = [(x.order, y.order) for x in axes for y in axes if x.name < y.name]
        alike += [int((x == y).sum()) for x, y in pairs if len(x) == len(y)]
    assert len(alike) == 12 * 4
    assert 0.4 < np.mean(alike) < 1.6  # four standard errors, each being 1 in the mean and variance


def test_labels_that_mean_the_same_make_no_kin():
    """Positions that two blocks of either model mix: all estimates leave them where they are."""
    lie = 20 * np.random.default_rng(5).standard_normal((32, 24), "f4")
    pair = [changed({"a.mix": lie, "b.mix": lie[::-1].copy()}, 1, seed) for seed in (1, 2)]
    one, other = (opened_one(w, id="x").tensors for w in pair)
    orders = [axis.order for axis in axes_of(one, other)]
    assert all((order == np.arange(len(order))).mean() > 0.9 for order in orders)
    assert not relabelling(one, other).is_kin()


def test_weights_that_a_model_holds_twice_make_no_kin():
    """Moving averages beside the model say of units what it says itself."""
    pair = []
    for seed in (0, 1):
        own = {f"net.{k}": np.random.default_rng((seed, k)).random((24, 24), "f4") for k in (0, 1)}
        pair.append(own | {f"ema.{n}": w for n, w in changed(own, 0.05).items()})
    one, other = (opened_one(w, id="x").tensors for w in pair)
    found, tried = agreements(axes_of(one, other))
    assert tried > 0
    assert not any(axis.agrees for axis in found)


def test_the_smallest_p_is_said_where_no_axis_agrees():
    """Not that of the first axis."""
    draw = np.random.default_rng(3)
    orders = [np.roll(np.arange(24), k) for k in (1, 2, 3)]
    orders[2][:6] = orders[1][:6]
    axes = [Axis(n, *draw.normal(size=(2, 24, 9)), o) for n, o in zip("abc", orders, strict=True)]
    (found,), tried = agreements(axes)
    assert (found.alike, found.units, tried) == (6, 24, 3)
