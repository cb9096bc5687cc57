from __future__ import annotations

from collections.abc import Iterator
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


@pytest.fixture(scope="module")
def few_replicates(request: pytest.FixtureRequest) -> Iterator[None]:
    """Doubts are raised by one replicate, or by a module's REPLICATES: that an index keeps what it
    should does not depend on how many there are, and each costs as much as a recovery. Not for
    tests that start processes."""
    with pytest.MonkeyPatch.context() as patched:
        many = getattr(request.module, "REPLICATES", 1)
        patched.setattr("mother.methods.refinement.REPLICATES", many)
        yield
