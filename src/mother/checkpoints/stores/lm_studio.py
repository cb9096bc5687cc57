"""LM Studio's models: .lmstudio/models/PUBLISHER/MODEL/FILE.gguf, or a folder of MLX's in place of
the file. Its settings name another folder where the user chose one.

Layout: https://lmstudio.ai/docs/app/advanced/import-model; the folder is "downloadsFolder" in
~/.lmstudio/settings.json.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from mother.checkpoints.folders import listing, shard_set
from mother.checkpoints.json_files import read_json
from mother.checkpoints.stores.place import Place, Store
from mother.errors import InputError

_HOMES = (".lmstudio", "lm-studio")
#: bytes of its settings
MAX_SETTINGS = 1 << 20
#: what a model's image encoder is called, which lies beside it
_PROJECTOR = "mmproj"


def place(path: Path) -> Place | None:
    """PUBLISHER/MODEL, and the file where there are several."""
    chosen = downloads(Path("~").expanduser())
    usual = (p for p in path.parents if p.name == "models" and p.parent.name in _HOMES)
    home = chosen if chosen in path.parents else next(usual, None)
    if home is None or len(parts := path.relative_to(home).parts) < 2:
        return None
    model, inside = "/".join(parts[:2]), parts[2:]
    if inside and inside[-1].lower().startswith(_PROJECTOR):
        return Place(model, inside, home, note="a projector: a component of the model beside it")
    if len(inside) == 1 and _models(home.joinpath(*parts[:2])) == 1:
        return Place(model, (), home, "/".join(parts))
    return Place(model, inside, home)


@cache
def downloads(home: Path) -> Path | None:
    """The folder that a user's settings name; None where there are none that can be read."""
    try:
        told = read_json(home / ".lmstudio" / "settings.json", MAX_SETTINGS).get("downloadsFolder")
    except InputError:
        return None
    return Path(told) if isinstance(told, str) and told else None


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
