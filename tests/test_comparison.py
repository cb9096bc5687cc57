"""`mother compare` explains itself: sentences and figures against numpy's own."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from kit import model, run, save, tuned

import mother
from mother.graph.comparison import Comparison
from mother.views.comparing import layers, unsure

ROOT = model(0)
EVIL = "layer\x1b[31m\u202e\n" + "x" * 200


#: kinds of evidence whose log-odds add up to those of the direction
PARTS = ("layers", "shrink", "trained", "siblings")


def kinds(c: Comparison) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for e in c.evidence:
        found.setdefault(e.kind, []).append(e.log_odds)
    return found


def says(c: Comparison, kind: str) -> str:
    return "; ".join(e.says for e in c.evidence if e.kind == kind)


@pytest.fixture
def pair(tmp_path: Path):
    """Compares two sets of weights."""

    def compared(a, b, **options) -> Comparison:
        one, two = save(tmp_path / "one.safetensors", a), save(tmp_path / "two.safetensors", b)
        return mother.compare(one, two, **options)

    return compared


def cosine(a, b):
    a, b = (x.astype(np.float64).ravel() for x in (a, b))
    return a @ b / np.sqrt(a @ a * (b @ b))


def test_the_parts_add_up_to_the_direction(pair) -> None:
    c = pair(ROOT, tuned(ROOT, 1, by=0.1))
    assert (c.relation, c.parent, c.stage) == ("fine-tune", "a", None)
    found = kinds(c)
    direction = sum(sum(found.get(kind, ())) for kind in PARTS)
    assert 1 / (1 + math.exp(-direction)) == pytest.approx(c.direction_probability, abs=1e-3)
    told = [x.log_odds for x in c.layers if x.log_odds is not None]
    assert sum(told) == pytest.approx(sum(found["layers"]), abs=0.01)
    assert sum(x for x in told if x < 0) == pytest.approx(min(0, min(found["layers"])), abs=0.01)
    assert [x.name for x in c.layers if x.log_odds is None] == [
        x.name for x in c.layers if x.name.endswith("bias")
    ]


def test_layers_are_told_from_the_parent_whichever_is_named_first(pair) -> None:
    kid = tuned(ROOT, 1, by=0.1)
    one, other = pair(ROOT, kid), pair(kid, ROOT)
    assert (one.parent, other.parent) == ("a", "b")
    assert one.from_parent == one.layers
    for here, there in zip(one.layers, other.from_parent, strict=True):
        for figure in ("change", "polarity", "log_odds"):
            expected = getattr(here, figure)
            told = expected if expected is None else pytest.approx(expected, rel=1e-4, abs=1e-4)
            assert getattr(there, figure) == told
    shown = [line for line in layers(other) if ".weight" in line]
    assert shown
    assert all(float(line.split()[3]) < 0.5 for line in shown)  # a child's polarity


@pytest.mark.parametrize("seed", range(4))
def test_an_unsure_direction_adds_up_too(pair, seed: int) -> None:
    little = model(0, layers=2, width=24)
    c = pair(little, tuned(little, seed, by=0.2))
    p = c.direction_probability
    assert p is not None
    assert 0 < p < 0.999
    direction = sum(sum(kinds(c).get(kind, ())) for kind in PARTS)
    assert math.log(p / (1 - p)) == pytest.approx(direction, abs=0.01)


def test_either_order_says_the_same(pair) -> None:
    kid = tuned(ROOT, 1)
    one, two = pair(ROOT, kid), pair(kid, ROOT)
    assert (one.parent, two.parent) == ("a", "b")
    assert [e.kind for e in one.evidence] == [e.kind for e in two.evidence]
    for x, y in zip(one.evidence, two.evidence, strict=True):
        assert x.log_odds == pytest.approx(y.log_odds, abs=0.01)
    for a, b in zip(one.layers, two.layers, strict=True):
        assert a.name == b.name
        assert (a.log_odds is None) == (b.log_odds is None)
        assert (a.log_odds or 0) == pytest.approx(-(b.log_odds or 0), abs=1e-3)


def test_slopes_and_cosines_are_numpys(pair) -> None:
    kid = tuned(ROOT, 1, by=0.5)
    c = pair(ROOT, kid)
    matrices = [n for n in ROOT if n.endswith("weight")]
    slopes = [
        np.vdot(ROOT[n].astype("f8"), kid[n].astype("f8")) / np.sum(of[n].astype("f8") ** 2)
        for of in (ROOT, kid)
        for n in matrices
    ]
    half = len(matrices)
    for part in (slopes[:half], slopes[half:]):
        low, high = np.quantile(part, [0.1, 0.9])
        assert f"{low:.3g} to {high:.3g}" in says(c, "layers")
    middle = sorted(cosine(ROOT[n], kid[n]) for n in matrices)[half // 2 - 1]
    assert says(c, "kinship").startswith(f"cosine {middle:.2g} in the middle layer, layer")
    assert says(c, "kinship").endswith("where chance allows 0.1: relatives")
    # five sigma at the threshold of 0.1, so sigma is 0.02: log of the normal density's ratio
    assert kinds(c)["kinship"][0] == pytest.approx((middle / 0.02) ** 2 / 2 - 12.5, rel=1e-3)


def test_strangers_say_how_little(pair) -> None:
    other = model(9)
    c = pair(ROOT, other)
    middle = sorted(cosine(ROOT[n], other[n]) for n in ROOT if n.endswith("weight"))[5]
    assert c.relation == "strangers"
    reason, hidden = c.evidence
    assert (reason.kind, hidden.kind) == ("kinship", "relabelled")
    assert hidden.log_odds > 40
    assert c.relabelled.p > 0.01
    assert reason.log_odds == pytest.approx(12.5, abs=0.5)
    assert reason.says.startswith(f"cosine {middle:.2g} in the middle layer")
    assert reason.says.endswith("chance allows 0.1: strangers")
    assert all(x.log_odds is None for x in c.layers)


def test_siblings_say_why(pair) -> None:
    c = pair(tuned(ROOT, 1), tuned(ROOT, 2))
    assert c.relation == "siblings"
    assert kinds(c)["polarity"][0] > 0
    assert kinds(c)["kinship"][0] > 0
    assert f"polarity {c.polarity:.2g}" in says(c, "polarity")


def test_copies_say_why(pair) -> None:
    whole = f"all {sum(w.size for w in ROOT.values()):,} weights are equal".replace(",", " ")
    c = pair(ROOT, ROOT)
    assert (c.relation, c.parent) == ("duplicate", None)
    assert [e.says for e in c.evidence] == [f"{whole}; that doesn't tell which was first"]
    rounded = {n: w.astype(ml_dtypes.bfloat16) for n, w in ROOT.items()}
    c = pair(rounded, ROOT)
    assert (c.relation, c.parent) == ("converted", "b")
    assert says(c, "equal") == f"{whole} but for exact rounding (as bfloat16 and float32)"
    assert "digits" in says(c, "number format")
    # the same values in a wider type are no more precise
    c = pair(rounded, {n: w.astype(np.float32) for n, w in rounded.items()})
    assert (c.relation, c.parent) == ("duplicate", None)
    assert "(as bfloat16 and float32)" in says(c, "equal")


def test_what_kind_of_step_it_was(pair) -> None:
    draw = np.random.default_rng(5)
    low = dict(ROOT)
    for k in range(6):
        update = 0.1 * draw.standard_normal((64, 4)) @ draw.standard_normal((4, 64))
        low[f"layer{k}.weight"] = (low[f"layer{k}.weight"] + update).astype("f4")
    c = pair(ROOT, low)
    assert (c.relation, c.stage, c.rank) == ("lora", "specialization", 4)
    assert says(c, "frozen") == "18 of 24 layers did not change"
    assert "rank 4" in says(c, "low rank")
    kid = tuned(ROOT, 1)
    kid["layer11.weight"] = model(8)["layer11.weight"]
    c = pair(ROOT, {n: w.astype(np.float16) for n, w in kid.items()})
    assert (c.relation, c.stage) == ("fine-tune", "specialization")
    assert says(c, "new layers").endswith(": layer11.weight")
    assert "stored as float32 and float16" in says(c, "number format")
    assert all(sum(kinds(c)[kind]) == 0 for kind in ("new layers", "number format"))


def test_a_probe_leaves_the_direction_open(pair) -> None:
    """All is shared but one new head: related, and nothing tells who was first."""
    probe = ROOT | {"layer11.weight": model(8)["layer11.weight"]}
    c = pair(ROOT, probe)
    assert (c.relation, c.parent) == ("relatives", None)
    assert says(c, "frozen") == "23 of 24 layers did not change"


def test_architectures_leave_kinship_open(pair) -> None:
    c = pair(ROOT, model(3, layers=2, width=40))
    assert (c.relation, c.parent, c.kinship) == ("unknown", None, None)
    (reason,) = c.evidence
    assert (reason.kind, reason.log_odds) == ("architecture", 0)


def test_what_was_not_read_is_told(pair) -> None:
    mask = {"mask": np.array([0, -np.inf], np.float32), "ids": np.arange(3), "extra": np.ones(3)}
    c = pair(ROOT | mask, tuned(ROOT, 1) | {"mask": mask["mask"]})
    assert set(c.not_compared) == {
        "a: extra: in no other checkpoint",
        "a: 1 not of floating-point numbers: ids",
        "both: mask: a mask, not finite in either",
    }


def test_the_command_explains(tmp_path: Path) -> None:
    base = {EVIL if n == "layer3.weight" else n: w for n, w in ROOT.items()}
    kid = tuned(base, 1)
    kid[EVIL] += kid[EVIL]
    one = save(tmp_path / "one.safetensors", base)
    two = save(tmp_path / "two.safetensors", kid)
    shown = run("compare", one, two)
    assert shown.code == 0
    assert "\x1b" not in shown.out
    assert "\u202e" not in shown.out
    lines = shown.out.splitlines()
    assert any(line.startswith("  kinship") and " for: cosine" in line for line in lines)
    assert any(line.startswith("stage      unknown") for line in lines)
    start = next(k for k, line in enumerate(lines) if line.startswith("loudest"))
    loudest = [float(line.split()[-1]) for line in lines[start + 2 : start + 7]]
    content = json.loads(run("compare", one, two, "--json").out)
    assert content == json.loads(json.dumps(asdict(mother.compare(one, two))))
    odds = sorted((x["log_odds"] or 0 for x in content["layers"]), key=lambda x: -abs(x))
    assert loudest == pytest.approx(odds[:5], abs=1e-3)
    assert content["evidence"][0].keys() == {"kind", "log_odds", "says"}
    # log-odds are shown for the direction told, whichever came first
    turned = run("compare", two, one).out.splitlines()
    start = next(k for k, line in enumerate(turned) if line.startswith("loudest"))
    assert [float(x.split()[-1]) for x in turned[start + 2 : start + 7]] == pytest.approx(
        loudest, abs=2e-3
    )


def by_hand(draw: np.random.Generator, w: np.ndarray) -> np.ndarray:
    tuned = w + 0.05 * draw.standard_normal(w.shape)
    return np.where(np.abs(tuned) < 0.5, 0.0, tuned).astype(np.float32)


@pytest.mark.parametrize(
    "change",
    [
        lambda draw, w: w + 0.05 * draw.standard_normal(w.shape).astype(np.float32),
        lambda draw, w: w + 0.01 * np.sign(draw.standard_normal(w.shape)).astype(np.float32),
        lambda draw, w: w + np.outer(draw.random(len(w)), draw.random(w.shape[1])) / 9,
        lambda draw, w: np.clip(w, -1, 1),
        by_hand,
    ],
)
@pytest.mark.parametrize("larger", [{}, {"embed": (58, 40)}, {"h.4.weight": (40, 40)}])
def test_two_models_alone_are_told_as_in_a_folder_of_their_own(change, larger) -> None:
    draw = np.random.default_rng(0)
    shapes = {"embed": (50, 40)} | {f"h.{k}.weight": (40, 40) for k in range(4)}
    base = {n: draw.standard_normal(shape).astype(np.float32) for n, shape in shapes.items()}
    kid = {n: change(draw, w).astype(np.float32) for n, w in base.items()}
    for name, shape in larger.items():
        more = draw.standard_normal(shape).astype(np.float32)
        more[: len(kid.get(name, ()))] = kid.get(name, more[:0])
        kid[name] = more
    found, graph = mother.compare(base, kid), mother.recover({"a": base, "b": kid}, bootstrap=0)
    (edge,) = graph.edges
    same = ("relation", "distance", "rank", "probabilities", "scheme")
    assert found.parent == edge.parent
    assert [getattr(found, x) for x in same] == [getattr(edge, x) for x in same]
    assert unsure(found) == edge.undirected
