"""The files in which programs keep names and passwords for servers, as these programs find them."""

from __future__ import annotations

import os
from pathlib import Path


def netrc_file() -> Path:
    """Of curl, wget and others."""
    return Path(os.environ.get("NETRC") or "~/.netrc").expanduser()


def mlflow_file() -> Path:
    """Of `mlflow login`."""
    return Path("~/.mlflow/credentials").expanduser()


def registry_files() -> tuple[Path, Path]:
    """Of `docker login` and `podman login`."""
    home = Path("~").expanduser()
    return (
        Path(os.environ.get("DOCKER_CONFIG", home / ".docker")) / "config.json",
        Path(os.environ.get("REGISTRY_AUTH_FILE", home / ".config" / "containers" / "auth.json")),
    )


def credential_files() -> tuple[Path, ...]:
    """All of them, whether they are there or not."""
    return (netrc_file(), mlflow_file(), *registry_files())
