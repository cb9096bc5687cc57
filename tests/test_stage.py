"""The stage of training of an edge."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mother
from mother.evidence.stage import Step, generalization, reasons_of, stage_of

STEPS = st.builds(
    Step,
    st.floats(0, 10),
    st.booleans(),
    st.booleans(),
    st.integers(1, 1000),
    st.sampled_from([True, False, None]),
    st.one_of(st.just(math.nan), st.floats(-100, 100)),
    st.floats(-20, 20),
)


@given(STEPS)
def test_reasons_add_up_to_the_probability(step):
    p = generalization(step)
    assert 0 <= p <= 1
    odds = sum(odds for odds, _ in reasons_of(step))
    assert math.isclose(p, np.exp(odds) / (1 + np.exp(odds)), rel_tol=1e-9, abs_tol=1e-12)
    assert stage_of(p) in (("generalization", None) if p > 0.5 else ("specialization", None))


def models():
    """A run in four checkpoints, and five tunings of its last."""
    draws = np.random.default_rng(0)
    way = draws.standard_normal((6, 40, 50))
    run = [draws.standard_normal((6, 40, 50))]
    for size in (0.9, 0.8, 0.7):
        run.append(run[-1] + size * (way + 0.3 * draws.standard_normal(way.shape)))
    tuned = [run[-1] + 0.02 * draws.standard_normal(way.shape) for _ in range(5)]
    named = {f"run-{k}": w for k, w in enumerate(run)} | {f"t-{k}": w for k, w in enumerate(tuned)}
    return {name: {f"h.{k}.w": x for k, x in enumerate(w)} for name, w in named.items()}


@pytest.fixture(scope="module")
def graph():
    return mother.recover(models(), bootstrap=0)


def test_a_run_goes_on_and_what_many_were_made_of_was_done(graph):
    tunings = [e for e in graph.edges if e.child.startswith("t-")]
    assert {(e.parent, e.stage) for e in tunings} == {("run-3", "specialization")}
    run = [e for e in graph.edges if e.child.startswith("run-") and not e.undirected]
    assert len(run) > 1
    assert "generalization" in {e.stage for e in run}


def test_reasons_are_kept(graph):
    again = mother.ModelGraph.from_json(graph.to_json())
    for e in again.edges:
        odds = sum(x.log_odds for x in e.stage_evidence)
        assert e.generalization == pytest.approx(1 / (1 + math.exp(-odds)), abs=1e-3)
    assert again.to_json() == graph.to_json()


def test_two_models_alone_are_told_alike():
    two = dict(list(models().items())[2:4])
    (edge,) = mother.recover(two, bootstrap=0).edges
    compared = mother.compare(*two.values())
    assert compared.generalization == pytest.approx(edge.generalization, abs=1e-4)


def test_the_papers_method_is_told_its_stages():
    graph = mother.recover(models(), method="mother", trees=1)
    assert {(e.stage, e.generalization) for e in graph.edges} == {(None, None)}
