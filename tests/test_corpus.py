"""What fuzzing found, read again: each input is read, or refused in one line. Of documents, what
covers their readers (experiments/fuzz/surfaces.py); of checkpoints, what was a fault
(experiments/fuzz/readers.py)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from experiments.fuzz import readers
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


def _faults():
    found = json.loads((CORPUS / "readers.json").read_text())
    return [(name, text.encode("latin-1")) for name, texts in found.items() for text in texts]


@pytest.mark.parametrize(("name", "data"), _faults(), ids=lambda each: str(each)[:16])
def test_what_was_a_fault_of_a_reader(tmp_path, name, data):
    reader = readers.READERS[name]
    reader.beside(tmp_path)
    readers.tried(reader.lay(data, tmp_path))
