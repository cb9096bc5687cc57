"""A store of sketches that grows: models are added, removed and placed one by one, and the forest
is kept up with them."""

from mother.index.catalogue import Model
from mother.index.index import Added, Index
from mother.index.settings import Settings
from mother.index.store import is_index

__all__ = ["Added", "Index", "Model", "Settings", "is_index"]
