from __future__ import annotations

from pathlib import Path

import pytest
from families import collection


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of checkpoints that nobody changes."""
    folder = tmp_path_factory.mktemp("models")
    collection(folder)
    return folder


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of checkpoints of the test's own."""
    folder = tmp_path / "own"
    folder.mkdir()
    collection(folder)
    return folder
