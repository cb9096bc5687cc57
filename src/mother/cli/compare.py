"""mother compare"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click

import mother.comparison
from mother.cli.output import print_lines
from mother.comparison import Comparison, LayerEvidence
from mother.graph.assembly import UNSURE
from mother.views.explanation import odds
from mother.views.heat import heat
from mother.views.terminal import printable, shortened

_SENTENCES = {
    "unknown": "Unknown: of different architectures, so their weights can't be compared.",
    "strangers": "Strangers: not trained from each other, nor from a common ancestor.",
    "duplicate": "Duplicates: the same weights.",
    "siblings": "Siblings: both come from an ancestor that is neither of them.",
    "relatives": "Relatives: what they have in common did not change, so who was first is unknown.",
}
_STEPS = {
    "converted": "converted to a coarser number type",
    "quantized": "rounded to a grid",
    "pruned": "pruned",
    "fine-tune": "fine-tuned",
    "continuation": "trained further",
    "lora": "LoRA-tuned",
}
_SHOWN = 10
_LOUDEST = 5


def sentence(c: Comparison) -> str:
    """The relation in one sentence."""
    if c.relation == "converted" and c.parent is None:
        return "The same weights in another framework: other names or another order of axes."
    if c.relation in _SENTENCES:
        return _SENTENCES[c.relation]
    parent, child = (c.a, c.b) if c.parent == "a" else (c.b, c.a)
    rank = f" (rank {c.rank})" if c.rank is not None else ""
    said = f"{printable(child)} is {_STEPS[c.relation]}{rank} from {printable(parent)}"
    if c.direction_probability is None:
        return f"{said}."
    sure = f"probability of this direction {c.direction_probability:.2f}"
    other = ", or the reverse, or both come from a third" if unsure(c) else ""
    return f"{said}{other} ({sure})."


def unsure(c: Comparison) -> bool:
    """Whether the direction is as good as unknown."""
    p = c.direction_probability
    return p is not None and p < 0.5 + UNSURE


def relation(c: Comparison) -> Iterator[str]:
    """The relation and its figures, those that are known."""
    yield sentence(c)
    if c.kinship is not None:
        yield f"kinship    {c.kinship:.3g}   (above 1: related)"
    if c.distance is not None:
        yield f"distance   {c.distance:.3g}   (share of the parent's norm that changed)"
    if c.polarity is not None:
        share = round(c.polarity, 2) + 0.0  # no minus before a zero
        yield f"polarity   {share:.2f}   (0: a child, 0.5: a sibling, 1: the parent)"
    if c.parent is not None and c.distance:
        yield f"stage      {c.stage or 'unknown   (two models alone rarely tell)'}"


def reasons(c: Comparison) -> Iterator[str]:
    """What speaks for and against it."""
    if c.evidence:
        yield "\nwhy, and what speaks against it"
    for reason in c.evidence:
        weight = odds(reason.log_odds)
        yield f"  {reason.kind:13}  {weight}: {printable(reason.says)}"


def layers(c: Comparison) -> Iterator[str]:
    """The layers that say most of the direction, and those that changed most."""
    telling = [layer for layer in c.layers if layer.log_odds]
    if c.parent is not None and telling:
        loud = sorted(telling, key=lambda layer: -abs(layer.log_odds or 0.0))
        yield "\nloudest on the direction: log-odds for it, against it below 0"
        yield from _table(loud[:_LOUDEST], c.parent)
    moved = sorted(c.layers, key=lambda layer: -(layer.change or 0.0))
    if moved:
        yield "\nchanged most"
        yield from _table(moved[:_SHOWN], c.parent)
    if len(moved) > _SHOWN:
        same = sum(layer.change == 0.0 for layer in moved)
        yield f"… {len(moved) - _SHOWN} more layers, {same} in all unchanged (--json has all)"


def _table(rows: Sequence[LayerEvidence], parent: str | None) -> Iterator[str]:
    heads = ("change", "cosine", "polarity", *(["log-odds"] if parent is not None else []))
    yield f"{'layer':40} " + " ".join(f"{head:>8}" for head in heads)
    for row in rows:
        figures = [row.change, row.cosine, row.polarity]
        if parent is not None:
            reverse = parent == "b" and row.log_odds is not None
            figures.append(-(row.log_odds or 0.0) if reverse else row.log_odds)
        cells = " ".join(f"{'-' if x is None else f'{x:.3f}':>8}" for x in figures)
        yield f"{shortened(printable(row.name), 40):40} {cells}"


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--base", metavar="PATH", help="Base that a LoRA adapter is merged into.")
@click.option(
    "--download",
    is_flag=True,
    help="Keep weights from the Hub in its cache (HF_HOME), whole files, for the next time.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, with all layers.")
def compare(a: str, b: str, base: str | None, download: bool, as_json: bool) -> None:
    """What two checkpoints are to each other, and why.

    A and B are paths, or addresses on the Hub: hf://owner/name[@revision][/path].

    Prints the relation, what speaks for it and against it, the layers that say most, those that
    changed most, and what was not compared.
    """
    result = mother.comparison.compare(a, b, base=base, download=download)
    if as_json:
        click.echo(json.dumps(asdict(result), indent=1, allow_nan=False))
        return
    for line in (*relation(result), *reasons(result), *layers(result)):
        click.echo(line)
    if any(layer.change for layer in result.layers):
        click.echo()
        names, changes = zip(*((x.name, x.change) for x in result.layers), strict=True)
        print_lines(heat(names, changes))
    for line in result.not_compared[:_SHOWN]:
        click.echo(f"not compared: {printable(line)}")
    if len(result.not_compared) > _SHOWN:
        click.echo(f"not compared: … {len(result.not_compared) - _SHOWN} more")
