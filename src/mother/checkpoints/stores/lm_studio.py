"""LM Studio's models: .lmstudio/models/PUBLISHER/MODEL/FILE.gguf, or a folder of MLX's in place of
the file.

Layout: https://lmstudio.ai/docs/app/advanced/import-model
"""

from __future__ import annotations

from pathlib import Path

from mother.checkpoints.folders import listing, shard_set
from mother.checkpoints.stores.place import Place, Store
from mother.errors import InputError

_HOMES = (".lmstudio", "lm-studio")
#: what a model's image encoder is called, which lies beside it
_PROJECTOR = "mmproj"


def place(path: Path) -> Place | None:
    """PUBLISHER/MODEL, and the file where there are several."""
    home = next((p for p in path.parents if p.name == "models" and p.parent.name in _HOMES), None)
    if home is None or len(parts := path.relative_to(home).parts) < 2:
        return None
    model, inside = "/".join(parts[:2]), parts[2:]
    if inside and inside[-1].lower().startswith(_PROJECTOR):
        return Place(model, inside, home, note="a projector: a component of the model beside it")
    if len(inside) == 1 and _models(home.joinpath(*parts[:2])) == 1:
        return Place(model, (), home, "/".join(parts))
    return Place(model, inside, home)


def _models(folder: Path) -> int:
    """How many models its GGUF files are."""
    try:
        names = [name for name in listing(folder) if name.lower().endswith(".gguf")]
    except InputError:
        return 0
    shards = ((name, shard_set(name)) for name in names)
    stems = {found[0] if found else name for name, found in shards}
    return sum(not stem.lower().startswith(_PROJECTOR) for stem in stems)


STORE = Store(place)
