"""python -m experiments.lab.families DATA [MANY]: adapters against their family and a stranger.

MANY adapters of each kind are trained, by turns on models of the lab's two families, and recovered
beside the roots of both: is each attached to its own family, and none to the other? Without a
claim, so that factors alone tell."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import torch

import mother
from experiments.lab.adapters import LORA, TARGETS, _claiming
from experiments.lab.models import load, trained

FAMILIES = (("base", ("base", "a", "b", "c", "d")), ("stranger", ("stranger", "t")))
TEXTS = ("licences", "readme", "manual", "headers")
KINDS: dict[str, tuple[str, float, dict[str, object]]] = {
    "LoRA": ("LoraConfig", 5e-3, LORA),
    "LoRA of q and v": ("LoraConfig", 5e-3, LORA | {"target_modules": ["q_proj", "v_proj"]}),
    "LoHa": ("LoHaConfig", 5e-3, {"r": 4, "alpha": 8, "target_modules": TARGETS}),
    "OFT": ("OFTConfig", 5e-3, {"oft_block_size": 16, "target_modules": ["q_proj", "v_proj"]}),
}


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.argument("many", type=int, default=25)
def main(data: Path, many: int) -> None:
    """Print by kind how many adapters hang from their own family, from the other, and from none."""
    import peft

    for kind, (config, rate, settings) in KINDS.items():
        told = {"own": 0, "other": 0, "none": 0}
        for k in range(many):
            root, members = FAMILIES[k % 2]
            torch.manual_seed(k)
            model = load(data / "family" / members[k % len(members)])
            model = peft.get_peft_model(model, getattr(peft, config)(**settings))
            trained(model, TEXTS[k % len(TEXTS)], 40, seed=k, rate=rate)
            with tempfile.TemporaryDirectory() as place:
                out = Path(place) / "x"
                model.save_pretrained(out)
                _claiming(out, None)
                roots = [data / "family" / name for name, _ in FAMILIES]
                graph = mother.recover([*roots, out], bootstrap=0)
            parents = [e.parent for e in graph.edges if e.child == "x"]
            told["none" if not parents else "own" if parents == [root] else "other"] += 1
        print(kind, " ".join(f"{name} {n}" for name, n in told.items()), flush=True)


if __name__ == "__main__":
    main()
