"""A store of sketches that grows: models are added, removed and placed one by one, and the forest
is kept up with them."""

from mother.index.index import Added, Index, Model

__all__ = ["Added", "Index", "Model"]
