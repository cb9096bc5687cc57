"""Families too large for matrices: more bytes where a decision is within its error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import test_refinement
from kit import edges, in_full
from test_closer_characters import BUDGET, RANK, chain
from test_refinement import family

from mother import options
from mother.evidence.looks import Look
from mother.layouts import align
from mother.measures import measure
from mother.measures.products import Products
from mother.methods import gram
from mother.methods.refinement import REPLICATES, Refinement
from mother.methods.unsettled import unsettled
from mother.options import Options
from mother.recovery import recover_checkpoints
from mother.sketches.levels import MAX_LEVELS, TIMES
from mother.sketches.near import Near
from mother.sketches.replicates import offsets, replicates
from mother.sketches.samples import samples_of
from mother.sketches.sketch import sketch

OPTIONS = Options(bootstrap=0, threads=1)
MANY = 128  # models are too many for matrices, here


def loose(pairs):
    """Who is joined to whom."""
    return {frozenset(pair) for pair in pairs}


def larger(models, budget):
    of = {m.id: m for m in models}
    return Refinement(lambda c, level: sketch(of[c.id], budget * TIMES**level))


@pytest.mark.parametrize(("seed", "budget"), [(0, 2 << 10), (1, 6 << 10), (2, 2 << 10)])
def test_some_are_asked_and_the_tree_is_near_that_of_the_weights(seed, budget, monkeypatch):
    monkeypatch.setattr("mother.architecture.MANY", 10)
    models, parents = family(40, seed)
    true = {(f"m{p}", f"m{c}") for c, p in enumerate(parents) if p >= 0}
    small = [sketch(m, budget) for m in models]
    refinement = larger(models, budget)
    found = recover_checkpoints(small, OPTIONS, refinement=refinement)
    alone = recover_checkpoints(small, OPTIONS)
    assert len(loose(edges(found)) & loose(true)) >= len(true) - 2
    assert 0 < len(refinement.asked) < len(models)
    assert max(refinement.asked.values()) <= MAX_LEVELS
    again = recover_checkpoints(small, OPTIONS, refinement=larger(models, budget))
    assert again.to_json() == found.to_json()
    nobody = Refinement(lambda *_: None)
    none = recover_checkpoints(small, OPTIONS, refinement=nobody)
    assert (edges(none), nobody.asked) == (edges(alone), {})
    said = [line for node in none.nodes for line in node.notes]
    assert said
    assert all("within the error of what was looked at" in line for line in said)


def test_a_family_of_more_than_many(monkeypatch):
    monkeypatch.setattr("mother.architecture.MANY", MANY)
    models, parents = family(MANY + 28, 1)
    true = {(f"m{p}", f"m{c}") for c, p in enumerate(parents) if p >= 0}
    small = [sketch(m, 10 << 10) for m in models]
    refinement = larger(models, 10 << 10)
    found = edges(recover_checkpoints(small, OPTIONS, refinement=refinement))
    alone = edges(recover_checkpoints(small, OPTIONS))
    assert len(alone & true) < len(found & true)
    assert 0 < len(refinement.asked) < len(models) // 2


@pytest.mark.slow
def test_one_model_beyond_the_limit_loses_no_edge(monkeypatch):
    """The limit itself, with sketches that hold all: as many edges as all pairs find."""
    monkeypatch.setattr(test_refinement, "SHAPES", {f"{k}.weight": (48, 48) for k in range(4)})
    models, parents = family(options.MANY + 1, 1)
    true = {(f"m{p}", f"m{c}") for c, p in enumerate(parents) if p >= 0}
    small = [sketch(m, 1 << 20) for m in models]
    near = edges(recover_checkpoints(small, OPTIONS))
    monkeypatch.setattr("mother.architecture.MANY", len(models))
    every = edges(recover_checkpoints(small, OPTIONS))
    assert len(near & true) >= len(every & true) >= len(true) - 1


@pytest.mark.parametrize("seed", range(2))
def test_at_last_some_are_read_in_full_a_part_at_a_time(seed, monkeypatch):
    monkeypatch.setattr("mother.architecture.MANY", 10)
    monkeypatch.setattr("mother.methods.refinement.TOGETHER", 12)
    monkeypatch.setattr("mother.sketches.levels.MAX_LEVELS", 1)
    models, parents = family(40, seed)
    true = {(f"m{p}", f"m{c}") for c, p in enumerate(parents) if p >= 0}
    of, read, budget = {m.id: m for m in models}, [], 2 << 10

    def more(checkpoint, level):
        return sketch(of[checkpoint.id], budget * TIMES**level)

    def whole(group):
        assert len(group.checkpoints) <= 12
        read.append({c.id for c in group.checkpoints})
        return measure(in_full(group, of), l1=False)

    small = [sketch(m, budget) for m in models]
    refinement = Refinement(more, whole)
    found = edges(recover_checkpoints(small, OPTIONS, refinement=refinement))
    sketched = edges(recover_checkpoints(small, OPTIONS, refinement=Refinement(more)))
    assert len(found & true) >= len(true) - 2
    assert read
    assert {id for id, times in refinement.asked.items() if times > 1} == set.union(*read)
    nothing = Refinement(more, whole, read=0)
    assert edges(recover_checkpoints(small, OPTIONS, refinement=nothing)) == sketched


def test_whole_weights_leave_nothing_open(monkeypatch):
    monkeypatch.setattr("mother.architecture.MANY", 10)
    models, _ = family(20, 3)

    def more(checkpoint, level):
        raise AssertionError

    small = [sketch(m, 1 << 20) for m in models]
    (group,) = align(small)
    samples = samples_of(group)
    off = offsets(group, REPLICATES)
    assert not off.any()
    assert unsettled(samples, gram.recover(samples), off) == []


def test_offsets_are_those_of_the_replicates():
    models, _ = family(4, 1)
    (group,) = align([sketch(m, 8 << 10) for m in models])
    m, s, off = measure(group), samples_of(group), offsets(group, 3)
    gap = np.square(s.rows[0].astype(np.float64) - s.rows[2])
    for seed in range(3):
        heavier = np.add.reduceat(gap * (1 + off[:, seed]), s.columns[:-1]) * s.sizes / s.held
        wanted = replicates(group, m, [seed])[0].squared_distance[:, 0, 2]
        np.testing.assert_allclose(heavier, wanted, rtol=1e-4)


def test_what_is_near_is_taken_as_it_is_said():
    """A pair that larger samples put nearer to each other than to all others is an edge."""
    models, _ = family(24, 2)
    (group,) = align([sketch(m, 8 << 10) for m in models])
    s = samples_of(group)
    before = gram.recover(s)
    c = int(np.flatnonzero(before.parents >= 0)[-1])
    others = [k for k in range(24) if k not in (c, before.parents[c]) and before.parents[k] != c]
    q = others[0]
    i, j = np.triu_indices(24, 1)
    ii, jj, ij = s.products(i, j)
    (pair,) = np.flatnonzero((i == min(c, q)) & (j == max(c, q)))
    middle = (ii[:, pair] + jj[:, pair]) / 2
    ii[:, pair], jj[:, pair], ij[:, pair] = middle, 1.0001 * middle, middle
    near = Near(i, j, Products(ii, jj, ij, np.broadcast_to(s.chance, ii.shape)))
    after = gram.recover(replace(s, near=near))
    assert {c, q} in [{k, int(p)} for k, p in enumerate(after.parents)]
    assert near.among(np.array([c])).i.size == 0


@pytest.mark.parametrize("budget", [BUDGET, 1 << 30])
def test_ranks_tell_in_a_large_family_what_distances_do_not(budget, monkeypatch):
    """c undoes most of the step that made its parent b, and is nearer to a; small windows show no
    rank as high as that of both steps, and more bytes are asked for."""
    models = chain()
    (whole,) = align(models)
    by_distance = gram.recover(samples_of(whole)).parents.tolist()
    assert {0, 2} in [{c, p} for c, p in enumerate(by_distance)]
    monkeypatch.setattr("mother.architecture.MANY", 2)
    small = [sketch(m, budget) for m in models]
    graph = recover_checkpoints(small, OPTIONS, refinement=larger(models, budget))
    assert {frozenset(pair) for pair in edges(graph)} == {frozenset("b" + x) for x in "acde"}
    assert {e.rank for e in graph.edges} == {RANK}


def test_what_is_asked_about_the_families_of_a_hub_costs_no_more_than_its_models(monkeypatch):
    """Strangers by the hundred, each a family: none looks through what is held of the others."""
    models = [m for seed in range(12) for m in family(4, seed)[0]]
    (group,) = align([sketch(m, 2 << 10) for m in models])
    samples, every = samples_of(group), tuple(range(len(models)))
    looks = [Look(every, group), Look(every, group)]
    before = gram.recover(samples, looks)

    def looked(*_):
        raise AssertionError

    monkeypatch.setattr("mother.evidence.ways._is_one_matrix", looked)
    found = gram.recover(samples, looks)
    assert (found.parents >= 0).sum() == 36
    assert found.parents.tolist() == before.parents.tolist()
