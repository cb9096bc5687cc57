"""`mother check` on a pile of small trained models with cards, right and wrong."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import gguf
import numpy as np
import pytest
import torch
from kit import check_one_line, check_valid, run
from safetensors.torch import load_file, save_file
from test_trained import REGIMES, Weights, train

import mother.gate
from mother.gate import Policy

SARIF_SCHEMA = json.loads(
    (Path(__file__).parent / "data" / "sarif-2.1.0-rtm.5.json").read_text(encoding="utf-8")
)
NC = "cc-by-nc-4.0"
#: model -> what its training is drawn by, parent, base_model on its card, licence on its card
MODELS = {
    "base": ("a", None, None, NC),
    "other": ("b", None, None, "mit"),
    "right": ("a1", "base", "lab/base", NC),
    "false": ("a2", "base", "lab/other", NC),
    "missing": ("a11", "base", None, NC),
    "middle": ("a12", "base", "lab/base", None),
    "laundered": ("a21", "middle", "lab/middle", "apache-2.0"),
    "moved": ("c", "base", "lab/base-2023", NC),
}


def card(base: str | None = None, licence: str | None = None, more: str = "") -> str:
    """A model card; its base_model, if any, is in line 2."""
    lines = [f"base_model: {base}"] if base else []
    lines += [f"license: {licence}"] if licence else []
    return "\n".join(["---", *lines, *([more] if more else []), "---", "# A model", ""])


def put(folder: Path, weights: Weights, text: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    save_file(weights, folder / "model.safetensors")
    if text is not None:
        (folder / "README.md").write_text(text)
    return folder


@pytest.fixture(scope="session")
def weights(once: Callable[..., Path]) -> dict[str, Weights]:
    folder = once("gate", write_models)
    return {name: load_file(folder / name) for name in MODELS}


def write_models(folder: Path) -> None:
    torch.set_num_threads(1)
    made: dict[str, Weights] = {}
    for name, (draw, parent, _, _) in MODELS.items():
        made[name], accuracy = train(
            draw, made[parent] if parent else None, REGIMES["generalization"]
        )
        assert accuracy > 0.85, name
        save_file(made[name], folder / name)


@pytest.fixture
def lab(weights: dict[str, Weights], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All MODELS, in the current folder under lab/."""
    for name, (_, _, base, licence) in MODELS.items():
        put(tmp_path / "lab" / name, weights[name], card(base, licence))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "lab"


def verdicts(report: mother.gate.Report) -> dict[str, str]:
    return {m.id: m.verdict for m in report.models}


def findings(report: mother.gate.Report) -> set[tuple[str, str, str]]:
    return {(f.model, f.rule, f.level) for f in report.findings}


def check(*paths: Path, policy: str = "") -> mother.gate.Report:
    return mother.gate.check(paths, Policy.parse(policy))


EXPECTED = {
    "base": "unknown",
    "other": "unknown",
    "right": "confirmed",
    "false": "contradicted",
    "missing": "undeclared",
    "middle": "confirmed",
    "laundered": "confirmed",
    "moved": "unknown",
}


def test_right_false_missing_laundered_and_renamed(lab):
    report = check(lab)
    assert verdicts(report) == EXPECTED
    assert findings(report) == {
        ("false", "contradicted", "error"),
        ("missing", "undeclared", "warn"),
        ("moved", "unnamed-parent", "warn"),
        ("middle", "unlicensed", "warn"),
        ("laundered", "laundered", "error"),
    }
    moved = next(m for m in report.models if m.id == "moved")
    assert moved.parent == "base"


def test_the_evidence_of_a_laundered_licence_is_the_way_to_it(lab):
    (finding,) = (f for f in check(lab).findings if f.rule == "laundered")
    assert [(s.parent, s.child) for s in finding.line] == [
        ("middle", "laundered"),
        ("base", "middle"),
    ]
    assert all(s.edge.direction_probability > Policy().certainty for s in finding.line)
    assert (finding.file, finding.row) == (lab / "laundered" / "README.md", 3)
    for said in ("cc-by-nc-4.0", "apache-2.0", "base -> middle -> laundered"):
        assert said in finding.message


def validated(text: str) -> dict:
    log = json.loads(text)
    check_valid(log, SARIF_SCHEMA)
    return log["runs"][0]


