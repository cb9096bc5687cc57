"""Checkpoints on the Hub, by the real client against a loopback Hub that counts and misbehaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from loopback_hub import COMMIT, Record, serve
from safetensors.numpy import save_file

import mother
from mother.checkpoints import open_checkpoint

MODEL = "org/model"


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The folder that the Hub serves: models/OWNER/NAME/..."""
    folder = tmp_path / "hub" / "models"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(autouse=True)
def hub(
    models: Path, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The loopback Hub, and an environment of its own for the client."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("mother.hub.http.FIRST_WAIT", 0.0)
    with serve(models.parent, record) as endpoint:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
        resolve = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", endpoint + resolve
        )
        yield endpoint


def weights(
    seed: int, shape: tuple[int, ...] = (200, 300), layers: int = 3
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {f"layer{k}.weight": rng.normal(size=shape).astype(np.float32) for k in range(layers)}


def same(checkpoint: mother.checkpoints.Checkpoint, stored: dict[str, np.ndarray]) -> bool:
    found = {n: t.read().reshape(t.shape) for n, t in checkpoint.tensors.items()}
    return found.keys() == stored.keys() and all(np.array_equal(found[n], stored[n]) for n in found)


def repository(models: Path, name: str = MODEL) -> Path:
    folder = models / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_smoke(models: Path, record: Record) -> None:
    stored = weights(0)
    save_file(stored, repository(models) / "model.safetensors")
    (repository(models) / "config.json").write_text('{"model_type": "x"}')
    c = open_checkpoint(f"hf://{MODEL}")
    assert (c.id, c.shown, c.config) == ("model", f"hf://{MODEL}@{COMMIT}", {"model_type": "x"})
    print(record.requests, record.served)
    assert same(c, stored)
    print(record.requests, record.served)
