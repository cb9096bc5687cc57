"""Rows that training left untouched, on families drawn with known rows, and networkx's trees."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import ml_dtypes
import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mother import compare
from mother.checkpoints import Checkpoint
from mother.checkpoints.tensor import constant
from mother.evidence.looks import Look
from mother.evidence.rows import Rows, bottlenecks
from mother.evidence.untouched import Untouched, looked_at, shared_rows
from mother.layouts import Group, align
from mother.measures import measure
from mother.methods import gram
from mother.options import Options
from mother.recovery import recover_checkpoints
from mother.sketches.samples import samples_of

TOKENS, WIDTH = 200, 32
BF16 = ml_dtypes.bfloat16
Model = dict[str, np.ndarray]


def root(seed: int = 0) -> Model:
    rng = np.random.default_rng(seed)
    return {
        "embed": rng.normal(0, 0.1, (TOKENS, WIDTH)).astype(np.float32),
        "dense": rng.normal(0, 0.1, (64, 64)).astype(np.float32),
    }


def trained(
    start: Model,
    seed: int,
    *,
    size: float = 0.02,
    pull: Model | None = None,
    decay: float = 1.0,
) -> Model:
    """A step on a third of the rows of the embedding and on all else; `pull` is added to it, what
    alike data make of all that are trained on them. decay: what is left of a weight without it."""
    rng = np.random.default_rng([seed, 1])
    rows = rng.random(TOKENS) < 1 / 3
    out = {}
    for name, w in start.items():
        step = rng.normal(0, size, w.shape) + (pull[name] if pull else 0.0)
        if name == "embed":
            step[~rows] = 0
        out[name] = (decay * w + step).astype(np.float32)
    return out


def group(models: dict[str, Model]) -> Group:
    checkpoints = [
        Checkpoint(i, Path(i), "npz", {n: constant(n, w) for n, w in m.items()})
        for i, m in models.items()
    ]
    (found,) = align(checkpoints)
    return found


def parents(models: dict[str, Model]) -> dict[str, str]:
    graph = recover_checkpoints(list(group(models).checkpoints), Options())
    return {edge.child: edge.parent for edge in graph.edges}


def undone() -> dict[str, Model]:
    """d undoes most of what made its parent c of a, and is nearer to a than to c."""
    a = root()
    c = trained(a, 2, size=0.04)
    back = {n: -0.7 * (c[n] - a[n]) for n in a}
    d = trained(c, 3, size=0.01, pull=back)
    return {"a": a, "b": trained(a, 1, size=0.04), "c": c, "d": d, "e": trained(a, 4, size=0.04)}


def told_by_rows(g: Group) -> Untouched:
    rows, closer = looked_at(g)
    return Untouched([(np.arange(len(g.checkpoints)), rows), *closer])


def table(n: int, said: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """What is said of all pairs, (n, n)."""
    i, j = np.triu_indices(n, 1)
    out = np.zeros((n, n))
    out[i, j] = said(i, j)
    return out + out.T


def gone_round(rows: Rows) -> np.ndarray:
    return table(len(rows.state), rows.gone_round) > 0


def differing(state: np.ndarray) -> np.ndarray:
    return (state[:, None] != state[None]).sum(axis=2)


TRUE = {"b": "a", "c": "a", "d": "c", "e": "a"}


def test_a_step_that_undoes_the_one_before_is_told_by_its_rows():
    models = undone()
    g = group(models)
    a, c, d = (list(models).index(i) for i in "acd")
    assert gram.recover(measure(g)).parents[d] == a
    told = told_by_rows(g)
    apart = table(len(models), told.excluded)
    assert apart[a, d]
    assert not apart[[a, c], [c, d]].any()
    assert parents(models) == TRUE


def test_children_that_shrank_are_no_siblings_of_their_parent():
    """They lack alike, but each has rows of its own, and none together that the parent lacks."""
    models = {"a": root()}
    models |= {f"x{k}": trained(models["a"], k, size=0.04, decay=0.99 - 0.01 * k) for k in range(5)}
    g = group(models)
    children = np.arange(1, 6)
    assert told_by_rows(g).rows.parts(0, children)
    assert not told_by_rows(g).rows.parts(1, np.array([0, 2]))
    assert parents(models) == {f"x{k}": "a" for k in range(5)}


def test_no_hidden_ancestor_where_the_rows_tell_of_none():
    """What d lacks of c is as much as a sibling would lack."""
    models = undone()
    models["d"] = trained(
        models["c"], 3, pull={n: -0.7 * (w - models["a"][n]) for n, w in models["c"].items()}
    )
    g = group(models)
    above = np.array([list(models).index(TRUE[i]) if i in TRUE else -1 for i in models])
    assert told_by_rows(g).rows.inherited(above).tolist() == [i == "d" for i in models]
    assert parents(models) == TRUE


@pytest.mark.parametrize("kind", [BF16, np.float16], ids=str)
@pytest.mark.parametrize("rounded", ["bd", "ac", "abcde"])
def test_and_beside_models_that_were_rounded(kind, rounded):
    models = {
        i: {n: w.astype(kind).astype(np.float32) for n, w in m.items()} if i in rounded else m
        for i, m in undone().items()
    }
    assert parents(models) == TRUE


def deep(seed: int = 0) -> Model:
    """With more matrices: one in which rows are copied has the others against it."""
    rng = np.random.default_rng([seed, 2])
    layers = {f"layer.{k}": rng.normal(0, 0.1, (64, 64)).astype(np.float32) for k in range(4)}
    return root(seed) | layers


@pytest.mark.parametrize(("start", "rows", "apart"), [("c", "a", (2, 3)), ("a", "c", (0, 3))])
def test_an_embedding_that_was_copied_moves_nobody(start, rows, apart):
    """d is trained from one model with the embedding of another. Put back, it has none of the rows
    that c changed; taken from c, it has them."""
    a = deep()
    c = trained(a, 2)
    of = {"a": a, "c": c}
    d = trained({**of[start], "embed": of[rows]["embed"]}, 3)
    models = {"a": a, "b": trained(a, 1), "c": c, "d": d, "e": trained(c, 4), "f": trained(d, 5)}
    assert table(len(models), told_by_rows(group(models)).excluded)[apart]
    assert parents(models) == {"b": "a", "c": "a", "d": start, "e": "c", "f": "d"}
    graph = recover_checkpoints(list(group(models).checkpoints), Options(bootstrap=20))
    assert {e.child: e.support for e in graph.edges}["d"] > 0.9


def test_a_matrix_is_one_witness():
    """The third model put its head back, 40 rows, and in its embedding holds all 30 rows that the
    second changed. All rows together say that the way between the others leads over it, the rows of
    no matrix do."""
    head, embed = np.zeros((3, 40), dtype=np.intp), np.zeros((3, 31), dtype=np.intp)
    head[1], embed[1:, :30], embed[2, 30] = 1, 1, 1
    state = np.hstack([head, embed])
    length, all_tell = np.ones(state.shape), np.ones(3, dtype=bool)
    assert gone_round(Rows(state, length, all_tell))[0, 1]
    assert not gone_round(Rows(state, length, all_tell, first=(0, 40))).any()


def test_matrices_without_a_row_that_varies_say_nothing():
    models = undone()
    for model in models.values():
        model |= {"constant": np.full((50, 50), 0.25, np.float32), "zero": np.zeros((64, 64))}
    rows = shared_rows(group(models))
    assert (rows.state == shared_rows(group(undone())).state).all()


def test_who_shrank_is_the_child():
    """A step that knows its start tells nothing of direction; rows that only shrank do."""
    a = root()
    b = trained(a, 1, decay=0.998)
    told = told_by_rows(group({"a": a, "b": b}))
    assert told.log_odds(np.array([0, 1]), np.array([1, 0])).tolist() == [10.0, -10.0]
    assert not table(2, told.excluded).any()
    untouched = np.abs(b["embed"] - 0.998 * a["embed"]).max(axis=1) < 1e-6
    assert told.same(np.array([0]), np.array([1])) == untouched.sum()


def test_rows_that_were_scaled_one_by_one_say_nothing_of_decay():
    """As where a norm is folded into the matrix before it: some shrink, and some grow."""
    a = root()
    scale = np.random.default_rng(5).uniform(1.0, 2.0, (TOKENS, 1)).astype(np.float32)
    b = trained(a, 1)
    told = told_by_rows(group({"a": a, "b": b | {"embed": b["embed"] * scale}}))
    assert told.same(np.array([0]), np.array([1])) > TOKENS / 2
    assert not told.log_odds(np.array([0, 1]), np.array([1, 0])).any()


def test_compare_says_so(tmp_path):
    a = root()
    for name, model in {"a": a, "b": trained(a, 1, decay=0.998)}.items():
        np.savez(tmp_path / f"{name}.npz", **model)
    found = compare(tmp_path / "b.npz", tmp_path / "a.npz")
    assert found.parent == "b"  # the second of the two
    (rows,) = (e for e in found.evidence if e.kind == "rows")
    assert rows.log_odds == 10.0
    assert "longer in the parent" in rows.says
    odds = sum(e.log_odds for e in found.evidence if e.kind not in ("kinship", "polarity"))
    p = found.direction_probability
    assert odds == pytest.approx(np.log(p / (1 - p)), abs=0.02)


def test_evidence_of_an_edge_adds_up():
    graph = recover_checkpoints(list(group(undone()).checkpoints), Options())
    for edge in graph.edges:
        kinds = [found.kind for found in edge.evidence]
        assert [kind for kind in kinds if kind != "trained"] == ["weights", "rows", "tree"]
        odds = sum(found.log_odds for found in edge.evidence)
        assert 1 / (1 + np.exp(-odds)) == pytest.approx(edge.direction_probability, abs=5e-3)


def test_what_rows_speak_against_is_open():
    """Trained from the mean of two, which is not there: nearer to each than their parent is."""
    a, b, d = (trained(deep(), seed, size=0.05, decay=0.995) for seed in (1, 2, 3))
    mean = {name: (a[name] + b[name]) / 2 for name in a}
    x, c = trained(mean, 9, size=0.015, decay=0.995), trained(a, 5, size=0.05, decay=0.995)
    models = {"o": deep(), "a": a, "b": b, "c": c, "d": d, "x": x}
    graph = recover_checkpoints(list(group(models).checkpoints), Options())
    found = {(e.parent, e.child): e for e in graph.edges}
    assert found["x", "a"].undirected
    assert not found["a", "c"].undirected


def test_a_pruned_model_does_not_tell():
    models = undone()
    for w in models["c"].values():
        w.flat[np.argsort(np.abs(w), axis=None)[: w.size // 2]] = 0
    assert shared_rows(group(models)).told.tolist() == [i != "c" for i in models]


def test_strangers_share_no_rows():
    rows = shared_rows(group({"a": root(0), "b": root(1), "c": root(2)}))
    assert rows.state.shape == (3, 0)
    assert not gone_round(rows).any()
    assert not table(3, rows.shrunk_of).any()


@given(st.integers(3, 9), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_what_is_gone_round_is_in_no_smallest_tree(n, rows, seed):
    """Each row changes at some of a random tree's edges, to a state that was never there."""
    rng = np.random.default_rng(seed)
    above = [int(rng.integers(k)) for k in range(1, n)]
    state = np.zeros((n, rows), dtype=np.intp)
    for child, parent in enumerate(above, 1):
        changed = rng.random(rows) < 0.3
        state[child] = np.where(changed, child, state[parent])
    told = Rows(state, np.ones(state.shape), np.ones(n, dtype=bool))
    apart, round_about = differing(state), gone_round(told)
    assert not any(round_about[child, parent] for child, parent in enumerate(above, 1))
    whole = nx.Graph()
    whole.add_weighted_edges_from((i, j, apart[i, j]) for i in range(n) for j in range(i))
    least = nx.minimum_spanning_tree(whole).size("weight")
    for i, j in zip(*np.nonzero(round_about), strict=True):
        # a tree through the edge costs more than the smallest
        joined = nx.contracted_nodes(whole, i, j, self_loops=False)
        for k in set(range(n)) - {i, j}:
            joined[i][k]["weight"] = min(apart[i, k], apart[j, k])
        assert nx.minimum_spanning_tree(joined).size("weight") + apart[i, j] > least


