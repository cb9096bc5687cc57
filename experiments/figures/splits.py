"""Every split, the paper's and those past it, by both methods as a user runs them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.figures.families import Data, NotBuilt
from experiments.figures.methods import DISTANCE, LAYERS
from experiments.figures.pages import Page, Table, markdown, mean, spread
from experiments.figures.pictures import bars, legend_below, panels
from experiments.plan import seed_of
from experiments.scales import SCALES
from experiments.splits import available
from mother import ModelGraph, evaluate
from mother.checkpoints import Checkpoint, open_checkpoint
from mother.graph.evaluation import Truth
from mother.options import Options
from mother.recovery import recover_checkpoints

QUESTION = """
All that the builder makes, under names and in an order that tell nothing. Ours runs with its
defaults and is told nothing. The paper's method is told the true stage of every model, the true
number of trees, and which distance to use: eq. 2 for LoRA, eq. 1 for the rest, in text and mixed
whichever `--distance auto` takes. It is run with every choice of L, and the line shows the one with
the most edges right on this very split, which nobody could know beforehand. Mixed
holds all the others together; there it is run by architecture, since it needs the number of trees
of each.
"""

NOTES = """
*Right* counts edges with direction, *undirected* without. *False* are relations that are not true:
strangers and trainings of one initialization have no edges, so all that are found there are false,
and the paper's method, which makes a tree of every cluster, can't but find them. The adjusted Rand
index is of the trees. Means ± standard deviations over seeds.
"""


@dataclass(frozen=True)
class Built:
    """A split as a user has it: checkpoints, by names that tell nothing, and what is true."""

    checkpoints: dict[str, Checkpoint]
    truth: Truth
    stages: dict[str, str]
    architecture: dict[str, str]

    def by_architecture(self) -> list[list[str]]:
        kinds = dict.fromkeys(self.architecture.values())
        return [[id for id, a in self.architecture.items() if a == kind] for kind in kinds]


def page(data: Data) -> Page:
    table = both_methods(data)
    return Page(
        "Every split",
        QUESTION,
        _text(table),
        table.rows,
        _picture(table),
        "Edges right of true edges, by split",
    )


def there(data: Data) -> list[tuple[str, int]]:
    """The splits that are built, by name and seed. NotBuilt if none is."""
    names = (*available(SCALES[data.scale]), "mixed")
    if found := [(split, seed) for split in names for seed in data.there(split)]:
        return found
    raise NotBuilt("no split is built: python -m experiments build --help")


@lru_cache(maxsize=1)
def both_methods(data: Data) -> Table:
    """Figures of every split that is there, by ours and by the paper's method with each L."""
    table = Table()
    for split, seed in there(data):
        at = {"split": split, "seed": seed}
        built, found = by_ours(data.folder(split, seed), data.processes)
        table.add(**at, method="ours", layers="", **figures([found], built.truth))
        for layers, graphs in _papers(split, built, data.processes):
            table.add(**at, method="paper", layers=layers, **figures(graphs, built.truth))
    return table


@lru_cache(maxsize=64)
def by_ours(folder: Path, threads: int, bootstrap: int = 0) -> tuple[Built, ModelGraph]:
    """A split, and its graph by the default method."""
    built = read(folder)
    options = Options(bootstrap=bootstrap, threads=threads)
    return built, recover_checkpoints(list(built.checkpoints.values()), options)


def read(folder: Path) -> Built:
    """A split under names and in an order that tell nothing."""
    truth = json.loads((folder / "truth.json").read_text())
    records = json.loads((folder / "records.json").read_text())["models"]
    ids = sorted(truth["nodes"])
    random.Random(seed_of("names", folder.name)).shuffle(ids)
    name = {id: f"m{number:04}" for number, id in enumerate(ids)}
    if truth["split"] == "mixed":  # its names tell nothing as they are
        name = {id: id for id in ids}
    ids.sort(key=lambda id: name[id])
    return Built(
        {name[id]: open_checkpoint(folder / f"{id}.safetensors", id=name[id]) for id in ids},
        Truth(
            tuple((name[parent], name[child]) for parent, child in truth["edges"]),
            tuple(tuple(name[id] for id in tree) for tree in truth["trees"]),
        ),
        {name[id]: stage for id, stage in truth["stages"].items()},
        {name[id]: records[id]["architecture"] for id in ids},
    )


