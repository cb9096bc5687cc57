"""mother compare"""

from __future__ import annotations

import json
from dataclasses import asdict

import click

import mother.comparison
from mother.assembly import UNSURE
from mother.cli.output import print_lines
from mother.comparison import Comparison
from mother.views.heat import heat
from mother.views.terminal import printable

_SENTENCES = {
    "strangers": "Strangers: not trained from each other, nor from a common ancestor.",
    "duplicate": "Duplicates: the same weights.",
    "siblings": "Siblings: both come from an ancestor that is neither of them.",
}
_STEPS = {
    "converted": "converted to a coarser number type",
    "fine-tune": "fine-tuned",
    "continuation": "trained further",
    "lora": "LoRA-tuned",
}
_SHOWN = 10


def sentence(c: Comparison) -> str:
    """The relation in one sentence."""
    if c.relation == "strangers" and c.kinship is None:
        return "Strangers: of different architectures, with nothing to compare."
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
    return f"{said}, or the reverse ({sure})." if unsure(c) else f"{said} ({sure})."


def unsure(c: Comparison) -> bool:
    """Whether the direction is as good as unknown."""
    p = c.direction_probability
    return p is not None and abs(p - 0.5) < UNSURE


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--base", type=click.Path(), help="Base that a LoRA adapter is merged into.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, with all layers.")
def compare(a: str, b: str, base: str | None, as_json: bool) -> None:
    """What two checkpoints are to each other, with evidence by layer."""
    result = mother.comparison.compare(a, b, base=base)
    if as_json:
        click.echo(json.dumps(asdict(result), indent=1, allow_nan=False))
        return
    click.echo(sentence(result))
    if result.kinship is not None:
        click.echo(f"kinship    {result.kinship:.3g}   (above 1: related)")
    if result.distance is not None:
        click.echo(f"distance   {result.distance:.3g}   (share of the parent's norm that changed)")
    if result.polarity is not None:
        click.echo(
            f"polarity   {result.polarity:.2f}   (0: a child, 0.5: a sibling, 1: the parent)"
        )
    moved = sorted(result.layers, key=lambda layer: -(layer.change or 0.0))
    if moved:
        click.echo(f"\n{'layer':48} {'change':>8} {'cosine':>8} {'polarity':>8}")
    for layer in moved[:_SHOWN]:
        figures = (layer.change, layer.cosine, layer.polarity)
        cells = " ".join(f"{'-' if x is None else f'{x:.3f}':>8}" for x in figures)
        click.echo(f"{printable(layer.name)[:48]:48} {cells}")
    if len(moved) > _SHOWN:
        same = sum(layer.change == 0.0 for layer in moved)
        click.echo(f"… {len(moved) - _SHOWN} more layers, {same} in all unchanged (--json has all)")
    if any(layer.change for layer in moved):
        click.echo()
        names, changes = zip(*((x.name, x.change) for x in result.layers), strict=True)
        print_lines(heat(names, changes))
    for line in result.not_compared[:_SHOWN]:
        click.echo(f"not compared: {printable(line)}")
    if len(result.not_compared) > _SHOWN:
        click.echo(f"not compared: … {len(result.not_compared) - _SHOWN} more")