@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_what_is_beside_its_parent_did_not_inherit(rows, seed):
    """c hangs from g beside p, unless nothing was touched on the way to p."""
    rng = np.random.default_rng(seed)
    state = np.where(rng.random((3, rows)) < rng.random((3, 1)), np.arange(3)[:, None], 0)
    g, p, c = state * [[0], [1], [1]]
    told = Rows(np.stack([g, p, c]), np.ones((3, rows)), np.ones(3, dtype=bool))
    assert not told.inherited(np.array([-1, 0, 1])).any()
    below = np.where(c > 0, c, p)
    told = Rows(np.stack([g, p, below]), np.ones((3, rows)), np.ones(3, dtype=bool))
    shown = min(((p > 0) & (c == 0)).sum(), ((p == 0) & (c > 0)).sum()) >= 3
    assert told.inherited(np.array([-1, 0, 1])).tolist() == [False, False, shown]


def test_in_families_too_large_for_matrices():
    """Beside twenty other children of a."""
    models = undone()
    others = {f"x{k}": trained(models["a"], 10 + k, size=0.04) for k in range(20)}
    g = group(models | others)
    names = [c.id for c in g.checkpoints]
    a, d = names.index("a"), names.index("d")
    told = told_by_rows(g)
    assert not told.excluded(np.array([a]), np.array([d])).any()  # no way but this
    assert table(len(names), told.excluded)[a, d]
    forest = gram.recover(samples_of(g), [Look.of(g)])
    found = {names[c]: names[p] for c, p in enumerate(forest.parents) if p >= 0}
    assert found == TRUE | dict.fromkeys(others, "a")
    ((kind, _, says),) = (x for x in forest.claims[d] if x.kind != "trained")
    same = told.same(np.array([names.index("c")]), np.array([d]))[0]
    assert (kind, says.split()[0]) == ("rows", str(same))


