"""Every split at tiny scale, built once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from experiments.__main__ import main


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of tiny-scale graphs with seed 0, by the names the command gives them."""
    folder = tmp_path_factory.mktemp("experiments")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner().invoke(main, ["build", "all", "--scale", "tiny"])
    assert result.exit_code == 0, result.output
    return folder / "data" / "tiny"
