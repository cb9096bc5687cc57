"""From stored tensors to canonical layers: one group of models an architecture, its layers aligned.

Everything is measured in the canonical layout. Knows nothing of trees.
"""

from mother.layouts.alignment import Group, Layer, align
from mother.layouts.content import in_one_layout

__all__ = ["Group", "Layer", "align", "in_one_layout"]
