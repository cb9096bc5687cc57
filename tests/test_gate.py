"""`mother check` on a pile of small trained models with cards, right and wrong."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import jsonschema
import pytest
import torch
from safetensors.torch import save_file
from test_cli import check_one_line, run
from test_trained import REGIMES, Weights, train

import mother
import mother.gate
from mother.gate import RULES, Policy

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
def weights() -> dict[str, Weights]:
    torch.set_num_threads(1)
    made: dict[str, Weights] = {}
    for name, (draw, parent, _, _) in MODELS.items():
        made[name], accuracy = train(
            draw, made[parent] if parent else None, REGIMES["generalization"]
        )
        assert accuracy > 0.85, name
    return made


@pytest.fixture
def lab(weights: dict[str, Weights], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All MODELS, in the current folder under lab/."""
    for name, (_, _, base, licence) in MODELS.items():
        put(tmp_path / "lab" / name, weights[name], card(base, licence))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "lab"


def test_print(lab):
    r = run("check", lab)
    print(r.out, r.err, r.code)
    assert 0
