"""Replicates of a sketch stray as sketches do, and what is looked at more closely is what it is."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit import in_full

from mother.checkpoints import Checkpoint
from mother.checkpoints.tensor import constant
from mother.layouts import align
from mother.measures import measure
from mother.methods import gram
from mother.methods.refinement import Refinement
from mother.options import Options
from mother.recovery import recover_checkpoints
from mother.sketches.levels import MAX_LEVELS, TIMES
from mother.sketches.mixed import mixed
from mother.sketches.replicates import replicates
from mother.sketches.sketch import sketch

SHAPES = {f"block.{k}.fc.weight": (96, 128) for k in range(4)}


def model(id, arrays):
    tensors = {n: constant(n, a.astype(np.float32)) for n, a in arrays.items()}
    return Checkpoint(id, Path(id), "safetensors", tensors)


def family(count=10, seed=0, alike=False):
    """Models each trained from an earlier one, in rows and columns that differ in how much they
    change, the same in all steps or others in each; and the parents."""
    rng = np.random.default_rng(seed)
    held = [{n: rng.normal(size=s) for n, s in SHAPES.items()}]
    parents = [-1]
    for _ in range(1, count):
        parents.append(int(rng.integers(len(held))))
        if len(parents) == 2 or not alike:
            step = {n: unevenness(rng, shape) for n, shape in SHAPES.items()}
        held.append(
            {n: w + 0.02 * step[n] * rng.normal(size=w.shape) for n, w in held[parents[-1]].items()}
        )
    return [model(f"m{k}", arrays) for k, arrays in enumerate(held)], parents


def unevenness(rng, shape):
    rows, columns = (np.exp(0.7 * rng.normal(size=side)) for side in shape)
    return np.outer(rows, columns)


def squared(measures, i, j):
    return measures.squared_distance[:, i, j].sum()


@pytest.mark.parametrize("budget", [8 << 10, 48 << 10, 128 << 10])
def test_replicates_stray_as_sketches_of_other_windows_do(budget):
    """Independent: there the windows are drawn anew, here one of them is weighed anew."""
    models, _ = family(4)
    exact = squared(measure(align(models)[0]), 0, 1)
    errors, said = [], []
    for seed in range(40):
        (group,) = align([sketch(m, budget, seed=seed) for m in models])
        m = measure(group)
        errors.append(squared(m, 0, 1) - exact)
        said += [squared(replicates(group, m, [k])[0], 0, 1) - squared(m, 0, 1) for k in range(4)]
    assert 0.6 < np.sqrt(np.mean(np.square(said)) / np.mean(np.square(errors))) < 2


def test_replicates_of_whole_weights_are_the_weights():
    models, _ = family(3)
    for small in (models, [sketch(m, 1 << 30) for m in models]):
        (group,) = align(small)
        m = measure(group)
        np.testing.assert_array_equal(replicates(group, m, [0])[0].gram, m.gram)


def test_replicates_can_be_distances():
    models, _ = family(6)
    (group,) = align([sketch(m, 4096) for m in models])
    for seed in range(8):
        values = np.linalg.eigvalsh(replicates(group, measure(group), [seed])[0].gram)
        assert (values > -1e-6 * values.max()).all()


def test_all_looked_at_whole_is_the_whole():
    models, _ = family(5)
    (coarse,) = align([sketch(m, 8192) for m in models])
    whole = measure(align(models)[0])
    m = mixed(measure(coarse), whole, range(len(SHAPES)), range(5))
    np.testing.assert_allclose(m.squared_distance, whole.squared_distance)
    np.testing.assert_allclose(m.loss, whole.loss)
    np.testing.assert_allclose(m.chance, np.broadcast_to(whole.chance, m.chance.shape))
    assert gram.recover(m).parents.tolist() == gram.recover(whole).parents.tolist()


def test_pairs_that_were_not_looked_at_are_put_on_the_same_scale():
    """Where the same rows and columns change in all steps, a window is wrong about all alike."""
    models, _ = family(6, alike=True)
    whole = measure(align(models)[0]).squared_distance.sum(axis=0)
    before, after = [], []
    for seed in range(30):
        (group,) = align([sketch(m, 6 << 10, seed=seed) for m in models])
        coarse, fine = measure(group), measure(align(models[:3])[0])
        m = mixed(coarse, fine, range(len(SHAPES)), range(3))
        for of, errors in ((coarse, before), (m, after)):
            errors.append(np.log(of.squared_distance.sum(axis=0)[:3, 3:] / whole[:3, 3:]))
    assert np.std(after) < 0.7 * np.std(before)
    assert abs(np.mean(after)) < 0.05


@pytest.mark.parametrize("seed", range(4))
def test_only_models_in_doubt_are_asked_and_the_tree_is_that_of_the_weights(seed):
    models, _ = family(12, seed)
    budget, asked = 6 << 10, []

    def more(checkpoint, level):
        asked.append((checkpoint.id, level))
        (whole,) = [m for m in models if m.id == checkpoint.id]
        return sketch(whole, budget * TIMES**level)

    def edges(found):
        return {(e.parent, e.child) for e in found.edges}

    options = Options(bootstrap=0, threads=1)
    small = [sketch(m, budget) for m in models]
    refinement = Refinement(more)
    found = recover_checkpoints(small, options, refinement=refinement)
    whole = edges(recover_checkpoints(models, options))
    alone = edges(recover_checkpoints(small, options))
    assert len(edges(found) & whole) >= max(len(alone & whole), len(whole) - 1)
    assert len(asked) == len(set(asked))
    assert max((level for _, level in asked), default=0) <= MAX_LEVELS
    assert set(refinement.asked) == {id for id, _ in asked}
    again = recover_checkpoints(small, options, refinement=Refinement(more))
    assert again.to_json() == found.to_json()
    none = recover_checkpoints(small, options, refinement=Refinement(lambda *_: None))
    assert edges(none) == alone


def test_no_more_is_held_than_may_be(monkeypatch):
    monkeypatch.setattr("mother.sketches.levels.SKETCHES_HELD", 0)
    models, _ = family(12, 1)

    def more(checkpoint, level):
        raise AssertionError

    recover_checkpoints([sketch(m, 4096) for m in models], Options(), refinement=Refinement(more))


def strangers(seed=1):
    """Two models, two that hold a little more of the first than strangers may, two that hold a
    little less, and two strangers."""
    rng = np.random.default_rng(seed)

    def beside(arrays, cosine):
        noise = np.sqrt(1 - cosine**2)
        return {n: cosine * w + noise * rng.normal(size=w.shape) for n, w in arrays.items()}

    first = {n: rng.normal(size=s) for n, s in SHAPES.items()}
    roots = {"a": first, "b": beside(first, 0.14), "c": beside(first, 0.06), "d": beside(first, 0)}
    out = []
    for name, arrays in roots.items():
        tuned = {n: w + 0.05 * rng.normal(size=w.shape) for n, w in arrays.items()}
        out += [model(f"{name}0", arrays), model(f"{name}1", tuned)]
    return out


@pytest.mark.parametrize("budget", [4 << 10, 16 << 10])
def test_kinship_within_its_error_asks_and_is_that_of_the_weights(budget):
    models = strangers()
    of = {m.id: m for m in models}
    small = [sketch(m, budget) for m in models]
    refinement = Refinement(lambda c, level: sketch(of[c.id], budget * TIMES**level))
    options = Options(bootstrap=0, threads=1)

    def trees(found):
        return {t.members for t in found.trees}

    wanted = {("a0", "a1", "b0", "b1"), ("c0", "c1"), ("d0", "d1")}
    assert trees(recover_checkpoints(models, options)) == wanted
    assert trees(recover_checkpoints(small, options)) != wanted
    assert trees(recover_checkpoints(small, options, refinement=refinement)) == wanted
    for one, other in (("a0", "b0"), ("a0", "c0"), ("a0", "d0")):
        found = Refinement(refinement.more)
        pair = [next(s for s in small if s.id == id) for id in (one, other)]
        assert found.related(*pair) == (other == "b0")
        assert {"a0", other} >= set(found.asked)


def test_sure_strangers_and_sure_relatives_are_not_asked():
    models = [m for m in strangers() if m.id[0] in "ad"]
    small = [sketch(m, 96 << 10) for m in models]

    def more(checkpoint, level):
        raise AssertionError

    for pair in (small[:2], small[1:3]):
        assert Refinement(more).related(*pair) == (pair == small[:2])


def in_full_of(models):
    """Opens a group's models in full, and how often each was."""
    of, opened = {m.id: m for m in models}, []

    def whole(group):
        opened.append([c.id for c in group.checkpoints])
        return measure(in_full(group, of), l1=False)

    return whole, opened


