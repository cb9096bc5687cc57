"""A glance says nothing that kinship does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mother.checkpoints import Checkpoint
from mother.checkpoints.tensor import constant
from mother.index import glance
from mother.index.glance import Glance, Glances
from mother.index.relatives import kinships
from mother.sketches.sketch import sketch

SHAPES = {"a.weight": (96, 80), "b.weight": (40, 64), "c.weight": (16, 16), "c.bias": (16,)}


def model(weights, dtype=np.float32, budget=8 << 10):
    tensors = {n: constant(n, w.astype(dtype)) for n, w in weights.items()}
    return sketch(Checkpoint("m", Path("m"), "npz", tensors), budget)


def at_cosines(rng, cosines):
    """A model's weights, and others' at these cosines to it."""
    first = {n: rng.normal(size=s) for n, s in SHAPES.items()}
    return first, [
        {n: c * w + np.sqrt(1 - c**2) * rng.normal(size=w.shape) for n, w in first.items()}
        for c in cosines
    ]


@pytest.mark.parametrize("budget", [16 << 10, 64 << 10, 1 << 20])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("mean", [0, 1])
def test_it_says_what_kinship_says(budget, dtype, mean):
    rng = np.random.default_rng(budget)
    first, others = at_cosines(rng, np.linspace(0, 0.99, 200))
    first, *others = ({n: w + mean for n, w in m.items()} for m in (first, *others))
    new, held = model(first, dtype, budget), [model(w, dtype, budget) for w in others]
    relatives, strangers = Glance.at(new).told([Glance.at(other) for other in held])
    kin, unsure = kinships(new, held)
    assert not (relatives & ((kin <= 1) | unsure)).any()
    assert not (strangers & ((kin > 1) | unsure)).any()
    assert relatives[-1]
    assert strangers[0]
    left = ~relatives & ~strangers
    assert left[unsure].all()
    assert left.sum() < unsure.sum() + 6  # few are looked at again


def test_weights_far_from_1_are_no_strangers_to_themselves():
    for scale in (1e-25, 1e25):
        one = model({"w": np.eye(64) * scale}, np.float64)
        relatives, strangers = Glance.at(one).told([Glance.at(one)])
        assert relatives.all()
        assert not strangers.any()


def test_what_it_can_not_tell_is_left_open():
    rng = np.random.default_rng(0)
    first, (near,) = at_cosines(rng, [0.9])
    new = Glance.at(model(first))
    zeros = model(near | {"a.weight": np.zeros(SHAPES["a.weight"])})
    others = [zeros, model(near, budget=4 << 10), model({"w": near["a.weight"]}), model({})]
    for told in new.told([Glance.at(other) for other in others]):
        assert not told.any()
    assert [told.tolist() for told in new.told([])] == [[], []]


def test_no_more_are_held_than_fit(monkeypatch):
    first, _ = at_cosines(np.random.default_rng(0), [])
    loaded = []
    glances = Glances(lambda number: loaded.append(number) or model(first))
    monkeypatch.setattr(glance, "HELD", 2 * glances.at(0).weights.nbytes)
    glances.keep(0, glances.at(0))
    for number in (1, 1, 0, 2, 2, 0):
        glances.at(number)
    assert loaded == [0, 1, 2, 0]


@pytest.mark.parametrize("most", [256, 1024, 4096])
def test_corners_do_not_contradict_what_all_says(most):
    """One layer outweighs the others, of which as much is looked at."""
    rng = np.random.default_rng(most)
    first, others = at_cosines(rng, np.linspace(0, 0.99, 200))
    strangers_but_there = [
        {n: rng.normal(size=w.shape) if n != "a.weight" else w for n, w in other.items()}
        for other in others
    ]
    new = model(first, budget=1 << 20)
    held = [model(w, budget=1 << 20) for w in [*others, *strangers_but_there]]
    relatives, strangers = Glance.at(new, most).told([Glance.at(x, most) for x in held])
    kin, _ = kinships(new, held)
    assert not (relatives & (kin <= 1)).any()
    assert not (strangers & (kin > 1)).any()
    assert relatives[[199, 399]].all()


def test_all_is_looked_at_where_corners_leave_it_open(monkeypatch):
    rng = np.random.default_rng(0)
    first, others = at_cosines(rng, np.linspace(0, 0.3, 40))
    held = [model(first), *map(model, others)]
    monkeypatch.setattr(glance, "CORNERS", 96)
    glances, numbers = Glances(held.__getitem__), np.arange(1, 41)
    new = Glance.at(held[0], glance.CORNERS)
    assert not new.whole
    relatives, strangers = glances.told(new, held[0], numbers)
    at_corners = np.logical_or(*new.told([glances.at(n) for n in numbers.tolist()]))
    by_all = Glance.at(held[0]).told([glances.at(n, whole=True) for n in numbers.tolist()])
    assert (relatives | strangers)[at_corners].all()
    assert (~at_corners).sum() > 0
    for found, wanted in zip((relatives, strangers), by_all, strict=True):
        assert (found == wanted)[~at_corners].all()
