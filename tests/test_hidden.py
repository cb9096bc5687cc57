"""Which children of a model are its siblings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mother
from mother.trees.latent import hidden_ancestors, saved

NOBODY = -1


def found(lack: list[float], length: list[float]) -> list[tuple[int, ...]]:
    """The hidden ancestors of a star: <p - c, p> and |p - c|^2 of its centre and each other one."""
    parents = np.array([NOBODY] + [0] * len(lack))
    squared, lacking = np.array([1.0, *length]), np.array([0.0, *lack])
    hidden = hidden_ancestors(parents, squared, lacking, squared - lacking, squared / 1e6, star)[1]
    return [h.children for h in hidden]


def star(members: np.ndarray) -> np.ndarray:
    """Squared distances of models that are as far from one ancestor."""
    return 2.0 * (1 - np.eye(len(members)))


def test_siblings_lack_the_same_however_far_they_went() -> None:
    assert found([1.0, 1.0, 1.0], [4.0, 5.0, 6.0]) == [(0, 1, 2, 3)]


def test_what_children_forget_grows_with_how_far_they_went() -> None:
    assert found([0.4, 1.0, 1.7], [2.0, 5.0, 8.0]) == []


def test_a_child_among_siblings_stays_one() -> None:
    assert found([1.0, 1.0, 1.0, 0.0], [4.0, 5.0, 6.0, 5.0]) == [(0, 1, 2, 3)]


def test_a_near_twin_of_far_siblings_is_no_child() -> None:
    # steps that resemble each other leave it less than half of what the others lack
    assert found([1.0, 1.0, 1.0, 0.4], [4.0, 5.0, 6.0, 1.0]) == [(0, 1, 2, 3, 4)]


def test_siblings_below_a_model_that_is_there_hang_from_it() -> None:
    """Children that were trained alike go a part of their way together, as from an ancestor in
    between, which nothing tells from that."""
    parents = np.array([NOBODY, 0, 1, 1])
    squared, lacking = np.array([1.0, 9.0, 4.0, 5.0]), np.array([0.0, 0.0, 1.0, 1.0])
    out, hidden, doubted = hidden_ancestors(
        parents, squared, lacking, squared - lacking, squared / 1e6, star
    )
    assert (out.tolist(), hidden, doubted.tolist()) == ([NOBODY, 0, 0, 0], [], [False] * 4)


@pytest.mark.parametrize(
    ("many", "lack", "told"),
    [(1, -0.3, True), (3, -0.3, False), (3, -0.2, True), (3, 1.5, False)],
)
def test_a_family_that_shrank_or_grew_is_told_nothing_of(
    many: int, lack: float, told: bool
) -> None:
    """Of forty siblings of the first model some lack more than siblings can, or hold more than
    there was: from one in twenty on, lack is no evidence; a quarter of a step is chance."""
    parents = np.array([-1, *[0] * 40])
    squared, lacking = np.ones(41), np.full(41, 0.5)
    lacking[1 : 1 + many] = lack
    hidden = hidden_ancestors(parents, squared, lacking, squared - lacking, squared / 1e6, star)[1]
    assert bool(hidden) == told


def test_no_ancestor_that_makes_the_tree_no_shorter() -> None:
    """Models that follow one another on a line all lack of the first, yet hang from no one point;
    where the first is the ancestor itself, another one would lie where it is."""
    parents, lack, length = np.array([NOBODY, 0, 0]), np.array([0.0, 1, 1]), np.array([1.0, 2, 2])
    for place in ([0.0, 1, 4], [0.0, -1, 1]):
        x = np.array(place)

        def apart(members: np.ndarray, x: np.ndarray = x) -> np.ndarray:
            return (x[members][:, None] - x[members]) ** 2

        kept, hidden, doubted = hidden_ancestors(
            parents, length, lack, length - lack, length / 1e6, apart
        )
        assert kept.tolist() == parents.tolist()
        assert hidden == []
        assert not doubted.any()


def test_children_that_decay_alike_are_told_where_distances_know_of_no_ancestor() -> None:
    """Equal decay and equal steps in two generations: all lack alike, as siblings do."""
    draw = np.random.default_rng(0)

    def tuned(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        step = {n: 0.09 * draw.standard_normal(w.shape) for n, w in weights.items()}
        return {n: 0.997 * w + step[n] for n, w in weights.items()}

    models = {"root": {str(k): draw.standard_normal((200, 100)) for k in range(4)}}
    for kid in "abcd":
        models[kid] = tuned(models["root"])
        models |= {f"{kid}{k}": tuned(models[kid]) for k in range(3)}
    graph = mother.recover(models, bootstrap=0)
    assert graph.hidden == ()
    told = {(e.parent, e.child) for e in graph.edges if not e.undirected}
    true = {("root" if len(c) == 1 else c[0], c) for c in models if c != "root"}
    assert told <= true
    assert len(told) > 12  # of 16


@given(st.lists(st.floats(0.1, 9.0), min_size=3, max_size=8))
def test_lengths_of_a_star_are_found_and_what_it_saves(lengths: list[float]) -> None:
    far = np.array(lengths)
    squared = (far[:, None] + far) * (1 - np.eye(len(far)))
    spanning = far.sum() + (len(far) - 2) * far.min()  # all hang from the nearest
    assert saved(squared) == pytest.approx(1 - far.sum() / spanning)


@pytest.mark.parametrize("polarity", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_two_models_of_which_one_lacks_nothing_are_no_siblings(polarity):
    step = np.array([0.0, 2.0])
    lacking = polarity * step
    _, hidden, _ = hidden_ancestors(
        np.array([-1, 0]), step, lacking, step - lacking, step / 1e6, lambda some: np.zeros((2, 2))
    )
    assert [h.children for h in hidden] == [(0, 1)] * (polarity in (0.3, 0.5, 0.7))