def _papers(split: str, built: Built, threads: int) -> Iterator[tuple[str, list[ModelGraph]]]:
    """Graphs by the paper's method, one an architecture, for each choice of L that there is: an
    architecture without such layers is taken with all matrices, if it is not the only one."""
    distance = "auto" if split in {"text", "mixed"} else DISTANCE.get(split, "ft")
    kinds = built.by_architecture()
    for layers, pattern in LAYERS.items():
        graphs = []
        for ids in kinds:
            names = built.checkpoints[ids[0]].tensors
            if not (there := any(re.search(pattern, name) for name in names)) and len(kinds) == 1:
                break
            options = Options(
                method="mother",
                distance=distance,
                stages={id: built.stages[id] for id in ids},
                trees=sum(tree[0] in ids for tree in built.truth.trees),
                layers=pattern if there else None,
                threads=threads,
            )
            graphs.append(recover_checkpoints([built.checkpoints[id] for id in ids], options))
        else:
            yield layers, graphs


def figures(graphs: list[ModelGraph], truth: Truth) -> dict[str, object]:
    """Of all the graphs together."""
    graph = ModelGraph(
        graphs[0].method,
        tuple(node for g in graphs for node in g.nodes),
        tuple(edge for g in graphs for edge in g.edges),
        tuple(tree for g in graphs for tree in g.trees),
    )
    found = evaluate(graph, truth)
    index = found.adjusted_rand_index
    return {
        "right": found.right,
        "undirected": found.right_undirected,
        "true": found.true,
        "found": found.found,
        "false": found.false,
        **({} if index is None else {"adjusted_rand_index": index}),
    }


def best(table: Table, split: str) -> str:
    """The L with the most edges right in the split, then the fewest false."""
    of = dict.fromkeys(
        str(r["layers"]) for r in table.rows if r["split"] == split and r["method"] == "paper"
    )

    def merit(layers: str) -> tuple[float, float, float]:
        wanted = {"split": split, "method": "paper", "layers": layers}
        right, undirected, false = (
            sum(table.of(figure, **wanted)) for figure in ("right", "undirected", "false")
        )
        return right, undirected, -false

    return max(of, key=merit)


def _text(table: Table) -> str:
    splits = list(dict.fromkeys(str(row["split"]) for row in table.rows))
    rows = []
    for split in splits:
        chosen = best(table, split)
        for method, layers in (("ours", ""), ("paper", chosen)):
            rows.append(_line(table, split, method, layers))
    head = ["split", "method", "right", "undirected", "of true", "adjusted Rand index", "false"]
    every = [
        [
            split,
            *(
                spread(_accuracy(table, split, method="paper", layers=layers))
                if table.of("true", split=split, layers=layers)
                else ""
                for layers in LAYERS
            ),
        ]
        for split in splits
        if sum(table.of("true", split=split))
    ]
    parts = [
        markdown(head, rows),
        NOTES.strip(),
        "## The paper's method with every L",
        markdown(["accuracy", *LAYERS], every),
    ]
    return "\n\n".join(parts)


def _line(table: Table, split: str, method: str, layers: str) -> list[object]:
    wanted = {"split": split, "method": method, "layers": layers}
    true = table.of("true", **wanted)

    def shares(figure: str) -> str:
        found = table.of(figure, **wanted)
        counted = f"{sum(found):.0f}"
        return f"{counted} ({spread(f / t for f, t in zip(found, true, strict=True))})"

    edges = [shares("right"), shares("undirected")] if sum(true) else ["–", "–"]
    return [
        split if method == "ours" else "",
        "**ours**" if method == "ours" else f"paper, {layers}",
        *edges,
        f"{sum(true):.0f}",
        spread(table.of("adjusted_rand_index", **wanted)),
        f"{sum(table.of('false', **wanted)):.0f}",
    ]


def _accuracy(table: Table, split: str, **wanted: object) -> list[float]:
    right, true = (table.of(figure, split=split, **wanted) for figure in ("right", "true"))
    return [r / t for r, t in zip(right, true, strict=True) if t]


def _picture(table: Table) -> Figure:
    splits = list(dict.fromkeys(str(row["split"]) for row in table.rows))
    splits = [s for s in splits if sum(table.of("true", split=s))]
    with panels(1, 1, width=7) as (figure, (ax,)):
        series = {
            "paper": [_accuracy(table, s, method="paper", layers=best(table, s)) for s in splits],
            "ours": [_accuracy(table, s, method="ours") for s in splits],
        }
        bars(
            ax,
            splits,
            {name: [mean(v) for v in values] for name, values in series.items()},
            {name: [float(np.std(v)) for v in values] for name, values in series.items()},
        )
        ax.set(ylabel="accuracy", ylim=(0, 1.05))
        legend_below(figure, ax)
    return figure