def test_exit_codes_and_all_three_outputs(lab):
    text = run("check", "lab")
    assert text.code == 1
    assert text.err == ""
    for model, verdict in EXPECTED.items():
        assert any(line.split()[:2] == [verdict, model] for line in text.out.splitlines())
    assert (
        "lab/false/README.md:2: error MOTHER001 contradicted: false: claims lab/other" in text.out
    )
    assert text.out.splitlines()[-1] == "8 models: 2 forbidden, 3 warnings"
    as_json = run("check", "lab", "--json")
    assert as_json.code == 1
    content = json.loads(as_json.out)
    assert {m["id"]: m["verdict"] for m in content["models"]} == EXPECTED
    assert content["forbidden"] is True
    as_sarif = run("check", "lab", "--sarif")
    assert as_sarif.code == 1
    results = validated(as_sarif.out)["results"]
    assert [(r["ruleId"], r["level"]) for r in results if r["level"] == "error"] == [
        ("MOTHER001", "error"),
        ("MOTHER009", "error"),
    ]
    (place,) = results[0]["locations"]
    assert place["physicalLocation"] == {
        "artifactLocation": {"uri": "lab/false/README.md", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 2},
    }
    assert run("check", "lab/base", "lab/right", "lab/other").code == 0


def test_the_same_input_gives_the_same_bytes(lab):
    orders = (("lab",), tuple(f"lab/{name}" for name in reversed(MODELS)))
    for kind in ("--json", "--sarif"):
        one, other = (run("check", *paths, kind).out for paths in orders)
        assert one == other


def test_output_goes_to_a_file_and_text_to_the_terminal(lab):
    r = run("check", "lab", "--sarif", "-o", "out.sarif")
    assert r.code == 1
    assert "8 models" in r.out
    assert len(validated(Path("out.sarif").read_text())["results"]) == 5
    check_one_line(run("check", "lab", "-o", "out.sarif"), "--output needs")
    check_one_line(run("check", "lab", "--json", "--sarif"), "choose one")


def test_a_policy_decides_what_is_forbidden(lab):
    Path("policy.toml").write_text(
        """
        deny = ["lab/other"]
        [rules]
        contradicted = "note"
        undeclared = "error"
        unlicensed = "off"
        [licences]
        "cc-by-nc-*" = ["*"]
        """
    )
    r = run("check", "lab", "--policy", "policy.toml", "--json")
    assert r.code == 1
    assert {(f["model"], f["name"], f["level"]) for f in json.loads(r.out)["findings"]} == {
        ("false", "contradicted", "note"),
        ("false", "denied", "error"),
        ("other", "denied", "error"),
        ("missing", "undeclared", "error"),
        ("moved", "unnamed-parent", "warn"),
    }


def test_accepted_findings_are_told_and_pass(lab):
    Path("policy.toml").write_text(
        """
        [[accept]]
        model = "false"
        rule = "contradicted"
        reason = "the card is being mended"
        [[accept]]
        model = "laundered"
        rule = "laundered"
        reason = "bought a licence"
        """
    )
    r = run("check", "lab", "--policy", "policy.toml")
    assert r.code == 0
    assert "(accepted: bought a licence)" in r.out
    run("check", "lab", "--policy", "policy.toml", "--sarif", "-o", "out.sarif")
    results = validated(Path("out.sarif").read_text())["results"]
    assert [r["suppressions"][0]["justification"] for r in results if "suppressions" in r] == [
        "the card is being mended",
        "bought a licence",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("certainty = 2", "certainty"),
        ("rules = 3", "rules"),
        ("[rules]\nmaybe = 'error'", "rules.maybe"),
        ("[rules]\ncopy = 'fatal'", "rules.copy"),
        ("deny = 'a'", "deny"),
        ("deny = ['sha256:12']", "deny"),
        ("[licences]\nmit = 'any'", "licences.mit"),
        ("[[accept]]\nmodel = 'a'", "accept"),
        ("colour = 'red'", "colour"),
        ("= 3", "policy.toml"),
        ("a = \xff", "policy.toml"),
    ],
)
def test_a_bad_policy_is_one_line_and_exit_2(lab, text, fault):
    Path("policy.toml").write_bytes(text.encode("latin-1"))
    check_one_line(run("check", "lab", "--policy", "policy.toml"), "policy.toml", fault)


def test_a_missing_policy_is_one_line_and_exit_2(lab):
    check_one_line(run("check", "lab", "--policy", "none.toml"), "none.toml: no such file")