@given(st.integers(3, 8), st.integers(2, 40), st.integers(0, 2**32 - 1))
def test_pairs_among_some_are_gone_round_by_ways_of_these(n, rows, seed):
    """Of two matrices that know of different trees, each of which is one witness; against the
    smallest trees of networkx."""
    rng = np.random.default_rng(seed)
    state = np.zeros((n, 2 * rows), dtype=np.intp)
    for matrix in (slice(0, rows), slice(rows, None)):
        for child in range(1, n):
            changed = rng.random(rows) < 0.3
            above = state[int(rng.integers(child)), matrix]
            state[child, matrix] = np.where(changed, child, above)
    told = Rows(state, np.ones(state.shape), np.ones(n, dtype=bool), first=(0, rows))
    i, j = np.triu_indices(n, 1)
    whole = told.gone_round(i, j)
    tree = {
        tuple(sorted(e))
        for one in told.matrices
        for e in nx.minimum_spanning_edges(
            nx.from_numpy_array(differing(one.state) + 1.0), data=False
        )
    }
    tree |= {
        tuple(sorted(e))
        for e in nx.minimum_spanning_edges(nx.from_numpy_array(differing(state) + 1.0), data=False)
    }
    some = np.array([(a, b) in tree for a, b in zip(i.tolist(), j.tolist(), strict=True)])
    assert not whole[some & ~whole].any()
    assert not (told.gone_round(i[some], j[some]) & ~whole[some]).any()


