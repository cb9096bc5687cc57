"""How far a search through folders has come, and where it ends."""

from __future__ import annotations

from dataclasses import dataclass

#: names in folders that one search looks at; ten times what a large cache of models holds
MAX_NAMES = 2_000_000


@dataclass
class Looked:
    """names: in the folders that this process has looked at, for whoever shows how far it is."""

    names: int = 0


LOOKED = Looked()