def test_a_parent_that_is_claimed_the_wrong_way_round(lab):
    (lab / "base" / "README.md").write_text(card("lab/right"))
    (finding,) = check(lab / "base", lab / "right").findings
    assert (finding.model, finding.rule) == ("base", "contradicted")
    assert "the weights show the reverse, base -> right" in finding.message


def test_models_that_claim_each_other(lab):
    """At most one of them can be right."""
    (lab / "base" / "README.md").write_text(card("right"))
    (lab / "right" / "README.md").write_text(card("base"))
    assert verdicts(check(lab / "base", lab / "right")) == {
        "base": "contradicted",
        "right": "confirmed",
    }


def test_a_sibling_is_no_parent_and_a_grandparent_is_an_ancestor(lab):
    (lab / "laundered" / "README.md").write_text(card("base"))
    (lab / "right" / "README.md").write_text(card("lab/middle"))
    report = check(*(lab / name for name in ("base", "middle", "laundered", "right")))
    assert verdicts(report)["laundered"] == "confirmed"
    (finding,) = (f for f in report.findings if f.rule == "contradicted")
    assert finding.model == "right"
    assert "a relative on another branch" in finding.message


def test_a_merge_may_have_parents_that_the_tree_does_not_show(lab):
    (lab / "right" / "README.md").write_text(card("[lab/base, lab/middle]"))
    report = check(*(lab / name for name in ("base", "middle", "right")))
    assert verdicts(report)["right"] == "unknown"
    (lab / "right" / "README.md").write_text(card("[lab/base, lab/other]"))
    report = check(*(lab / name for name in ("base", "other", "right")))
    assert verdicts(report)["right"] == "contradicted"


def test_siblings_without_a_claim_are_undeclared(lab):
    report = check(lab / "missing", lab / "right")
    assert verdicts(report) == {"missing": "undeclared", "right": "unknown"}
    (finding,) = (f for f in report.findings if f.rule == "undeclared")
    assert "an ancestor, not among the inputs" in finding.message


def test_a_name_that_fits_several_inputs_is_unknown(lab, weights):
    for place in ("one", "two"):
        put(lab / place / "stem", weights["base" if place == "one" else "other"], card())
    (lab / "right" / "README.md").write_text(card("stem"))
    report = check(lab / "one", lab / "two", lab / "right")
    (right,) = (m for m in report.models if m.id == "right")
    assert right.verdict == "unknown"
    assert "which may be one/stem and two/stem" in right.reason
    (lab / "right" / "README.md").write_text(card("one/stem"))
    assert verdicts(check(lab / "one", lab / "two", lab / "right"))["right"] == "confirmed"


def test_copies_are_one_model_under_any_name(lab, weights):
    """A claim of either copy is right, and the licence of either holds."""
    put(lab / "reborn", weights["base"], card("lab/base", "mit", "base_model_relation: finetune"))
    put(lab / "tuned", weights["right"], card("lab/reborn", "mit"))
    report = check(lab / "base", lab / "reborn", lab / "tuned")
    assert verdicts(report) == {"base": "unknown", "reborn": "confirmed", "tuned": "confirmed"}
    assert findings(report) == {
        ("reborn", "copy", "warn"),
        ("reborn", "licence", "error"),
        ("tuned", "laundered", "error"),
    }


def test_a_copy_that_names_its_original_does_not_bind_it(lab, weights):
    (lab / "base" / "README.md").write_text(card(licence="mit"))
    put(lab / "fenced", weights["base"], card("lab/base", NC))
    assert check(lab / "base", lab / "fenced").findings == ()


def test_deny_lists_hold_for_all_that_comes_from_them(lab):
    digest = hashlib.sha256((lab / "base" / "model.safetensors").read_bytes()).hexdigest()
    for entry in ("lab/base", "base", f"sha256:{digest}"):
        report = check(lab, policy=f"deny = ['{entry}']")
        denied = {f.model for f in report.findings if f.rule == "denied"}
        assert denied == set(MODELS) - {"other"}
    report = check(lab / "moved", policy="deny = ['lab/base-2023']")
    assert ("moved", "denied", "error") in findings(report)


