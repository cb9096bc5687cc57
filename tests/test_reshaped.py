"""Models of another shape than their parent: none disturbs what is found of the others."""

from itertools import pairwise

import numpy as np
import pytest

import mother

BLOCKS, SIDE, TOKENS = 5, 24, 40


def family(seed=0):
    """A base, two children and a grandchild."""
    rng = np.random.default_rng(seed)

    def draw(size, rows=SIDE):
        return (size * rng.standard_normal((rows, SIDE))).astype(np.float32)

    def child(of):
        return {name: w + draw(0.15, len(w)) for name, w in of.items()}

    base = {"embed": draw(1, TOKENS), "head": draw(1, TOKENS)}
    base |= {f"h.{k}.{part}": draw(1) for k in range(BLOCKS) for part in ("up", "down")}
    a = child(base)
    return {"a": a, "b": child(base), "base": base, "c": child(a)}, child


def edges(models):
    graph = mother.recover(models, bootstrap=0)
    return {(e.parent, e.child): e for e in graph.edges}, graph


def beside(models, x):
    """The edge above x, once it is seen that the others' are as they are without it."""
    alone, _ = edges(models)
    found, graph = edges(models | {"x": x})
    assert {e for e in found if "x" not in e} == alone.keys()
    (edge,) = [e for e in found.values() if e.child == "x"]
    return edge, graph.node("x")


def built(model, numbers):
    """A model with these blocks of another."""
    rest = {name: w for name, w in model.items() if not name.startswith("h.")}
    blocks = {
        f"h.{k}.{part}": model[f"h.{n}.{part}"]
        for k, n in enumerate(numbers)
        for part in ("up", "down")
    }
    return rest | blocks


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((0, 1, 3, 4), "0-1, 3-4"),
        ((1, 2, 3, 4), "1-4"),
        ((0, 1, 2, 1, 2, 3, 4), "0-2, 1-4"),
        ((0, 2, 1, 3, 4), "0, 2, 1, 3-4"),
    ],
    ids=["dropped", "the first", "repeated", "moved"],
)
@pytest.mark.parametrize("tuned", [False, True])
def test_blocks_are_known_by_what_is_in_them(numbers, said, tuned):
    models, child = family()
    x = built(models["a"], numbers)
    edge, node = beside(models, child(x) if tuned else x)
    assert (edge.parent, edge.relation) == ("a", "reshaped")
    assert f"its blocks are {said} of its relatives" in node.notes


def test_inserted_blocks_are_like_none():
    models, _ = family()
    x = built(models["b"], (0, 1, 2, 3, 4, 4))
    x["h.5.up"] = np.random.default_rng(1).standard_normal((SIDE, SIDE)).astype(np.float32)
    x["h.5.down"] = 0 * x["h.5.down"]
    edge, node = beside(models, x)
    assert (edge.parent, edge.relation) == ("b", "reshaped")
    assert "its blocks are 0-4, - of its relatives" in node.notes


@pytest.mark.parametrize("rows", [TOKENS + 5, TOKENS - 6])
def test_rows_that_all_have_are_compared(rows):
    models, child = family(1)
    x = child(models["a"])
    for name in ("embed", "head"):
        more = np.zeros((max(0, rows - TOKENS), SIDE), np.float32)
        x[name] = np.concatenate([x[name], more])[:rows]
    edge, node = beside(models, x)
    assert edge.parent == "a"
    assert all(f"{min(rows, TOKENS)} rows are compared" in line for line in node.unaligned)


def test_other_rows_are_no_resized_ones():
    models, child = family(2)
    x = child(models["b"])
    x["head"] = np.random.default_rng(3).standard_normal((TOKENS + 8, SIDE)).astype(np.float32)
    edge, node = beside(models, x)
    assert edge.parent == "b"
    assert not any("compared" in line for line in node.unaligned)


@pytest.mark.parametrize("part", ["head", "embed"])
def test_what_differs_in_one_matrix_is_nobodys_parent(part):
    """The head goes where a child of its original went, too."""
    models, _ = family(4)
    x = dict(models["a"])
    x[part] = x[part] + 0.3 * (models["c"][part] - x[part])
    edge, _ = beside(models, x)
    assert (edge.parent, edge.direction_probability) == ("a", 0.9)


def test_a_body_without_its_head_is_the_copy():
    models, _ = family(5)
    edge, _ = beside(models, {name: w for name, w in models["a"].items() if name != "head"})
    assert (edge.parent, edge.relation) == ("a", "contains")


def mixture(model, *experts):
    """A model with several of what it has one of in each block."""
    x = {name: w for name, w in model.items() if not name.endswith("up")}
    for k in range(BLOCKS):
        x |= {f"h.{k}.experts.{e}.up": of[f"h.{k}.up"] for e, of in enumerate(experts)}
        x[f"h.{k}.gate"] = np.ones((2, SIDE), np.float32)
    return x


def test_experts_that_are_one_models_were_made_from_it():
    models, child = family(6)
    b = models["b"]
    found, graph = edges(models | {"x": mixture(b, b, b)})
    assert (found["b", "x"].relation, found["b", "x"].undirected) == ("upcycled", False)
    assert graph.node("x").duplicate_of is None
    found, _ = edges(models | {"x": mixture(b, b, child(b))})
    assert (found["b", "x"].relation, found["b", "x"].undirected) == ("upcycled", True)


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_experts_of_several_models_make_a_merge_that_is_a_leaf(kind):
    models, _ = family(6)
    alone, _ = edges(models)
    values = {n: w.astype(kind) for n, w in mixture(models["a"], models["b"]).items()}
    found, graph = edges(models | {"x": values})
    assert [found[n, "x"].relation for n in "ab"] == ["merge", "merge"]
    assert found["a", "x"].share > found["b", "x"].share > 0.1
    assert graph.node("x").recipe.method == "by parts"
    assert {pair for pair in found if "x" not in pair} == set(alone)


