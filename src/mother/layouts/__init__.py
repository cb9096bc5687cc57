"""From stored tensors to canonical layers: one group of models an architecture, its layers aligned.

Everything is measured in the canonical layout. Knows nothing of trees.
"""

from mother.layouts.alignment import Group, Layer, align

__all__ = ["Group", "Layer", "align"]
