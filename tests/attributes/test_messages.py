"""Messages against the sum over all that is not stated, and against a joint normal density."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from mother.attributes import categories, guesses, numbers, trials
from mother.attributes.pedigree import Pedigree, pedigree
from mother.graph import Edge, HiddenAncestor, ModelGraph, Node

RELATIONS = ("fine-tune", "lora")


def forest(parents: list[int], relations: list[int], lengths: list[float]) -> Pedigree:
    """Models, each below an earlier one or a root (-1); two roots below a hidden ancestor."""
    nodes = tuple(Node(f"m{k}", "", "npz", "a", 1) for k in range(len(parents)))
    edges = tuple(
        Edge(f"m{p}", f"m{k}", RELATIONS[relations[k]], distance=lengths[k])
        for k, p in enumerate(parents)
        if p >= 0
    )
    roots = [f"m{k}" for k, p in enumerate(parents) if p < 0][:2]
    hidden = (HiddenAncestor("h", tuple(roots)),) if len(roots) == 2 else ()
    return pedigree(ModelGraph("", nodes, edges, hidden=hidden))


@st.composite
def forests(draw: st.DrawFn) -> Pedigree:
    n = draw(st.integers(2, 5))
    parents = [-1] + [draw(st.integers(-1, k - 1)) for k in range(1, n)]
    relations = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n))
    lengths = draw(st.lists(st.floats(0.05, 0.5), min_size=n, max_size=n))
    return forest(parents, relations, lengths)


def by_enumeration(
    p: Pedigree, evidence: np.ndarray, stay: np.ndarray, target: np.ndarray, root: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Beliefs without a row's own evidence, and how often each link's value stayed."""
    values = evidence.shape[1]
    outside = np.zeros(evidence.shape)
    kept, whole = np.zeros(len(stay)), 0.0
    for states in itertools.product(range(values), repeat=p.rows):
        s = np.array(states)
        chance = np.prod([root[s[r]] for r in p.roots])
        stayed = np.zeros(len(stay))
        for child in set(p.child.tolist()):
            total = 0.0
            for link in np.flatnonzero(p.child == child):
                same = stay[link] * (s[p.parent[link]] == s[child])
                new = (1 - stay[link]) * target[s[child]]
                stayed[link] = p.weight[link] * same
                total += p.weight[link] * (same + new)
            chance *= total
            links = np.flatnonzero(p.child == child)
            stayed[links] /= max(total, 1e-300)
        likely = np.exp(evidence[np.arange(p.rows), s])
        kept += chance * np.prod(likely) * stayed
        whole += chance * np.prod(likely)
        for row in range(p.rows):
            outside[row, s[row]] += chance * np.prod(np.delete(likely, row))
    return outside / outside.sum(1, keepdims=True), kept / whole