def test_what_can_not_be_read_is_exit_2_unless_the_policy_lets_it_pass(lab):
    (lab / "right" / "model.safetensors").write_bytes(b"no weights")
    r = run("check", "lab/base", "lab/right", "--json")
    assert r.code == 2
    assert "lab/right" in r.err
    found = {m["path"]: m["verdict"] for m in json.loads(r.out)["models"]}
    assert found == {"lab/base": "unknown", "lab/right": "unknown"}
    Path("policy.toml").write_text("[rules]\nunreadable = 'warn'")
    assert run("check", "lab/base", "lab/right", "--policy", "policy.toml").code == 0
    assert run("check", "lab").code == 1
    check_one_line(run("check", "lab/right"), "lab/right")


def test_no_model_goes_by_in_a_format_that_is_not_read(lab):
    (lab / "keras").mkdir()
    (lab / "keras" / "model.h5").write_bytes(b"\x89HDF")
    (lab / "keras" / "README.md").write_text(card("leaked"))
    (lab / "loose.ONNX").write_bytes(b"")
    for folder in ("base", "right/onnx", "right/.cache"):  # the same model once more, or hidden
        (lab / folder).mkdir(exist_ok=True)
        (lab / folder / "model.mlmodel").write_bytes(b"")
    before = run("check", "lab/base", "lab/right")
    assert before.out.count("MOTHER014 unread") == 2  # named, and no fault
    r = run("check", "lab", "--json", "--policy", quiet("contradicted", "licence", "laundered"))
    assert r.code == 2
    found = [f for f in json.loads(r.out)["findings"] if f["name"] == "unreadable"]
    assert [f["file"] for f in found] == ["lab/keras/model.h5", "lab/loose.ONNX"]
    assert "lab/keras/model.h5" in r.err
    # one fault, told once
    check_one_line(run("check", "lab/keras"), "lab/keras/model.h5")
    check_one_line(run("check", "lab/keras/model.h5"), "lab/keras/model.h5")


def test_a_file_beside_its_twin_in_another_format_is_one_model(lab):
    pile = lab.parent / "pile"
    pile.mkdir()
    (lab / "base" / "model.safetensors").rename(pile / "a.safetensors")
    (pile / "a.mlmodel").write_bytes(b"")
    assert run("check", "pile").code == 0
    (pile / "b.mlmodel").write_bytes(b"")
    assert run("check", "pile").code == 2


def quiet(*rules: str) -> str:
    """A policy that leaves rules out."""
    Path("quiet.toml").write_text("[rules]\n" + "".join(f"{r} = 'off'\n" for r in rules))
    return "quiet.toml"


def test_an_adapter_is_held_to_the_licence_of_the_base_that_it_names(lab):
    adapter = lab / "adapter"
    adapter.mkdir()
    draw = torch.Generator().manual_seed(0)
    save_file(
        {
            "base_model.model.2.lora_A.weight": torch.randn(4, 96, generator=draw),
            "base_model.model.2.lora_B.weight": torch.randn(96, 4, generator=draw),
        },
        adapter / "adapter_model.safetensors",
    )
    (adapter / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 4, "base_model_name_or_path": "lab/base"})
    )
    (adapter / "README.md").write_text(card(licence="mit"))
    report = check(lab / "base", adapter)
    assert verdicts(report)["adapter"] == "unknown"
    assert ("adapter", "licence", "error") in findings(report)


def test_a_gguf_file_is_judged_by_what_it_says(lab):
    path = lab / "quantized" / "base-q4.gguf"
    path.parent.mkdir()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_license("mit")
    writer.add_base_model_count(1)
    writer.add_base_model_name(0, "Base")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    report = check(lab / "base", path.parent)
    assert verdicts(report) == {"base": "unknown", "base-q4": "unknown"}
    assert findings(report) == {("base-q4", "licence", "error"), ("base-q4", "unknown", "note")}
    assert verdicts(check(path)) == {"base-q4": "unknown"}


HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "</script><script>alert(1)</script>",
    "two\nlines",
    "\u202eright to left",
    "{0} [click](javascript:alert)",
    "a" * 5000,
    "*?[a-z]",
    "\ud800".encode("utf-8", "backslashreplace").decode(),
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_names_reach_no_terminal_page_or_placeholder(lab, name):
    """In claims, licences and relations."""
    quoted = json.dumps(name)
    text = card(quoted, quoted, f"base_model_relation: {quoted}")
    (lab / "right" / "README.md").write_text(text, encoding="utf-8")
    r = run("check", "lab/base", "lab/right")
    assert r.err == ""
    assert all(c.isprintable() or c == "\n" for c in r.out)
    assert all(len(line) < 4000 for line in r.out.splitlines())
    told = run("check", "lab/base", "lab/right", "--sarif").out
    (result, *_) = validated(told)["results"]
    assert "<" not in told
    assert "</" not in run("check", "lab/base", "lab/right", "--json").out
    assert "{0}" not in result["message"]["text"].replace("{{0}}", "")


