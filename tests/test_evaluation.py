"""The paper's accuracy by hand, and the clustering against scikit-learn."""

from __future__ import annotations

import json

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from mother.errors import InputError
from mother.graph import Edge, ModelGraph, Node, Tree
from mother.graph.evaluation import Truth, evaluate, read_truth


def graph_of(ids, edges, trees=None):
    undirected = nx.Graph()
    undirected.add_nodes_from(ids)
    undirected.add_edges_from(edges)
    found = trees or [sorted(t) for t in nx.connected_components(undirected)]
    return ModelGraph(
        "gram",
        tuple(Node(i, i, "npz", "a", 1) for i in ids),
        tuple(Edge(p, c, "fine-tune") for p, c in edges),
        tuple(Tree(t[0], tuple(t)) for t in found),
    )


TRUTH = [("r", "a"), ("r", "b"), ("a", "c"), ("a", "d")]


def test_all_right():
    e = evaluate(graph_of("rabcd", TRUTH), TRUTH)
    assert (e.accuracy, e.undirected, e.adjusted_rand_index) == (1, 1, 1)
    assert (e.right, e.right_undirected, e.true, e.found, e.false) == (4, 4, 4, 4, 0)
    assert e.unknown == ()


def test_all_turned_round():
    e = evaluate(graph_of("rabcd", [(c, p) for p, c in TRUTH]), TRUTH)
    assert (e.accuracy, e.undirected, e.adjusted_rand_index) == (0, 1, 1)
    assert (e.right, e.right_undirected, e.found, e.false) == (0, 4, 4, 4)


def test_half_right():
    e = evaluate(graph_of("rabcd", [("r", "a"), ("b", "r"), ("b", "c")]), TRUTH)
    assert (e.accuracy, e.undirected) == (0.25, 0.5)
    assert (e.right, e.right_undirected, e.true, e.found, e.false) == (1, 2, 4, 3, 2)
    assert e.adjusted_rand_index == pytest.approx(
        adjusted_rand_score([0, 0, 0, 0, 0], [0, 0, 0, 0, 1])
    )


def test_nothing_found():
    e = evaluate(graph_of("rabcd", []), TRUTH)
    assert (e.accuracy, e.undirected, e.adjusted_rand_index) == (0, 0, 0)
    assert (e.found, e.false) == (0, 0)


def test_no_edge_in_the_truth():
    e = evaluate(graph_of("abc", []), [])
    assert (e.accuracy, e.undirected, e.adjusted_rand_index) == (None, None, None)
    e = evaluate(graph_of("abc", [("a", "b")]), [])
    assert (e.accuracy, e.false) == (None, 1)


def test_names_that_the_graph_lacks_count_as_missed():
    e = evaluate(graph_of("rab", [("r", "a"), ("r", "b")]), [*TRUTH, ("x", "r")])
    assert e.accuracy == 2 / 5
    assert e.unknown == ("c", "d", "x")
    assert e.adjusted_rand_index == 1


def test_an_edge_given_twice_counts_once():
    e = evaluate(graph_of("ra", [("r", "a")]), [("r", "a"), ("r", "a")])
    assert (e.true, e.accuracy) == (1, 1)


def test_an_empty_graph():
    e = evaluate(ModelGraph("gram"), TRUTH)
    assert (e.accuracy, e.adjusted_rand_index) == (0, 1)
    assert e.unknown == ("a", "b", "c", "d", "r")


def test_trees_joined_by_hidden_ancestors_count_as_trees():
    siblings = graph_of("abcd", [], trees=[["a", "b"], ["c", "d"]])
    assert evaluate(siblings, [("a", "b"), ("c", "d")]).adjusted_rand_index == 1
    assert evaluate(siblings, [("a", "c"), ("b", "d")]).adjusted_rand_index < 0


@given(n=st.integers(1, 14), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=150)
def test_against_counts_and_scikit_learn(n, seed):
    rng = np.random.default_rng(seed)
    ids = [f"m{k}" for k in range(n)]

    def forest():
        order = rng.permutation(n)
        return [
            (ids[order[rng.integers(k)]], ids[order[k]]) for k in range(1, n) if rng.random() < 0.7
        ]

    found, truth = forest(), forest()
    e = evaluate(graph_of(ids, found), truth)
    labels = []
    for edges in (found, truth):
        g = nx.Graph()
        g.add_nodes_from(ids)
        g.add_edges_from(edges)
        trees = list(nx.connected_components(g))
        labels.append([next(k for k, t in enumerate(trees) if i in t) for i in ids])
    expected = pytest.approx(adjusted_rand_score(*labels), abs=1e-12) if e.true else None
    assert e.adjusted_rand_index == expected
    both = sum(edge in found for edge in truth)
    either = sum(edge in found or edge[::-1] in found for edge in truth)
    assert (e.right, e.right_undirected) == (both, either)
    assert (e.true, e.found, e.false) == (len(truth), len(found), len(found) - both)
    assert e.unknown == ()


def test_truth_on_disk(tmp_path):
    file = tmp_path / "truth.json"
    file.write_text(json.dumps({"edges": TRUTH, "hidden": ["x"], "note": 1}))
    assert list(read_truth(file).edges) == TRUTH
    file.write_text('{"edges": []}')
    assert read_truth(file) == Truth(())


def test_true_trees_beside_the_edges(tmp_path):
    file = tmp_path / "truth.json"
    file.write_text('{"edges": [], "trees": [["a", "b"], ["c"]]}')
    e = evaluate(graph_of("abc", [("a", "b")]), read_truth(file))
    assert (e.accuracy, e.false, e.adjusted_rand_index) == (None, 1, 1)
    file.write_text('{"edges": [], "trees": [["a", 5]]}')
    with pytest.raises(InputError, match="trees"):
        read_truth(file)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"edges": null}',
        '{"edges": "ab"}',
        '{"edges": ["ab"]}',
        '{"edges": [["a"]]}',
        '{"edges": [["a", "b", "c"]]}',
        '{"edges": [["a", 1]]}',
        '{"edges": {"a": "b"}}',
        '{"edges": [{"parent": "a", "child": "b"}]}',
        "[" * 100_000,
    ],
)
def test_what_is_no_truth_is_refused(text, tmp_path):
    file = tmp_path / "truth.json"
    file.write_text(text)
    with pytest.raises(InputError) as refused:
        read_truth(file)
    assert str(refused.value).startswith(str(file))
    assert "\n" not in str(refused.value)


def test_what_can_not_be_read_is_refused(tmp_path):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(InputError):
            read_truth(path)
    (tmp_path / "latin").write_bytes(b'{"edges": [["\xe9", "b"]]}')
    with pytest.raises(InputError):
        read_truth(tmp_path / "latin")
