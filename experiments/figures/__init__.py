"""The paper's tables and figures, and more: one module a page."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.figures.families import Data
    from experiments.figures.pages import Page

#: what each page shows, by the name of its command, of its files and, less hyphens, of its module
EXPERIMENTS = {
    "splits": "Every split, the paper's and those past it, by both methods.",
    "direction": "Direction: every split and the demo, by both methods and by polarity alone.",
    "strangers": "Strangers: who is called a relative without being one.",
    "calibration": "Calibration: how often what is said with a probability is true.",
    "robustness": "Robustness: models rounded, quantized and pruned, in place and beside.",
    "sketch": "Sketches: what they lose against the full weights, by bytes a model.",
    "ablation": "Ablation: what each kind of evidence adds, and costs in time.",
    "table1": "Table 1: accuracy by split and root, per tree and whole graph.",
    "table4": "Table 4: accuracy on smaller trees.",
    "figure2": "Figure 2: distance against number of edges.",
    "figure3": "Figure 3: the directional score over pre-training and fine-tuning.",
    "figure4": "Figure 4: all graphs of three models.",
    "figure7": "Figure 7: clustering against the size of the graph.",
    "scores": "Figures 9 to 14: five directional scores over fine-tuning.",
    "layer-types": "Figures 15 to 19: the score of each type of layer over fine-tuning.",
    "lora-ablation": "LoRA of varying rank with the distance for full fine-tuning.",
    "siblings": "Near-identical siblings, that differ by their seed only.",
    "constant-c": "The effect of c, which weighs direction against distance.",
}


def page(name: str, data: Data) -> Page:
    """Find what the page of that name shows. NotBuilt where its data is missing."""
    module = import_module(f"experiments.figures.{name.replace('-', '_')}")
    found: Page = module.page(data)
    return found
