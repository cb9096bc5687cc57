"""What fuzzing found to cover the readers of documents, read again: each input is read, or refused
in one line (experiments/fuzz/surfaces.py)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from experiments.fuzz.surfaces import SURFACES, seeds, tried

CORPUS = Path(__file__).parent / "data" / "fuzz"


@pytest.mark.parametrize("name", SURFACES)
def test_what_fuzzing_found(tmp_path, name):
    inputs = seeds(name)
    kept = CORPUS / f"{name}.json"
    if kept.exists():
        inputs += [text.encode("latin-1") for text in json.loads(kept.read_text())]
    for data in inputs:
        tried(SURFACES[name], data, tmp_path)


@pytest.mark.parametrize("name", SURFACES)
def test_seeds_are_good(tmp_path, name):
    """A surface that refuses everything would find nothing."""
    for data in seeds(name):
        (tmp_path / "input").write_bytes(data)
        SURFACES[name](data, tmp_path / "input")
