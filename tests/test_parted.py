"""Families of which no layer is in all models: a whole one, and what was trained from its parts."""

import numpy as np
import pytest
from kit import model, tuned

import mother


def half(weights, name):
    return {n: w for n, w in weights.items() if n.startswith(name)}


WHOLE = {f"first.{n}": w for n, w in model(0, layers=4).items()} | {
    f"second.{n}": w for n, w in model(3, layers=6).items()
}
SEES = {"first": tuned(half(WHOLE, "first"), 1, 0.1)}
SPEAKS = {"second": tuned(half(WHOLE, "second"), 2, 0.1)}


def edges(models):
    return {(e.parent, e.child): e for e in mother.recover(models, bootstrap=0).edges}


def test_what_was_trained_from_each_half_hangs_from_the_whole():
    found = edges({"whole": WHOLE} | SEES | SPEAKS)
    assert set(found) == {("whole", "first"), ("whole", "second")}


@pytest.mark.parametrize("further", [1, 2])
def test_a_part_that_comes_changes_no_edge_among_the_others(further):
    whole = {"whole": WHOLE} | {f"tuned{k}": tuned(WHOLE, k, 0.1) for k in range(5, 5 + further)}
    before = edges(whole | SPEAKS)
    assert len(before) == 1 + further
    after = edges(whole | SPEAKS | SEES)
    assert {pair: after[pair].undirected for pair in before} == {
        pair: e.undirected for pair, e in before.items()
    }
    assert set(after) - set(before) == {("whole", "first")}


def test_parts_of_strangers_are_no_relatives():
    other = {n: np.random.default_rng(9).permutation(w) for n, w in half(WHOLE, "first").items()}
    found = edges({"whole": WHOLE, "other": other} | SPEAKS)
    assert not any("other" in pair for pair in found)
