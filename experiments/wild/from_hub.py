"""A documented family on the Hub: read what is needed, recover, compare with what is documented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mother
from experiments.wild import page
from experiments.wild.families import Family
from experiments.wild.hub import Hub, Opened, shared
from experiments.wild.sample import size, write_sample
from mother.options import Progress

DEFAULT, PAPER = "default", "paper's method"


@dataclass(frozen=True)
class Recovered:
    """The family as it was read and recovered. graphs: by method."""

    family: Family
    opened: tuple[Opened, ...]
    sample: int
    endpoint: str
    nbytes: int
    requests: int
    graphs: dict[str, mother.ModelGraph]


def recover(
    family: Family,
    hub: Hub,
    sample: int,
    folder: Path,
    progress: Progress | None = None,
) -> Recovered:
    """Read a sample of each model into the folder, and recover the family by both methods.

    sample: weights of each layer that are read, 0 for all. progress: called with bytes read and
    in all. Raises InputError.
    """
    opened = [hub.open(family, model) for model in family.models]
    sampled = shared(opened)
    total, done = sum(size(model, sample) for model in sampled), 0

    def report(step: int) -> None:
        nonlocal done
        done += step
        if progress is not None:
            progress(done, total)

    for model in sampled:
        write_sample(model, sample, folder / f"{model.model.name}.safetensors", report)
    paths = [folder / f"{model.name}.safetensors" for model in family.models]
    graphs = {
        DEFAULT: mother.recover(paths),
        PAPER: mother.recover(paths, method="mother", distance="ft", stage=family.stage, trees=1),
    }
    return Recovered(family, tuple(opened), sample, hub.endpoint, hub.nbytes, hub.requests, graphs)


def write_page(found: Recovered, command: str, path: Path) -> None:
    """Write the page about it."""
    family = found.family
    truths = {truth.source: truth.edges for truth in family.truths}
    there = sum(model.nbytes for model in found.opened)
    what = f"{found.sample} weights of each layer" if found.sample else "all weights"
    lines = [
        f"# In the wild: {family.title}",
        "",
        page.made_by(command),
        "",
        *_served(found.endpoint),
        f"Read: {what}, {page.nbytes(found.nbytes)} of {page.nbytes(there)} in {found.requests} "
        "requests. Rows of each layer in four runs, the same in all models; headers first.",
        "",
        *(line for remark in family.remarks for line in (remark, "")),
        "## Documented and found",
        "",
        *page.scores(truths, found.graphs),
        "In brackets: with either direction. Each model's parent, as documented and as found; the "
        "default method gets no label, the paper's gets the number of trees and the label "
        f"*{family.stage}* for all models:",
        "",
        *page.parents((m.name for m in family.models), truths, found.graphs),
    ]
    for method, graph in found.graphs.items():
        lines += [f"{method[0].upper()}{method[1:]}:", "", *page.tree(graph)]
    lines += ["## What was read", "", *_places(found.opened)]
    page.write(path, lines)


def _served(endpoint: str) -> Sequence[str]:
    if endpoint == page.OFFICIAL:
        return ()
    return (
        "**This run has not seen the real weights.** They were served by another Hub, set by "
        "HF_ENDPOINT. What this page shows is that the command works, and what it would say; "
        "nothing on it is a finding about the family that its repositories are named after. "
        "`python experiments/tests/stand_ins.py COMMAND` serves such models: small ones with the "
        "names and layers of the real ones, trained into the tree of the first truth below.",
        "",
    )


def _places(opened: Sequence[Opened]) -> list[str]:
    return page.table(
        ["model", "repository", "commit", "files", "size"],
        (
            [m.model.name, m.repository, m.commit[:12], str(len(m.files)), page.nbytes(m.nbytes)]
            for m in opened
        ),
    )