@pytest.mark.parametrize("scale", [0, 2])
def test_vectors_and_what_was_set_to_zero(scale):
    """Nothing but a vector differs, or one matrix is gone."""
    models, _ = family(7)
    rng = np.random.default_rng(8)
    models = {
        n: m | {"norm": 1 + 0.1 * rng.standard_normal(SIDE).astype(np.float32)}
        for n, m in models.items()
    }
    part = "norm" if scale else "h.1.up"
    edge, _ = beside(models, models["a"] | {part: scale * models["a"][part]})
    assert edge.parent == "a"
    assert edge.relation == ("pruned" if scale == 0 else "converted")


def narrower(model, seed=3, blocks=range(BLOCKS)):
    """A model with some channels and neurons of another, in some of its blocks."""
    rng = np.random.default_rng(seed)
    kept, out = np.sort(rng.permutation(SIDE)[:18]), {}
    for name in ("embed", "head"):
        out[name] = model[name][:, kept]
    for k, n in enumerate(blocks):
        neurons = np.sort(rng.permutation(SIDE)[:20])
        out[f"h.{k}.up"] = model[f"h.{n}.up"][neurons][:, kept]
        out[f"h.{k}.down"] = model[f"h.{n}.down"][kept][:, neurons]
    return out


@pytest.mark.parametrize("blocks", [range(BLOCKS), (0, 2, 4)], ids=["all blocks", "three blocks"])
@pytest.mark.parametrize("parent", ["base", "a", "c"])
def test_a_narrower_model_hangs_from_what_it_was_cut_from(parent, blocks):
    models, _ = family()
    x = narrower(models[parent], blocks=blocks)
    noise = np.random.default_rng(9)
    x = {n: w + (0.1 * noise.standard_normal(w.shape)).astype(np.float32) for n, w in x.items()}
    edge, node = beside(models, x)
    # the first of all wide ones may have been grown from it
    assert (edge.parent, edge.relation, edge.undirected) == (parent, "reshaped", parent == "base")
    (note,) = [n for n in node.notes if "units" in n]
    assert note.startswith("it has 18 of 24, 20 of 24 units")
    assert ("blocks 0, 2, 4" in note) == (len(blocks) == 3)


def test_a_narrower_stranger_hangs_from_nobody():
    models, _ = family()
    other, _ = family(seed=1)
    found, _ = edges(models | {"x": narrower(other["a"])})
    assert all("x" not in pair for pair in found)


@pytest.mark.parametrize("turned", [False, True])
def test_compare_says_what_recover_says_of_a_narrower_one(turned):
    """Its units in another order, too."""
    models, _ = family()
    x = narrower(models["a"], blocks=(0, 2, 4))
    order = np.random.default_rng(4).permutation(18)
    x = {n: w[order] if n.endswith("down") else w[:, order] for n, w in x.items()}
    found, _ = edges({"a": models["a"], "x": x})
    edge = found["a", "x"]
    told = mother.compare(x, models["a"]) if turned else mother.compare(models["a"], x)
    assert (told.relation, told.parent) == (edge.relation, "b" if turned else "a")
    assert (told.distance, told.direction_probability) == (
        edge.distance,
        edge.direction_probability,
    )
    assert edge.undirected
    assert "18 of 24" in told.evidence[0].says
    assert told.compared[turned] < told.compared[not turned] == 1


def test_compare_knows_no_narrower_stranger():
    models, _ = family()
    other, _ = family(seed=1)
    assert mother.compare(models["a"], narrower(other["a"])).relation == "unknown"


def test_a_narrower_one_between_two_is_open():
    models, _ = family()
    middle = {n: (w + models["a"][n]) / 2 for n, w in models["base"].items()}
    edge, _ = beside(models, narrower(middle))
    assert edge.undirected


@pytest.mark.parametrize("order", ["as they were", "permuted"])
def test_a_narrower_model_under_other_names(order):
    """Keras numbers the layers of a session on; units that were kept may stand in any order."""
    rng = np.random.default_rng(0)
    sides = (30, 60, 50, 10)
    base = {k: rng.standard_normal(pair).astype("f4") for k, pair in enumerate(pairwise(sides))}
    tuned = {k: w + 0.1 * rng.standard_normal(w.shape).astype("f4") for k, w in base.items()}
    kept = [np.arange(30), rng.permutation(60)[:45], rng.permutation(50)[:40], np.arange(10)]
    kept = kept if order == "permuted" else list(map(np.sort, kept))
    few = {k: tuned[k][np.ix_(kept[k], kept[k + 1])] for k in tuned}
    wide = {f"dense{f'_{k}' if k else ''}/kernel:0": w for k, w in base.items()}
    found, _ = edges({"wide": wide, "few": {f"dense_{k + 3}/kernel:0": w for k, w in few.items()}})
    assert [(ends, edge.relation) for ends, edge in found.items()] == [
        (("wide", "few"), "reshaped")
    ]
    other = {
        f"dense_{k + 3}/kernel:0": rng.permutation(w.ravel()).reshape(w.shape)
        for k, w in few.items()
    }
    assert edges({"wide": wide, "few": other})[0] == {}
