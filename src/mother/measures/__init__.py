"""The single streaming pass over aligned layers and what it yields. Knows nothing of relations."""

from mother.measures.lowrank import rank_distances
from mother.measures.shapes import as_matrix, is_matrix
from mother.measures.stream import Measures, as_if_drawn, measure

__all__ = [
    "Measures",
    "as_if_drawn",
    "as_matrix",
    "is_matrix",
    "measure",
    "rank_distances",
]
