"""Merges by inner products alone: each recipe, what is no merge, and that none disturbs others."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import mother
from mother.evidence.merges import Merged
from mother.evidence.pieces import pieced
from mother.measures import Measures
from mother.methods.gram import _doubt_from_merged
from mother.trees.forest import no_edges

LAYERS, SIZE = 8, 3000
P = LAYERS * SIZE


def measured(models):
    w = np.stack(models).reshape(len(models), LAYERS, SIZE)
    gram = np.einsum("ilp,jlp->lij", w, w)
    names = tuple(f"layers.{k}.weight" for k in range(LAYERS))
    return Measures(names, ((100, SIZE // 100),) * LAYERS, np.full(LAYERS, SIZE), gram)


class Family:
    """A base, children of it and strangers, drawn."""

    def __init__(self, seed=0, step=0.1):
        self.rng, self.step = np.random.default_rng(seed), step
        self.o = self.draw(1)
        self.a, self.b, self.c, self.d = (self.child(self.o) for _ in range(4))
        self.s, self.t = self.draw(1), self.draw(1)

    def draw(self, size):
        return size * self.rng.standard_normal(P)

    def child(self, parent):
        return parent + self.draw(self.step)


F = Family(step=0.2)
RAMP = np.repeat(np.linspace(0, 1, LAYERS), SIZE)
TURN = np.arccos(F.s @ F.t / np.sqrt(F.s @ F.s * (F.t @ F.t)))
ARC = np.sin(np.array([0.7, 0.3]) * TURN) / np.sin(TURN)
RECIPES = {
    "linear": ([F.a, F.b], [0.7, 0.3], [F.o, F.c], "linear"),
    "linear, no base": ([F.a, F.b], [0.5, 0.5], [], "linear"),
    "linear, a sibling": ([F.a, F.b], [0.5, 0.5], [F.c], "linear"),
    "with its base": ([F.o, F.a], [0.4, 0.6], [F.c], "linear"),
    "four": ([F.a, F.b, F.c, F.d], [0.25] * 4, [F.o], "average"),
    "task arithmetic": ([F.o, F.a, F.b], [-0.2, 0.6, 0.6], [F.c], "task arithmetic"),
    "sum": ([F.o, F.a, F.b], [-1, 1, 1], [], "task arithmetic"),
    "negation": ([F.o, F.a], [1.5, -0.5], [F.c], "task arithmetic"),
    "strangers": ([F.s, F.t], [0.5, 0.5], [F.child(F.s), F.child(F.t)], "linear"),
    "slerp": ([F.s, F.t], list(ARC), [], "slerp"),
}


@pytest.mark.parametrize(("parents", "shares", "others", "method"), RECIPES.values(), ids=RECIPES)
def test_a_recipe_is_found_among_relatives(parents, shares, others, method):
    made = sum(x * w for x, w in zip(shares, parents, strict=True))
    models = [*others, made, *parents]
    (merge,) = Merged.of(measured(models)).merges
    assert merge.child == len(others)
    assert merge.method == method
    assert merge.left < 1e-6
    found = {p - len(others) - 1: x for p, x in zip(merge.parents, merge.shares, strict=True)}
    # the oracle: least squares on the weights themselves
    best = np.linalg.lstsq(np.stack(parents).T, made, rcond=None)[0]
    assert [found[k] for k in range(len(parents))] == pytest.approx(best, abs=1e-6)


def test_shares_that_vary_by_layer():
    made = (1 - RAMP) * F.a + RAMP * F.b
    (merge,) = Merged.of(measured([F.o, F.a, F.b, made, F.c])).merges
    assert (merge.child, sorted(merge.parents), merge.method) == (3, [1, 2], "by block")
    of_b = merge.layers[:, merge.parents.index(2)]
    assert of_b == pytest.approx(np.linspace(0, 1, LAYERS), abs=1e-6)


def test_layers_taken_whole():
    upper = RAMP > 0.5
    made = np.where(upper, F.a, F.b)
    (merge,) = Merged.of(measured([F.o, F.a, F.b, made, F.c])).merges
    assert (merge.child, sorted(merge.parents), merge.method) == (3, [1, 2], "by block")


@pytest.mark.parametrize("kind", [np.float32, np.float16], ids=["float32", "float16"])
def test_what_rounding_leaves_is_no_doubt(kind):
    parents = [x.astype(kind) for x in (F.a, F.b)]
    made = (0.6 * parents[0].astype(float) + 0.4 * parents[1].astype(float)).astype(kind)
    error = float(np.finfo(kind).eps) / 24**0.5
    models = [x.astype(float) for x in (F.o, *parents, made)]
    (merge,) = Merged.of(measured(models), np.full(4, error)).merges
    assert merge.shares == pytest.approx([0.6, 0.4], abs=1e-3)


def test_training_in_different_layers_makes_no_merge():
    lower, upper = RAMP < 0.5, RAMP > 0.5
    first = F.o + lower * F.draw(0.1)
    second, beside = first + upper * F.draw(0.1), F.o + upper * F.draw(0.1)
    assert Merged.of(measured([F.o, first, second])).merges == ()
    assert Merged.of(measured([F.o, first, beside])).merges == ()


@pytest.mark.parametrize("points", [3, 5])
def test_the_mean_of_the_points_of_a_run(points):
    """They are so near to each other that fewer of them give it almost."""
    f = Family(16)
    way, run = f.draw(0.05), [f.o + f.draw(0.1)]
    for _ in range(points - 1):
        run.append(run[-1] + way + f.draw(0.01))
    (merge,) = Merged.of(measured([f.o, f.b, *run, sum(run) / points])).merges
    assert (merge.child, merge.kind) == (points + 2, "average")
    assert merge.shares == pytest.approx([1 / points] * points, abs=1e-3)


def test_what_rounding_hides_is_no_merge():
    """The points of a smooth run lie between each other, and a faint step is no more than rounding:
    of neither is it known that it is a sum."""
    f = Family(6)
    way, size = f.draw(0.02), ml_dtypes.bfloat16
    run = [f.o, f.o + way, f.o + 2 * way + f.draw(0.001), f.o + 3 * way + f.draw(0.001)]
    every = [*run, f.a, f.a + f.draw(0.003), f.b, f.s]
    models = [x.astype(size).astype(float) for x in every]
    error = float(ml_dtypes.finfo(size).eps) / 24**0.5
    assert Merged.of(measured(models), np.full(len(models), error)).merges == ()


@given(st.integers(0, 2**32 - 1))
@example(11013)  # two children that shrank, trained in layers that have none in common
@example(43528)  # a parent and a child that shrank, likewise
@settings(max_examples=40, deadline=None)
def test_no_model_of_a_drawn_tree_is_a_merge(seed):
    """Chains, hubs and siblings without their parent; steps with a common drift, a shrink, and some
    that go on in the direction of the last."""
    rng = np.random.default_rng(seed)
    drift, models, steps = rng.standard_normal(P), [rng.standard_normal(P)], [np.zeros(P)]
    for _ in range(rng.integers(3, 25)):
        k = rng.integers(len(models)) if rng.random() < 0.5 else len(models) - 1
        size, common, on = 10.0 ** rng.uniform(-3, -0.5), rng.uniform(0, 0.5), rng.uniform(0, 0.6)
        step = rng.standard_normal(P) + common * drift
        if steps[k].any():
            step += on * steps[k] / np.abs(steps[k]).mean()
        step *= size / np.sqrt(np.mean(step**2))
        if rng.random() < 0.2:  # layers that were frozen
            step *= np.repeat(rng.random(LAYERS) < 0.5, SIZE)
        models.append(models[k] * rng.uniform(0.95, 1) + step)
        steps.append(step)
    kept = [w for w in models if rng.random() < 0.8]
    if len(kept) > 2:
        assert Merged.of(measured(kept)).merges == ()


def folder(path, models):
    path.mkdir()
    for name, w in models.items():
        layers = w.astype(np.float32).reshape(LAYERS, 60, SIZE // 60)
        save_file({f"h.{k}.weight": x for k, x in enumerate(layers)}, path / f"{name}.safetensors")
    return mother.recover(path)


def test_the_others_are_as_they_would_be_without(tmp_path):
    """A merge of relatives, one of strangers, and what was trained from each."""
    f = Family(5)
    others = {"o": f.o, "a": f.a, "b": f.b, "c": f.child(f.a), "s": f.s, "t": f.child(f.s)}
    m, x = 0.6 * f.a + 0.4 * f.b, 0.5 * f.a + 0.5 * others["t"]
    merges = {"m": m, "m1": f.child(m), "x": x, "x1": f.child(x)}
    alone = folder(tmp_path / "alone", others)
    graph = folder(tmp_path / "all", others | merges)
    pairs = {(e.parent, e.child) for e in graph.edges}
    assert pairs - {p for p in pairs if p[1] in merges} == {
        (e.parent, e.child) for e in alone.edges
    }
    assert graph.hidden == alone.hidden
    assert (graph.parents("m"), graph.parents("m1")) == (("a", "b"), ("m",))
    assert (set(graph.parents("x")), graph.parents("x1")) == ({"a", "t"}, ("x",))
    assert {tuple(x for x in tree.members if x not in merges) for tree in graph.trees} == {
        tree.members for tree in alone.trees
    }
    made = graph.node("m").recipe
    assert (made.method, made.parents) == ("linear", ("a", "b"))
    assert made.shares == pytest.approx((0.6, 0.4), abs=1e-3)
    shared = {e.parent: e.share for e in graph.edges if e.child == "m"}
    assert shared == pytest.approx({"a": 0.6, "b": 0.4}, abs=1e-3)


def test_a_model_trained_from_a_merge_is_at_home_there():
    m = 0.5 * F.a + 0.5 * F.b
    kid = F.child(m)
    found = Merged.of(measured([F.o, F.a, F.b, F.c, m, kid, F.child(kid)]))
    assert found.home.tolist() == [-1, -1, -1, -1, -1, 4, 4]
    assert found.parent.tolist()[4] in (1, 2)


def test_of_three_on_a_line_the_merge_is_what_nothing_was_trained_from():
    """M = O + 1.5 (A - O) or A = O + 0.67 (M - O): a child of A, or of M, tells."""
    f = Family(16)
    far = f.o + 1.5 * (f.a - f.o)
    others = [f.o, f.b, f.c, f.a, far]
    for kids, child, shares in (
        ([f.child(f.a)], 4, (1.5, -0.5)),
        ([f.child(far)], 3, (2 / 3, 1 / 3)),
    ):
        (merge,) = Merged.of(measured([*others, *kids])).merges
        assert (merge.child, merge.sure > 0.9) == (child, True)
        assert merge.shares == pytest.approx(shares, abs=1e-6)
    (merge,) = Merged.of(measured(others)).merges
    assert merge.sure < 2 / 3  # open


def test_a_child_of_a_merges_parent_is_not_trained_from_the_merge():
    f = Family(13)
    for share in (0.5, 0.7, 0.9):
        m = share * f.a + (1 - share) * f.b
        found = Merged.of(measured([f.o, f.a, f.b, f.c, m, f.child(f.a), f.child(f.b)]))
        assert [x.child for x in found.merges] == [4]
        assert (found.home < 0).all()


def test_layers_of_three_are_found_where_products_are_summed_in_single_precision():
    f = Family(14)
    parts = np.repeat(np.arange(LAYERS) % 3, SIZE)
    m = measured([f.o, f.a, f.b, f.c, np.choose(parts, [f.a, f.b, f.c])])
    step = 2 * f.step**2 * SIZE
    m.gram[:, 4, 4] += 3e-8 * step * f.rng.standard_normal(LAYERS)
    (merge,) = Merged.of(m).merges
    assert (merge.child, {*merge.parents}, merge.method) == (4, {1, 2, 3}, "by block")


def by_weight(models, error=1e-7):
    """What is put together weight by weight, each with its parents."""
    layers = [np.stack([x[k * SIZE : (k + 1) * SIZE] for x in models]) for k in range(LAYERS)]
    found = Merged.of(measured(models), np.full(len(models), error), weights=layers)
    return {x.child: set(x.parents) for x in found.merges if x.method == "by single weights"}


def trimmed(rng, step, density):
    """A step without all but its largest weights (TIES), or without any of them (DARE)."""
    return np.where(rng.random(len(step)) < density, step, 0.0)


@pytest.mark.parametrize("density", [0.3, 0.9])
def test_weights_kept_by_chance_tell_their_parents(density):
    f, (o, a, b) = Family(7), (F.o, F.a, F.b)
    kept = [0.6 / density * trimmed(f.rng, x - o, density) for x in (a, b)]
    found = by_weight([o, a, b, F.c, o + sum(kept), a + f.draw(0.1)])
    assert found.keys() == {4}
    assert {1, 2} <= found[4] <= {0, 1, 2}


def test_a_step_of_which_some_weights_were_dropped():
    """DARE of one model: the base is as good a sum of the two, but others are near to it."""
    f, (o, a) = Family(11), (F.o, F.a)
    assert by_weight([o, a, F.b, F.c, o + 2 * trimmed(f.rng, a - o, 0.5)]) == {4: {0, 1}}


def test_a_sibling_that_is_as_the_base_in_some_matrices_is_no_parent():
    """As those are that LoRA made: what they have of a merge is the base's."""
    f, (o, a, b) = Family(15), (F.o, F.a, F.b)
    lora = np.where(np.arange(P) < P // 2, f.child(o), o)
    kept = [trimmed(f.rng, x - o, 0.2) for x in (a, b)]
    assert by_weight([o, a, b, lora, o + sum(kept)]) == {4: {0, 1, 2}}


def test_weights_of_either_parent_are_a_merge_without_their_base():
    either = np.where(np.random.default_rng(8).random(P) < 0.5, F.a, F.b)
    assert by_weight([F.a, F.b, F.c, either]) == {3: {0, 1}}


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_trainings_of_some_weights_are_no_merge(share):
    """A parent has the weights that two children left alone, each other ones."""
    f = Family(9)
    children = [F.o + trimmed(f.rng, f.draw(0.1), share) for _ in range(3)]
    assert by_weight([F.o, *children]) == {}


def test_steps_of_one_size_are_no_merge():
    """Sign descent: all steps are multiples of the rate."""
    rng = np.random.default_rng(10)
    steps = [0.01 * np.rint(rng.normal(0, 2, P)) for _ in range(4)]
    assert by_weight([F.o, *(F.o + s for s in steps)]) == {}


SIBLINGS = {
    "with the base": {0: 0.4, 8: 0.6},
    "small steps": {0: 0.6, 4: 0.15, 6: 0.25},
    "rounded": {1: 0.6, 9: 0.4},
    "of eight": dict.fromkeys(range(1, 9), 0.125),
}


@pytest.mark.parametrize("shares", SIBLINGS.values(), ids=SIBLINGS)
def test_siblings_that_were_trained_alike_are_no_children_of_a_merge(shares):
    """Half of each step is common to all, and all grow."""
    rng = np.random.default_rng(3)
    base, common = rng.standard_normal((2, P))
    steps = 0.05 * (common + 0.3 * base + rng.standard_normal((14, P)))
    models = [base, *(base + step for step in steps)]
    x = sum(share * models[k] for k, share in shares.items())
    rounding = np.zeros(16)
    if 9 in shares:
        x, rounding[15] = x.astype(ml_dtypes.bfloat16).astype(float), 2**-9 / 3**0.5
    found = Merged.of(measured([*models, x]), rounding)
    (merge,) = found.merges
    assert (merge.child, {*merge.parents}) == (15, {*shares})
    assert merge.shares == pytest.approx([shares[p] for p in merge.parents], abs=0.011)
    assert (found.home < 0).all()


def test_a_run_whose_gradients_vanished_is_no_merge(monkeypatch):
    """Where nothing but momentum moves them, weights go the same way on by the same multiples."""
    rng = np.random.default_rng(0)
    start, tail, live = rng.standard_normal((3, 4000))
    still, dead = np.split(rng.permutation(4000), [1200])[0], rng.random(4000) < 0.95
    run = []
    for gone in (0.0, 0.86, 0.98, 0.998, 0.9999):
        w = start + 0.1 * np.where(dead, gone * tail, rng.standard_normal(4000) + live)
        w[still] = start[still] + (gone > 0.9) * 0.1 * live[still]  # what no data reached at first
        run.append(w)
    of = [np.stack(run)], np.full(5, 1e-7), 1, [0, 2, 3, 4]
    assert pieced(*of) is None
    monkeypatch.setattr("mother.evidence.pieces._on_one_line", lambda *_: False)
    assert pieced(*of) is not None


COARSE = {
    "dare": lambda o, u, v, keep: o + keep[0] * u + keep[1] * v,
    "one or the other": lambda o, u, v, keep: o + np.where(keep[0], u, v),
    "trimmed": lambda o, u, v, keep: o + 0.5 * (u * (abs(u) > 0.1) + v * (abs(v) > 0.1)),
}


@pytest.mark.parametrize("recipe", COARSE.values(), ids=COARSE)
def test_what_is_put_together_by_weights_and_stored_coarsely_is_an_open_merge(recipe):
    """Of bfloat16, as tools write merges, multiples of steps tell nothing."""
    keep = np.random.default_rng(8).random((2, P)) < 0.5
    made = recipe(F.o, F.a - F.o, F.b - F.o, keep)
    others = {"o": F.o, "a": F.a, "b": F.b, "c": F.c, "kid": F.child(F.a)}
    stored = {
        name: {
            f"layers.{k}.weight": x.reshape(100, -1).astype(np.float32)
            for k, x in enumerate(w.reshape(LAYERS, SIZE))
        }
        for name, w in others.items()
    }
    coarse = {
        f"layers.{k}.weight": x.reshape(100, -1).astype(ml_dtypes.bfloat16)
        for k, x in enumerate(made.reshape(LAYERS, SIZE))
    }
    alone = mother.recover(stored, bootstrap=0)
    graph = mother.recover(stored | {"made": coarse}, bootstrap=0)
    found = [e for e in graph.edges if e.child == "made"]
    assert {"a", "b"} <= {e.parent for e in found} <= {"a", "b", "o"}
    assert {e.relation for e in found} == {"merge"}
    assert all(e.direction_probability < 0.8 for e in found)
    rest = {(e.parent, e.child) for e in graph.edges if e.child != "made"}
    assert rest == {(e.parent, e.child) for e in alone.edges}


@pytest.mark.parametrize("common", [0.0, 1.0])
def test_two_merges_of_the_same_models_are_not_made_of_each_other(common):
    """Each is nearer to the other than to any parent, and a sum of it and these."""
    rng = np.random.default_rng(4)
    base, drift = rng.standard_normal((2, P))
    a, b, c = base + 0.1 * (common * (drift + base) + rng.standard_normal((3, P)))
    models = [base, a, b, c, (a + b + c) / 3, 0.6 * a + 0.4 * b]
    found = {m.child: {*m.parents} for m in Merged.of(measured(models)).merges}
    assert found == {4: {1, 2, 3}, 5: {1, 2}}


def test_a_merge_that_was_merged_again_is_a_parent():
    """What it was made of is one, too, and more models."""
    o, a, b, d = F.o, F.a, F.b, F.d
    merge = (a + b) / 2
    found = {
        m.child: {*m.parents}
        for m in Merged.of(measured([o, a, b, d, merge, (merge + d) / 2])).merges
    }
    assert found == {4: {1, 2}, 5: {3, 4}}


def test_what_is_nearer_to_a_merge_than_to_its_parent_may_come_from_either():
    rng = np.random.default_rng(5)
    p, q = rng.standard_normal((2, P))
    t = (p + q) / 2
    c, d = (start + 0.1 * rng.standard_normal(P) for start in (t, p))
    m = measured([p, q, t, c, d])
    forest = no_edges(5)
    forest.parents[3:], forest.joined[3:] = 0, 0.9
    unproven = replace(Merged.of(m), home=np.full(5, -1))
    _doubt_from_merged(m, forest, unproven)
    assert forest.joined[3:].tolist() == [0.45, 0.9]