@pytest.mark.parametrize("name", ["\x1b[31mred", "<script>", "a b#c?d%e", "caf\xe9", "[x](y)"])
def test_folders_of_odd_names(lab, weights, name):
    put(lab / "odd" / name, weights["right"], card("lab/other"))
    r = run("check", lab / "odd", lab / "other", "--sarif")
    assert r.code == 1
    (result,) = validated(r.out)["results"]
    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert unquote(uri) == f"lab/odd/{name}/README.md"
    assert uri.isascii()


def test_a_card_that_can_not_be_read_is_forbidden_and_hides_nothing(lab):
    for text in (b"---\nbase_model: caf\xe9\n---\n", b"---\na: &a [*a]\n---\n"):
        (lab / "right" / "README.md").write_bytes(text)
        report = check(lab / "base", lab / "right")
        assert ("right", "metadata", "error") in findings(report)
        assert verdicts(report)["right"] == "undeclared"


def test_file_names_that_are_no_text(lab, tmp_path):
    name = os.fsdecode(b"q\xff.gguf")
    (lab / "right" / name).write_bytes(b"GGUF")
    (lab / os.fsdecode(b"bad\xff.safetensors")).write_bytes(b"no weights")
    for kind in ("--json", "--sarif"):
        r = run("check", "lab", kind)
        assert r.code == 1
        assert "q\\\\udcff.gguf" in r.out
        assert "bad\\\\udcff.safetensors" in r.out
    validated(r.out)


def test_config_names_that_mean_nothing_are_no_claims(lab):
    for name in ("/home/me/run", "./out", "right", "someone/right"):
        (lab / "right" / "config.json").write_text(json.dumps({"_name_or_path": name}))
        report = check(lab / "base", lab / "right")
        assert verdicts(report)["right"] == "confirmed", name
        (right,) = (m for m in report.models if m.id == "right")
        assert [j.claim.key for j in right.claims] == ["base_model"]
    (lab / "right" / "README.md").unlink()
    assert verdicts(check(lab / "base", lab / "right"))["right"] == "undeclared"
    (lab / "right" / "config.json").write_text(json.dumps({"_name_or_path": "/data/BASE/"}))
    assert verdicts(check(lab / "base", lab / "right"))["right"] == "confirmed"


def test_a_page_of_the_check(tmp_path, monkeypatch):
    """Names are text in it, it runs and loads nothing, and the licences that bind are there."""
    card = "---\nbase_model: {}\nlicense: {}\n---\n"
    weights = np.random.default_rng(0).normal(size=(6, 64, 64)).astype("f4")
    tuned = weights + 0.1 * np.random.default_rng(1).normal(size=weights.shape).astype("f4")
    for name, layers, claim, licence in (
        ("base", weights, "''", "cc-by-nc-4.0"),
        ("<b>kid", tuned, "base", "<script>"),
        ("twin", tuned, "base", "mit"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        np.savez(folder / "model.npz", **{f"h.{k}.weight": w for k, w in enumerate(layers)})
        (folder / "README.md").write_text(card.format(claim, licence))
    same = (tmp_path / "<b>kid" / "model.npz").read_bytes()
    (tmp_path / "twin" / "model.npz").write_bytes(same)
    monkeypatch.chdir(tmp_path)
    result = run("check", ".", "--html", "check.html")
    assert "claims ," not in result.out  # an empty base_model claims nothing
    text = (tmp_path / "check.html").read_text()
    assert text.startswith("<!doctype html>")
    assert "<script" not in text
    assert "default-src" in text
    assert "&lt;script&gt;" in text
    assert "<small>&lt;b&gt;kid/model holds the same bytes: " in text
    assert "1 model is there twice, byte for byte; " in text
    assert "1 model is there twice, byte for byte; " in result.out
    assert "cc-by-nc-4.0 of base" in text or "cc-by-nc-4.0 of model" in text
