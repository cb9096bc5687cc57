"""A real MLflow server with SQLite: its versions read, tags written and read back, and the stand-in
of the tests held against it.

    python -m venv /tmp/mlflow && /tmp/mlflow/bin/pip install mlflow
    OMP_NUM_THREADS=1 python -m experiments.stores.registry /tmp/mlflow/bin
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

import numpy as np
from safetensors.numpy import save_file

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from loopback_mlflow import serve_registry

from mother.cli import cli
from mother.hub import TRAFFIC

#: what each version holds: its parent, by name and version
VERSIONS = {
    ("base", "1"): None,
    ("base", "2"): ("base", "1"),
    ("kin d, ü", "1"): ("base", "2"),
    ("other", "1"): None,
}
#: run by the Python that has mlflow
FILL = """
import json, mlflow, sys
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
for name, version, folder in json.loads(sys.argv[2]):
    if version == "1":
        client.create_registered_model(name)
    with mlflow.start_run() as run:
        mlflow.log_artifacts(folder, "model")
        client.create_model_version(name, run.info.artifact_uri + "/model", run.info.run_id)
"""


def models(folder: Path) -> list[tuple[str, str, str]]:
    draw = np.random.default_rng(0)
    made: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    out = []
    for number, ((name, version), parent) in enumerate(VERSIONS.items()):
        weights = {}
        for k in range(8):
            step = draw.standard_normal((128, 128), np.float32)
            weights[f"layers.{k}.weight"] = (
                made[parent][f"layers.{k}.weight"] + np.float32(0.05) * step if parent else step
            )
        made[name, version] = weights
        home = folder / str(number)
        (home / "data").mkdir(parents=True)
        save_file(weights, home / "data" / "model.safetensors")
        (home / "MLmodel").write_text("flavors: {}\n")
        out.append((name, version, str(home)))
    return out


@contextmanager
def served(tools: Path, folder: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["server", "--backend-store-uri", "sqlite:///mlflow.db", "--port", str(port)]
    words += ["--artifacts-destination", "artifacts", "--host", "127.0.0.1", "--workers", "1"]
    log = (folder / "log").open("w")
    server = subprocess.Popen([tools / "mlflow", *words], cwd=folder, stdout=log, stderr=log)
    try:
        for _ in range(240):
            with contextlib.suppress(OSError):
                urlopen(f"http://127.0.0.1:{port}/health").close()
                break
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def run(*words: str) -> str:
    TRAFFIC.taken()
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        cli(list(words), standalone_mode=False)
    return out.getvalue()


def dumped(base: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(f"file:{base}?mode=ro", uri=True)) as found:
        return list(found.iterdump())


def tags(at: str) -> dict[str, dict[str, str]]:
    with urlopen(f"{at}/api/2.0/mlflow/model-versions/search?max_results=100") as answer:
        found = json.load(answer)["model_versions"]
    return {
        f"{v['name']}/{v['version']}": {t["key"]: t["value"] for t in v.get("tags", [])}
        for v in found
    }


def main(tools: Path) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        made = models(folder / "models")
        with served(tools, folder) as at, serve_registry() as stand_in:
            words = [tools / "python", "-c", FILL, at, json.dumps(made)]
            subprocess.run(words, check=True, capture_output=True)
            for model, version, home in made:
                files = {str(p.relative_to(home)): p.read_bytes()
                         for p in Path(home).rglob("*") if p.is_file()}  # fmt: skip
                stand_in.add(model, version, files)
            stand_in.page = 1000

            os.environ["MLFLOW_TRACKING_URI"] = at
            before = dumped(folder / "mlflow.db")
            said = run("recover", "mlflow://")
            print(said)
            same = dumped(folder / "mlflow.db") == before
            print("the database without --write is as it was:", same)
            written = run("recover", "mlflow://", "--write", "--link", "https://host/page.html")
            print(written.splitlines()[-1])
            real = tags(at)
            print(json.dumps(real, indent=1, ensure_ascii=False))

            os.environ["MLFLOW_TRACKING_URI"] = stand_in.at
            print("the stand-in is told the same:", run("recover", "mlflow://") == said)
            run("recover", "mlflow://", "--write", "--link", "https://host/page.html")
            print("and is written the same:", tags(stand_in.at) == real)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
