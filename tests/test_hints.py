"""Hints from files: what they say, apart from the weights, and whether that agrees."""

from __future__ import annotations

import json
import os
import unicodedata
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from kit import model, run, save, tuned

import mother
from mother.graph import Edge, Hint, ModelGraph, Node, Tree
from mother.views.explanation import explanation
from mother.views.hints import HEADING, hints
from mother.views.terminal import forest

START = datetime(2024, 5, 1, 12, tzinfo=UTC).timestamp()
ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
EVIL = "org/\x1b[31mevil\u202e\x07"


def put(folder: Path, weights: dict[str, np.ndarray], days: int, **files: str) -> Path:
    """A transformers folder; its weights were written some days after START."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    metadata = {"base_model": files.pop("metadata")} if "metadata" in files else None
    stored = folder / "model.safetensors"
    safetensors.numpy.save_file(weights, stored, metadata)
    os.utime(stored, (START, START + 86400 * days))
    for name, text in files.items():
        (folder / name.replace("_json", ".json").replace("_md", ".md")).write_text(text)
    return folder


def card(*bases: str) -> str:
    return "\n".join(["---", "base_model:", *(f"  - {json.dumps(b)}" for b in bases), "---", ""])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """base -> kid -> grandkid, base -> twin, base -> early; and a stranger."""
    root = tmp_path_factory.mktemp("hints") / "lab"
    base = model(1)
    kid = tuned(base, 1)
    put(root / "base", base, 0, README_md=card("lab/kid"))
    put(root / "kid", kid, 1, README_md=card("lab/base"), metadata="lab/stranger")
    put(root / "grandkid", tuned(kid, 2), 2, config_json='{"_name_or_path": "lab/base"}')
    put(root / "twin", tuned(base, 3), 3, README_md=card("lab/kid"))
    put(root / "early", tuned(base, 4), -1, README_md=card(EVIL))
    put(root / "merged", tuned(base, 5), 0, README_md=card("lab/base", "lab/kid"))
    put(root / "stranger", model(2), 9)
    return root


@pytest.fixture(scope="module")
def graph(lab: Path) -> ModelGraph:
    return mother.recover(lab, hints=True)


def test_claims_against_edges(graph: ModelGraph) -> None:
    assert {(e.parent, e.child) for e in graph.edges} == {
        ("base", "kid"),
        ("base", "twin"),
        ("base", "early"),
        ("base", "merged"),
        ("kid", "grandkid"),
    }
    found = {
        (h.model, Path(h.source).name, h.parent): h.agrees for h in graph.hints if h.kind == "claim"
    }
    assert found == {
        ("base", "README.md", "kid"): False,  # the wrong way round
        ("kid", "README.md", "base"): True,
        ("kid", "model.safetensors", "stranger"): False,
        ("grandkid", "config.json", "base"): True,  # an ancestor
        ("twin", "README.md", "kid"): False,  # a sibling
        ("early", "README.md", None): None,  # not among the inputs
        ("merged", "README.md", "base"): True,
        ("merged", "README.md", "kid"): None,  # a tree shows one parent of a merge
    }
    assert next(h.says for h in graph.hints if h.model == "kid") == "base_model: lab/base"


def test_dates_against_edges(graph: ModelGraph) -> None:
    found = {h.model: (h.says, h.parent, h.agrees) for h in graph.hints if h.kind == "date"}
    assert found == {
        "base": ("2024-05-01T12:00:00Z", None, None),
        "kid": ("2024-05-02T12:00:00Z", "base", True),
        "grandkid": ("2024-05-03T12:00:00Z", "kid", True),
        "twin": ("2024-05-04T12:00:00Z", "base", True),
        "early": ("2024-04-30T12:00:00Z", "base", False),
        "merged": ("2024-05-01T12:00:00Z", "base", None),  # copied together
        "stranger": ("2024-05-10T12:00:00Z", None, None),
    }


def test_hints_change_nothing_else(lab: Path, graph: ModelGraph) -> None:
    without = mother.recover(lab)
    assert without.hints == ()
    assert "hints" not in json.loads(without.to_json())
    content = json.loads(graph.to_json())
    assert [set(h) for h in content["hints"]] == [
        {"model", "kind", "source", "says", "parent", "agrees"}
    ] * len(graph.hints)
    del content["hints"]
    assert content == json.loads(without.to_json())
    assert ModelGraph.from_json(graph.to_json()) == graph


def test_a_model_that_can_not_be_compared_is_unknown(tmp_path: Path) -> None:
    put(tmp_path / "m/small", model(3, layers=2, width=40), 0)
    put(tmp_path / "m/large", model(1), 1, README_md=card("m/small"))
    (hint,) = (h for h in mother.recover(tmp_path / "m", hints=True).hints if h.kind == "claim")
    assert (hint.model, hint.parent, hint.agrees) == ("large", "small", None)


def test_a_card_beside_several_files_speaks_of_none(tmp_path: Path) -> None:
    base = model(1)
    for name, weights in (("one", base), ("two", tuned(base, 1))):
        safetensors.numpy.save_file(weights, tmp_path / f"{name}.safetensors")
    (tmp_path / "README.md").write_text(card("one"))
    kinds = {h.kind for h in mother.recover(tmp_path, hints=True).hints}
    assert kinds == {"date"}


@pytest.mark.parametrize("seconds", [0, -86400, 2**60, -(2**60)])
def test_impossible_dates(lab: Path, seconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mother.graph.hints._written", lambda c: (seconds * 10**9, c.id))
    found = [h for h in mother.recover(lab / "base", hints=True).hints if h.kind == "date"]
    assert len(found) == 1
    assert ("1970" in found[0].says) == (seconds != -86400)


def test_the_command_shows_them_apart(lab: Path, tmp_path: Path) -> None:
    plain = run("recover", lab)
    output = tmp_path / "g.json"
    recovered = run("recover", lab, "--hints", "-o", output)
    shown = run("show", output)
    assert recovered.code == shown.code == 0
    assert recovered.out == f"{shown.out}written: {output}\n"
    assert HEADING not in plain.out
    tree, rest = shown.out.split(HEADING)
    said, summary = rest.rstrip().rsplit("\n\n", 1)
    assert f"{tree.rstrip()}\n\n{summary}" == plain.out.rstrip()
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "disagrees, earlier than its parent base" in said
    assert len(said.strip().splitlines()) == len(ModelGraph.load(output).hints)
    assert recovered.err == shown.err
    explained = run("recover", lab, "--hints", "--explain").out
    assert "not from the weights: claim base_model: lab/base" in explained
    assert "not from the weights:" not in run("recover", lab, "--explain").out


@given(st.text(), st.text(), st.sampled_from([True, False, None]), st.sampled_from(["claim", "x"]))
def test_hostile_hints(said: str, source: str, agrees: bool | None, kind: str) -> None:
    nodes = tuple(Node(n, n, "npz", "a", 1) for n in ("a", "b\x1b"))
    graph = ModelGraph(
        "gram",
        nodes,
        (Edge("a", "b\x1b", "fine-tune"),),
        (Tree("a", ("a", "b\x1b")),),
        hints=(Hint("b\x1b", kind, source, said, "a", agrees),),
    )
    assert ModelGraph.from_json(graph.to_json()) == graph
    lines = [*hints(graph), *explanation(graph)]
    assert not any(unicodedata.category(c) in ACTING for line in lines for c in line)
    assert sum("not from the weights" in line for line in lines) >= 2


@pytest.mark.parametrize(
    "hint",
    [
        {"model": "nobody", "kind": "claim", "source": "x", "says": "x"},
        {"model": "a", "kind": "claim", "source": "x", "says": "x", "parent": "nobody"},
        {"model": "a", "kind": "claim", "source": "x", "says": "x", "agrees": "yes"},
        {"model": "a", "kind": "claim", "source": 3, "says": "x"},
        {"model": "a"},
        "hint",
    ],
)
def test_broken_hints_are_refused(hint: object) -> None:
    graph = ModelGraph("gram", (Node("a", "a", "npz", "a", 1),), (), (Tree("a", ("a",)),))
    content = json.loads(graph.to_json()) | {"hints": [hint]}
    with pytest.raises(ValueError, match="model graph"):
        ModelGraph.from_json(json.dumps(content))


def test_dates_of_one_second_are_told_apart(tmp_path):
    import os

    import numpy as np

    import mother

    weights = np.random.default_rng(0).normal(size=(6, 64, 64)).astype("f4")
    tuned = weights + 0.1 * np.random.default_rng(1).normal(size=weights.shape).astype("f4")
    for name, layers, when in (("a", weights, 5), ("b", tuned, 7)):
        path = tmp_path / f"{name}.npz"
        np.savez(path, **{f"h.{k}.weight": w for k, w in enumerate(layers)})
        os.utime(path, ns=(10**18 + when, 10**18 + when))
    graph = mother.recover(tmp_path, hints=True)
    (child,) = [hint for hint in graph.hints if hint.agrees is not None]
    assert child.says.endswith((".000000005Z", ".000000007Z"))


def test_a_step_s_number_is_a_claim_of_its_name(tmp_path):
    """The same weights under names in their order and in another one: the edges are those of the
    weights, and the hint says which names fit."""
    first = model(1)
    weights = [first, tuned(first, 1), tuned(tuned(first, 1), 2)]
    found = {}
    for name, order in (("right", (500, 1000, 1500)), ("wrong", (500, 1500, 1000))):
        for k, step in enumerate(order):
            save(tmp_path / name / f"out/checkpoint-{step}/model.safetensors", weights[k])
        graph = mother.recover(tmp_path / name, hints=True)
        of = {f"checkpoint-{step}": k for k, step in enumerate(order)}
        edges = {(of[e.parent], of[e.child], e.direction_probability) for e in graph.edges}
        steps = {h.says: (h.parent, h.agrees) for h in graph.hints if h.kind == "step"}
        found[name] = edges, steps
    assert found["right"][0] == found["wrong"][0]
    assert {(p, c) for p, c, _ in found["right"][0]} == {(0, 1), (1, 2)}
    expected = {
        "checkpoint 1000, after checkpoint 500": ("checkpoint-500", True),
        "checkpoint 1500, after checkpoint 1000": ("checkpoint-1000", True),
    }
    assert found["right"][1] == expected
    told = found["wrong"][1]
    assert told["checkpoint 1500, after checkpoint 1000"] == ("checkpoint-1000", False)
    assert not any(h.kind == "step" for h in mother.recover(tmp_path / "wrong").hints)


def test_steps_stand_in_their_order():
    names = [f"run/checkpoint-{k}" for k in (500, 1000, 20000)]
    nodes = tuple(Node(n, n, "npz", "a", 1) for n in ("base", *names))
    edges = tuple(Edge("base", n, "fine-tune") for n in names)
    graph = ModelGraph("gram", nodes, edges, (Tree("base", ("base", *names)),))
    lines = [line.plain for line in forest(graph)]
    assert [n for line in lines for n in names if f"{n} " in line] == names