@pytest.mark.parametrize("seed", [1, 3, 4, 5])
def test_doubts_that_the_largest_sketches_leave_are_settled_by_the_weights(seed, monkeypatch):
    monkeypatch.setattr("mother.sketches.levels.MAX_LEVELS", 1)
    models, _ = family(12, seed)
    of = {m.id: m for m in models}
    options = Options(bootstrap=0, threads=1)

    def edges(found):
        return {(e.parent, e.child) for e in found.edges}

    def recovered(read):
        whole, opened = in_full_of(models)
        refinement = Refinement(lambda c, level: sketch(of[c.id], 8 << 10), whole, read)
        small = [sketch(m, 2 << 10) for m in models]
        return recover_checkpoints(small, options, refinement=refinement), opened, refinement

    found, opened, refinement = recovered(1 << 30)
    true = edges(recover_checkpoints(models, options))
    assert opened == sorted(opened, key=len)  # each holds those before
    assert {id for id, level in refinement.asked.items() if level == 2} == set(opened[-1])
    none, opened, _ = recovered(0)
    assert opened == []
    assert len(edges(found) & true) >= max(len(edges(none) & true), len(true) - 1)
    lines = [[line for node in graph.nodes for line in node.notes] for graph in (found, none)]
    assert len(lines[0]) < len(lines[1])
    assert all("within the error of what was looked at: " in line for line in lines[1])