def check_category(p: Pedigree, codes: list[int], stay: list[float]) -> None:
    states = np.full(p.rows, -1)
    states[: p.models] = codes[: p.models]
    character = np.zeros(p.families, dtype=np.intp)
    told = categories.States.of(p, states, 2, character, closed=True)
    evidence = np.maximum(told.evidence(p, states), -8)
    each = np.resize(stay, len(p.child))
    target, root = np.array([0.7, 0.3]), np.array([0.4, 0.6])
    many = (np.tile(x, (p.families, 1)) for x in (target, root))
    found = categories.beliefs(p, evidence, each, *many)
    outside, kept = by_enumeration(p, evidence, each, target, root)
    np.testing.assert_allclose(found.outside, outside, rtol=1e-8)
    np.testing.assert_allclose(found.kept, kept, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(found.kept + found.changed, _of_links(p, found), rtol=1e-8)


def _of_links(p: Pedigree, found: categories.Beliefs) -> np.ndarray:
    """Each child came by one of its links."""
    return np.where(p.weight == 1, 1.0, found.kept + found.changed)


@given(
    forests(),
    st.lists(st.integers(-1, 1), min_size=5, max_size=5),
    st.lists(st.floats(0.05, 0.95), min_size=4, max_size=4),
)
@settings(max_examples=15, deadline=None)
def test_beliefs_are_those_of_all_ways(p: Pedigree, codes: list[int], stay: list[float]) -> None:
    check_category(p, codes, stay)


def stated_by(families: list[list[int]], values: int) -> np.ndarray:
    """Shares of what families of four state, closed."""
    parents = [-1 if k % 4 == 0 else k - k % 4 for k in range(4 * len(families))]
    p = forest(parents, [0] * len(parents), [0.1] * len(parents))
    codes = np.full(p.rows, -1)
    codes[: p.models] = np.concatenate(families)
    states = categories.States.of(p, codes, values, np.arange(p.families) * 0, closed=True)
    return categories.shares(states, p, codes, closed=True)[0]


def test_shares_are_as_even_as_foretells_other_families() -> None:
    few = stated_by([[k] * 4 for k in (0, 0, 0, 0, 1, 1, 1, 2, 2, 2)], 3)
    assert few.sum() == pytest.approx(1)
    assert 1 / 3 < few[0] < 0.38  # forty cells say 0.4, which are ten draws
    assert few[1] == pytest.approx(few[2])
    clear = stated_by([[0] * 4] * 27 + [[1] * 4] * 3, 3)
    np.testing.assert_allclose(clear, [0.9, 0.1, 0], atol=0.03)


def test_what_many_families_state_once_outweighs_what_one_states_often() -> None:
    often = stated_by([[1] * 4] * 2 + [[0, 2, 2, 2], [0, 3, 3, 3], [0, 4, 4, 4]] * 8, 5)
    assert often[0] > often[1]


def shares_of(drawn: np.ndarray, values: int) -> np.ndarray:
    """Shares of what founders that stand alone state."""
    p = forest([-1] * len(drawn), [0] * len(drawn), [0.1] * len(drawn))
    character = np.zeros(p.families, dtype=np.intp)
    states = categories.States.of(p, drawn, values, character, closed=False)
    return categories.shares(states, p, drawn, closed=False)[0]


def test_values_that_nobody_states_have_a_share_where_many_are_stated_once() -> None:
    rare = 1 - shares_of(np.array([0, 0, 0, 0, 0, 0, *range(1, 10)]), 10).sum()
    again = 1 - shares_of(np.repeat(np.arange(3), 20), 3).sum()
    assert 0.5 < rare < 0.7  # nine in fifteen are stated once
    assert 0 <= again < 0.02


@pytest.mark.parametrize("evenly", [True, False])
def test_the_most_frequent_of_few_is_as_frequent_elsewhere(evenly: bool) -> None:
    """On average of many draws. Counted, that of six alike is 0.08 too frequent."""
    rng = np.random.default_rng(0)
    true = np.full(6, 1 / 6) if evenly else 1 / np.arange(1, 7) / (1 / np.arange(1, 7)).sum()
    found = [shares_of(rng.choice(6, 40, p=true), 6) for _ in range(40)]
    off = np.mean([x.max() - true[x.argmax()] for x in found])
    assert -0.08 < off < 0.05


def merged() -> Pedigree:
    """Two founders with a merge, and its child."""
    nodes = tuple(Node(x, "", "npz", "a", 1) for x in "abmc")
    edges = (Edge("a", "m", "merge"), Edge("b", "m", "merge"), Edge("m", "c", "lora"))
    graph = ModelGraph("", nodes, edges)
    return pedigree(graph)


@pytest.mark.parametrize("codes", [[0, 1, -1, -1], [-1, 1, 0, -1], [0, -1, -1, 1], [-1, -1, 1, 1]])
def test_a_merge_takes_after_one_of_its_parents(codes: list[int]) -> None:
    check_category(merged(), codes, [0.8, 0.6, 0.9])


def jointly(p: Pedigree, drift: numbers.Drift) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of all rows: x = A x + b + e."""
    a, b = np.zeros((p.rows, p.rows)), np.zeros(p.rows)
    e = np.zeros(p.rows)
    b[p.roots], e[p.roots] = drift.mean, drift.variance
    for link, (parent, child) in enumerate(zip(p.parent, p.child, strict=True)):
        kind = p.kind[link]
        a[child, parent] = drift.pull[kind] * p.weight[link]
        b[child] = drift.shift[kind]
        e[child] = drift.spread[kind] * p.length[link] ** drift.power
    way = np.linalg.inv(np.eye(p.rows) - a)
    return way @ b, way @ np.diag(e) @ way.T


def check_numbers(p: Pedigree, values: list[float | None]) -> None:
    kinds = len(p.kinds)
    drift = numbers.Drift(
        np.linspace(0.5, 1, kinds),
        np.linspace(-0.2, 0.1, kinds),
        np.linspace(0.3, 0.8, kinds),
        1.0,
        0.2,
        1.5,
    )
    x = np.full(p.rows, np.nan)
    x[: p.models] = [np.nan if v is None else v for v in values[: p.models]]
    found = numbers.estimates(p, x, drift)
    mean, covariance = jointly(p, drift)
    for row in range(p.rows):
        told = [k for k in range(p.rows) if np.isfinite(x[k]) and k != row]
        to = covariance[row, told] @ np.linalg.inv(covariance[np.ix_(told, told)])
        assert found.mean[row] == pytest.approx(mean[row] + to @ (x[told] - mean[told]), abs=1e-5)
        left = covariance[row, row] - to @ covariance[told, row]
        assert found.variance[row] == pytest.approx(left, rel=1e-5)


@given(forests(), st.lists(st.none() | st.floats(-2, 2), min_size=5, max_size=5))
@settings(max_examples=25, deadline=None)
def test_numbers_are_those_of_the_joint_density(p: Pedigree, values: list[float | None]) -> None:
    check_numbers(p, values)


@pytest.mark.parametrize(
    "values", [[1.0, -1.0, None, None], [None, -1.0, 0.5, None], [1.0, None, None, 0.3]]
)
def test_a_merge_is_the_mean_of_its_parents(values: list[float | None]) -> None:
    check_numbers(merged(), values)


def test_a_family_states_what_it_does_drawn_towards_what_all_do() -> None:
    p = forest([-1, -1, -1, 2], [0] * 4, [0.1] * 4)
    codes = np.full(p.rows, -1)
    codes[:4] = [1, 0, 0, 0]
    states = categories.States.of(p, codes, 2, np.zeros(p.families, dtype=np.intp), closed=True)
    found = states.habits(p, codes, np.full((p.families, 2), 0.5))[p.family[2]]
    np.testing.assert_allclose(found, [(2 + 1) / (2 + 2), 1 / (2 + 2)])


def test_a_belief_that_is_wrong_gives_way_to_what_the_family_states() -> None:
    rng = np.random.default_rng(0)
    place = np.zeros(300, dtype=np.intp)
    place[:60] = 1
    base, family = np.full((300, 2), 0.5), np.tile([0.8, 0.2], (300, 1))
    wrong = rng.dirichlet((1, 1), 300)
    found = trials.Sure.of_those(wrong, family, base, place, np.ones(300))
    np.testing.assert_allclose(found.of(wrong, family, base).mean(0), [0.8, 0.2], atol=0.05)
    assert found.family > 0.9


def test_rates_are_fitted_to_many_families_not_to_a_few_large_ones() -> None:
    """Each model is as likely looked at as any other, of what is too large for that nothing."""
    sizes = [300] + [20] * 30 + [1] * 600
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    parents = np.repeat(roots, sizes)
    parents[roots] = -1
    p = forest(parents.tolist(), [0] * len(parents), [0.1] * len(parents))
    told = np.zeros(p.rows, dtype=bool)
    told[: p.models] = True
    drawn = guesses._drawn(p, told, 250)
    rows = drawn[p.family]
    assert rows.sum() <= 250
    assert drawn.sum() > 60
    assert not drawn[p.family[0]]
    told[300:] = False
    assert guesses._drawn(p, told, 250).nonzero()[0].tolist() == [p.family[0]]


@given(forests(), st.lists(st.booleans(), min_size=5, max_size=5))
@settings(max_examples=30, deadline=None)
def test_how_far_what_is_stated_is(p: Pedigree, says: list[bool]) -> None:
    told = np.zeros(p.rows, dtype=bool)
    told[: p.models] = says[: p.models]
    ends = np.concatenate([[p.parent, p.child], [p.child, p.parent]], axis=1)
    joined = csr_array((np.ones(ends.shape[1]), ends), shape=(p.rows, p.rows))
    far = dijkstra(joined, unweighted=True)[:, told].min(1, initial=np.inf)
    expected = np.where(np.isinf(far), trials.FAR + 1, np.minimum(far, trials.FAR))
    assert trials.nearest(p, told).tolist() == expected.tolist()


def test_parts_hold_branches_and_single_models() -> None:
    p = forest([-1, *range(59)], [0] * 60, [0.1] * 60)
    fold = trials.folds(p)
    alone = fold[p.parent] != fold[p.child]
    assert set(fold.tolist()) == set(range(trials.FOLDS))
    assert 0.2 < alone.mean() < 0.6  # of links, half are cut, and some cut ends meet again


def test_what_was_tried_weighs_as_what_is_wanted() -> None:
    tried, wanted = np.array([2] * 90 + [4] * 10), np.array([2] * 50 + [4] * 50)
    weight = trials.weights(tried, wanted)
    assert weight[tried == 4].sum() == pytest.approx(weight[tried == 2].sum())
    off = np.where(tried == 4, 9.0, 1.0)
    assert trials.quantile(off, np.ones(100), 0.85) == 1
    assert trials.quantile(off, weight, 0.85) == 9


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30), st.floats(0.5, 0.95))
def test_without_weights_the_quantile_is_that_of_conformal_intervals(
    values: list[float], part: float
) -> None:
    place = int(np.ceil(part * (len(values) + 1) - 1e-9)) - 1
    expected = sorted(values)[min(place, len(values) - 1)]
    assert trials.quantile(np.array(values), np.ones(len(values)), part) == expected
