"""Every split at tiny scale, built once for all tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
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


@pytest.fixture(scope="session")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Families under the names of the demo's: three with their parent, two of siblings alone."""
    folder, rng = tmp_path_factory.mktemp("demo"), np.random.default_rng(0)

    def weights() -> np.ndarray:
        return rng.normal(size=(20, 30)).astype(np.float32)

    for family in ("upconv7", "upresnet10", "vgg7", "resnet10"):
        (folder / family).mkdir()
        parent = {f"{family}.{k}": weights() for k in range(6)}
        for k in range(4):
            child = {layer: w + 0.3 * weights() for layer, w in parent.items()}
            np.savez(folder / family / f"anime_style_noise{k}_scale_rgb.npz", **child)
        if family.startswith("up"):
            np.savez(folder / family / "anime_style_scale_rgb.npz", **parent)
    parent = {f"chgnet.{k}": weights() for k in range(6)}
    child = {layer: w + 0.3 * weights() for layer, w in parent.items()}
    np.savez(folder / "chgnet_0.3.0_e29f68s314m37.npz", **parent)
    np.savez(folder / "chgnet_r2scan_transfer_learning_e15f36s161m23.npz", **child)
    return folder
