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