def test_no_more_is_read_in_full_than_may_be(monkeypatch):
    monkeypatch.setattr("mother.sketches.levels.MAX_LEVELS", 0)
    models, _ = family(12, 4)
    each = sum(t.nbytes for t in models[0].tensors.values())
    for most in (3, 5, 9, 40):
        whole, opened = in_full_of(models)
        refinement = Refinement(lambda *_: None, whole, most * each)
        small = [sketch(m, 2 << 10) for m in models]
        recover_checkpoints(small, Options(bootstrap=0), refinement=refinement)
        assert sum(map(len, opened)) <= most
    assert sum(map(len, opened)) > 5


def test_kinship_that_the_largest_sketches_leave_in_doubt_is_told_by_the_weights(monkeypatch):
    monkeypatch.setattr("mother.sketches.levels.MAX_LEVELS", 0)
    models = strangers()
    small = {m.id: sketch(m, 4 << 10) for m in models}
    for other in "bcd":
        whole, opened = in_full_of(models)
        refinement = Refinement(lambda *_: None, whole)
        assert refinement.related(small["a0"], small[f"{other}0"]) == (other == "b")
        assert opened in ([["a0", f"{other}0"]], [])
    assert not Refinement(lambda *_: None, whole, 0).related(small["a0"], small["b0"])


def test_a_doubt_that_its_models_leave_is_about_the_rest_of_their_tree(monkeypatch):
    """Layers are weighed by the norms of all of a tree, and a rule may look at all of its edges."""
    monkeypatch.setattr("mother.sketches.levels.MAX_LEVELS", 0)
    models, _ = family(12, 5)
    whole, opened = in_full_of(models)
    small = [sketch(m, 2 << 10) for m in models]
    found = recover_checkpoints(
        small, Options(bootstrap=0), refinement=Refinement(lambda *_: None, whole)
    )
    assert not [node for node in found.nodes if node.notes]
    assert len(opened[-1]) > len(opened[0])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([256, 1024, 1 << 14]))
def test_the_order_in_which_models_are_given_does_not_matter(seed, budget):
    """Not even where the data leaves it open, as among unrelated models and equal steps."""
    rng = np.random.default_rng(seed)
    held = [rng.normal(size=(2, 32, 32)).astype(np.float32)]
    for _ in range(int(rng.integers(3, 10))):
        start = held[int(rng.integers(len(held)))]
        step = rng.choice([0.0, 0.01, 0.1, 3.0], size=(2, 1, 1)).astype(np.float32)
        held.append(start + step * rng.normal(size=start.shape).astype(np.float32))
    models = [model(f"m{k}", {"a.w": w[0], "b.w": w[1]}) for k, w in enumerate(held)]
    small = [sketch(m, budget) for m in models]
    options = Options(bootstrap=0, threads=1)
    graphs = {
        recover_checkpoints(some, options).to_json()
        for some in (small, small[::-1], [small[k] for k in rng.permutation(len(small))])
    }
    assert len(graphs) == 1
