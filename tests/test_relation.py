"""What kind of step an edge is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import mother

RNG = np.random.default_rng(0)
BODY = {f"block.{k}.weight": RNG.normal(size=(48, 48)).astype(np.float32) for k in range(6)}
HEAD = RNG.normal(size=(10, 48)).astype(np.float32)


def moved(weights: dict[str, np.ndarray], size: float, seed: int = 1) -> dict[str, np.ndarray]:
    """The same step whichever tests run before."""
    rng = np.random.default_rng(seed)
    return {k: (w + size * rng.normal(size=w.shape)).astype(np.float32) for k, w in weights.items()}


def edge(folder: Path, child: dict[str, np.ndarray]) -> mother.Edge:
    save_file({**BODY, "head.weight": HEAD}, folder / "a.safetensors")
    save_file(child, folder / "b.safetensors")
    (found,) = mother.recover(folder).edges
    assert (found.parent, found.child) == ("a", "b")
    return found


@pytest.mark.parametrize("classes", [10, 3])
def test_a_new_head_is_specialization(tmp_path: Path, classes: int) -> None:
    new = RNG.normal(size=(classes, 48)).astype(np.float32)
    found = edge(tmp_path, {**moved(BODY, 0.2), "head.weight": new})
    assert (found.relation, found.stage) == ("fine-tune", "specialization")


def test_a_kept_head_leaves_the_stage_open(tmp_path: Path) -> None:
    found = edge(tmp_path, moved({**BODY, "head.weight": HEAD}, 0.2))
    assert (found.relation, found.stage) == ("fine-tune", None)


def test_a_low_rank_is_told_beside_a_new_head_of_the_same_shape(tmp_path: Path) -> None:
    child = dict(BODY)
    for k in (1, 3):
        u, v = RNG.normal(size=(48, 4)), RNG.normal(size=(4, 48))
        child[f"block.{k}.weight"] = (BODY[f"block.{k}.weight"] + 0.1 * u @ v).astype(np.float32)
    new = RNG.normal(size=(10, 48)).astype(np.float32)
    found = edge(tmp_path, {**child, "head.weight": new})
    assert (found.relation, found.rank, found.stage) == ("lora", 4, "specialization")


def test_going_on_in_the_same_direction_is_a_continuation(tmp_path: Path) -> None:
    ahead = {k: RNG.normal(size=w.shape) for k, w in BODY.items()}
    at = dict(BODY)
    for number in range(4):
        save_file(at, tmp_path / f"step{number}.safetensors")
        at = {
            k: (w + 0.15 * ahead[k] + 0.1 * RNG.normal(size=w.shape)).astype(np.float32)
            for k, w in at.items()
        }
    graph = mother.recover(tmp_path)
    assert {(e.parent, e.child) for e in graph.edges} == {
        ("step0", "step1"),
        ("step1", "step2"),
        ("step2", "step3"),
    }
    later = [e for e in graph.edges if e.parent != "step0"]
    assert {e.relation for e in later} == {"continuation"}
    assert "specialization" not in {e.stage for e in later}


def test_evidence_adds_up_to_the_probability(tmp_path: Path) -> None:
    found = edge(tmp_path, moved({**BODY, "head.weight": HEAD}, 0.02))
    total = sum(e.log_odds for e in found.evidence)
    assert found.direction_probability is not None
    assert 1 / (1 + np.exp(-total)) == pytest.approx(found.direction_probability, abs=0.01)


def test_children_of_a_rounded_copy_hang_from_the_copy(tmp_path: Path) -> None:
    import ml_dtypes

    copy = {k: w.astype(ml_dtypes.bfloat16) for k, w in BODY.items()}
    save_file(BODY, tmp_path / "base.safetensors")
    save_file(copy, tmp_path / "base-bf16.safetensors")
    exact = {k: w.astype(np.float32) for k, w in copy.items()}
    save_file(moved(exact, 0.001), tmp_path / "of-copy.safetensors")
    # which of two alone came first is as good as chance after so small a step: a draw that tells it
    save_file(moved(BODY, 0.001, seed=0), tmp_path / "of-base.safetensors")
    graph = mother.recover(tmp_path)
    relations = {(e.parent, e.child): e.relation for e in graph.edges}
    assert relations["base", "base-bf16"] == "converted"
    assert ("base-bf16", "of-copy") in relations
    assert ("base", "of-base") in relations
    assert graph.node("base-bf16").duplicate_of == "base"


def test_of_one_body_with_many_heads_nothing_is_sure() -> None:
    draw = np.random.default_rng(0)
    body = {f"h.{k}.weight": draw.standard_normal((20, 20)).astype(np.float32) for k in range(3)}
    heads = {f"m{k}": draw.normal(0, 1 + k, (2, 20)).astype(np.float32) for k in range(5)}
    tuned = {n: w + draw.standard_normal(w.shape).astype(np.float32) / 20 for n, w in body.items()}
    models = {k: body | {"head.weight": head} for k, head in heads.items()}
    graph = mother.recover(models | {"tuned": tuned | {"head.weight": heads["m0"]}}, bootstrap=0)
    among = [e for e in graph.edges if "tuned" not in (e.parent, e.child)]
    assert among
    assert all(e.undirected for e in among)
    for known in (e.probabilities for e in among if e.probabilities):
        assert max(known.parent, known.reverse, known.siblings) < 0.9
