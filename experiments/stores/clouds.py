"""Google's and Azure's stores, as emulators on this machine speak them: what is read, what is
refused and in which words.

    pip install '.[gs,az]' gcp-storage-emulator && npm install azurite
    OMP_NUM_THREADS=1 python -m experiments.stores.clouds node_modules/.bin/azurite-blob
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fsspec
import numpy as np
from safetensors.numpy import save

from mother.checkpoints import discover, open_checkpoint
from mother.cli import cli
from mother.errors import InputError, MotherError
from mother.hub import TRAFFIC

#: of one prefix: more than a page of Azure's list, and as many as Google's emulator takes soon
KEYS = {"az": 6_000, "gs": 100}
#: those of every emulator of Azure
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def environment(port: int, key: str = KEY) -> dict[str, str]:
    """The variables by which the libraries of S3, Google's store and Azure's ask a port of this
    machine. key: that of the account in Azure."""
    at = f"http://127.0.0.1:{port}"
    azure = {
        "DefaultEndpointsProtocol": "http",
        "AccountName": ACCOUNT,
        "AccountKey": key,
        "BlobEndpoint": f"{at}/{ACCOUNT}",
    }
    return {
        "AWS_ENDPOINT_URL": at,
        "AWS_ACCESS_KEY_ID": "AKIAME",
        "AWS_SECRET_ACCESS_KEY": "5ec2e7",
        "AWS_DEFAULT_REGION": "us-east-1",
        "STORAGE_EMULATOR_HOST": at,
        "FSSPEC_GS_TOKEN": "anon",
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # as mother has it
        "AZURE_STORAGE_CONNECTION_STRING": ";".join(f"{k}={v}" for k, v in azure.items()),
    }


def file_system(scheme: str, port: int, key: str = KEY) -> Any:
    """As mother and fsspec reach it from now on."""
    os.environ |= environment(port, key)
    fsspec.config.set_conf_env(fsspec.config.conf)
    fsspec.get_filesystem_class(scheme).clear_instance_cache()
    return fsspec.filesystem(scheme)


@contextmanager
def running(*words: str) -> Iterator[int]:
    """A server on a free port, `PORT` in what it is called with."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    called = [word.replace("PORT", str(port)) for word in words]
    server = subprocess.Popen(called, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(240):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.25)
        yield port
    finally:
        server.terminate()
        server.wait()


def models() -> dict[str, bytes]:
    draw = np.random.default_rng(0)
    base = {f"layers.{k}": draw.standard_normal((256, 256), np.float32) for k in range(8)}
    kid = {k: v + np.float32(0.1) * draw.standard_normal(v.shape, np.float32)
           for k, v in base.items()}  # fmt: skip
    return {
        "models/base.safetensors": save(base),
        "models/ein Kind, ü/model.safetensors": save(kid),
        "models/ein Kind, ü/README.md": b"---\nbase_model: base\n---\n",
        "models/notes.txt": b"no model",
    }


def run(*words: str) -> str:
    TRAFFIC.taken()
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            with contextlib.suppress(SystemExit):  # something was refused, and is told
                cli(list(words), standalone_mode=False)
        except MotherError as error:
            print(error)
    return out.getvalue()


def tried(scheme: str, fs: Any) -> None:
    print(f"# {scheme}")
    for key, data in models().items():
        fs.pipe_file(f"lab/{key}", data)
    at = f"{scheme}://lab/models"
    print(run("recover", at))
    print(run("check", at))
    print(run("compare", f"{at}/base.safetensors", f"{at}/ein Kind, ü").splitlines()[0])
    with TemporaryDirectory() as folder:
        index = f"{folder}/index"
        run("index", "create", index)
        print(run("index", "add", index, at), run("index", "add", index, at), sep="")
        index += " of workers"
        run("index", "create", index)
        print(run("index", "add", index, at, "--executor", "local:2"))
    for bad in ("lab/models/notes.txt", "lab/nothing", "nowhere/models"):
        print(run("recover", f"{scheme}://{bad}"), end="")

    draw = np.random.default_rng(1)
    big = {f"layer{k}": draw.standard_normal(150_000).astype(np.float32) for k in range(4)}
    fs.pipe_file("lab/big.safetensors", save(big))
    TRAFFIC.taken()
    found = open_checkpoint(f"{scheme}://lab/big.safetensors")
    same = np.array_equal(found.tensors["layer2"].read(100, 110), big["layer2"][100:110])
    print(f"a slice of 2.4 MB: {TRAFFIC}, right: {same}")
    fs.pipe_file("lab/big.safetensors", save({k: -v for k, v in big.items()}))
    try:
        found.tensors["layer3"].read()
    except InputError as error:
        print(error)

    fs.pipe({f"lab/logs/{k % 7}/{k}.txt": b"-" for k in range(KEYS[scheme])})
    fs.pipe_file("lab/logs/6/model.safetensors", models()["models/base.safetensors"])
    start, (seen, problems) = time.monotonic(), discover([f"{scheme}://lab/logs"])
    print(f"among {KEYS[scheme]} keys: {[c.shown for c in seen]}, {len(problems)} refused; "
          f"{time.monotonic() - start:.0f} s")  # fmt: skip


@contextmanager
def google() -> Iterator[int]:
    emulator = str(Path(sys.executable).with_name("gcp-storage-emulator"))
    words = ("start", "--host=127.0.0.1", "--port=PORT", "--in-memory", "--default-bucket=lab")
    with running(emulator, *words) as port:
        yield port


@contextmanager
def azure(azurite: str) -> Iterator[int]:
    with TemporaryDirectory() as folder:
        words = ("--silent", "--location", folder, "--blobPort", "PORT", "--skipApiVersionCheck")
        with running(azurite, *words) as port:
            file_system("az", port).mkdir("lab")
            yield port


def main(azurite: str) -> None:
    with google() as port:
        tried("gs", file_system("gs", port))
    with azure(azurite) as port:
        tried("az", file_system("az", port))
        file_system("az", port, KEY.replace("Eby8", "Fby8"))
        print(run("recover", "az://lab/models"))


if __name__ == "__main__":
    main(sys.argv[1])
