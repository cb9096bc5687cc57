"""All data and all pages by one command, and the index of the pages."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from experiments.build import Build, Workers
from experiments.figures import EXPERIMENTS, page
from experiments.figures.families import Data, NotBuilt
from experiments.figures.pages import markdown, write
from experiments.mixed import mix
from experiments.scales import SCALES
from experiments.splits import available
from experiments.wild.page import made_by

#: what is built with every seed; the other splits are with the first alone
EVERY_SEED = ("ft", "lora-v", "lora-f", "same-seed")
#: trained by the experiments that watch them
_WATCHES = {
    "figure3": "courses",
    "scores": "courses",
    "layer-types": "courses",
    "siblings": "siblings",
}

Say = Callable[[str], None]


def build_all(data: Data, say: Say) -> None:
    """Every split with the first seed, mixed among them, and some with the others."""
    every = available(SCALES[data.scale])
    with Workers(data.processes) as workers:
        for number, seed in enumerate(data.seeds):
            splits = [s for s in every if number == 0 or s in EVERY_SEED]
            builds = [Build(s, data.scale, seed, data.folder(s, seed), data.roots) for s in splits]
            for build in builds:
                build.run(workers)
                say(str(build.folder))
            if number == 0:
                mix(builds, data.folder("mixed", seed), data.scale, seed)
                say(str(data.folder("mixed", seed)))


def write_page(name: str, data: Data, out: Path, command: str) -> None:
    """One experiment's page, CSV and SVG. NotBuilt where its data is missing."""
    if name in _WATCHES:  # training is no part of the page's time
        data.watched(_WATCHES[name])
    start = time.perf_counter()
    found = page(name, data)
    write(found, name, out, command, time.perf_counter() - start)


def write_all(data: Data, out: Path, command: str, options: str, say: Say) -> list[str]:
    """All pages whose data is there, and their index; returns what is missing."""
    start = time.perf_counter()
    lines, missing = [], []
    for name, title in EXPERIMENTS.items():
        began = time.perf_counter()
        own = f"python -m experiments {name} {options}"
        try:
            write_page(name, data, out, own)
        except NotBuilt as fault:
            missing.append(f"{name}: {fault}")
            continue
        lines.append(
            [f"[{name}]({name}.md)", title.rstrip("."), f"{time.perf_counter() - began:.0f} s"]
        )
        say(str(out / f"{name}.md"))
    pages = time.perf_counter() - start
    others = sorted({path.stem for path in out.glob("*.md")} - {"README", *EXPERIMENTS})
    text = _index(data, command, lines, others, missing, pages)
    (out / "README.md").write_text(text, encoding="utf-8")
    return missing


def _index(
    data: Data,
    command: str,
    lines: list[list[str]],
    others: list[str],
    missing: list[str],
    pages: float,
) -> str:
    trained = _training(data)
    total = sum(seconds for _, _, seconds in trained)
    table = [[name, models, _time(seconds)] for name, models, seconds in trained]
    parts = [
        "# Experiments",
        "The paper's tables and figures, and what goes past them, on models that are trained for "
        "the purpose and whose heritage is known: the paper's method and ours side by side on the "
        "same models. `make experiments` trains the models and writes all pages anew.",
        markdown(["page", "what", "took"], lines),
        f"{made_by(command)} The pages took {_time(pages)}, where what they watch was "
        f"trained already the figures alone; the models took {_time(total)} of training on one "
        f"core each, by the builder's records: together {_time(pages + total)} of one core.",
        markdown(["models, with seeds", "trained", "on one core"], table),
    ]
    if others:
        linked = ", ".join(f"[{name}]({name}.md)" for name in others)
        parts.append(f"By commands of their own: {linked}.")
    if missing:
        parts.append("Not there:\n\n" + "\n".join(f"- {line}" for line in missing))
    return "\n\n".join(parts) + "\n"


def _training(data: Data) -> list[tuple[str, int, float]]:
    """Of each split: its name with the seeds, the number of models trained, and seconds."""
    out = []
    for split in ("roots", *available(SCALES[data.scale]), *dict.fromkeys(_WATCHES.values())):
        there = replace(data, seeds=(0,)).there(split) if split == "roots" else data.there(split)
        if there:
            runs = [run for seed in there for run in _runs(data.folder(split, seed))]
            name = f"{split} ({', '.join(map(str, there))})"
            out.append((name, sum(models for models, _ in runs), sum(s for _, s in runs)))
    return out


def _runs(folder: Path) -> list[tuple[int, float]]:
    """Models and seconds of each training run: those of its last checkpoint, since a record's
    seconds count from the start of its run."""
    records = json.loads((folder / "records.json").read_text())["models"].values()
    runs: dict[str, list[float]] = {}
    for number, record in enumerate(records):
        if "seconds" in record:
            several = len(record["recipe"]["marks"]) > 1
            key = json.dumps([record["recipe"], record["task"]]) if several else str(number)
            runs.setdefault(key, []).append(record["seconds"])
    return [(len(seconds), max(seconds)) for seconds in runs.values()]


def _time(seconds: float) -> str:
    """
    >>> _time(59.4), _time(3700)
    ('59 s', '1 h 2 min')
    """
    minutes = round(seconds / 60)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