def test_who_shrank_in_a_large_family():
    models = {"a": root()}
    models |= {f"x{k:02}": trained(models["a"], k, decay=0.998) for k in range(20)}
    g = group(models)
    forest = gram.recover(samples_of(g), [Look.of(g)])
    assert forest.parents.tolist() == [-1] + [0] * 20
    assert [claims[0][:2] for claims in forest.claims[1:]] == [("rows", 10.0)] * 20


@given(st.integers(2, 12), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_bottlenecks_are_the_heaviest_of_the_smallest_tree(n, pairs, seed):
    rng = np.random.default_rng(seed)
    ends = {tuple(sorted(rng.choice(n, 2, replace=False).tolist())) for _ in range(pairs)}
    i, j = np.array(sorted(ends), dtype=np.intp).T
    weight = rng.integers(0, 5, len(i)).astype(float)
    least, total = bottlenecks(n, i, j, weight)
    graph = nx.Graph()
    graph.add_weighted_edges_from(zip(i.tolist(), j.tolist(), weight.tolist(), strict=True))
    tree = nx.minimum_spanning_tree(graph)
    assert total == tree.size("weight")
    for a, b, found in zip(i.tolist(), j.tolist(), least, strict=True):
        way = nx.shortest_path(tree, a, b)
        assert found == max(tree[u][v]["weight"] for u, v in pairwise(way))


def test_the_same_whatever_the_threads_and_order():
    models = undone()
    g = group(models)
    there = gram.recover(measure(g, threads=2), [Look.of(g)]).parents
    back = group(dict(reversed(models.items())))
    here = gram.recover(measure(back, threads=1), [Look.of(back)]).parents
    names = [c.id for c in g.checkpoints]
    assert [names[p] if p >= 0 else None for p in there] == [
        (list(reversed(names))[p] if p >= 0 else None) for p in here[::-1]
    ]
