"""Models whose parts lie in subfolders: diffusers' pipelines and sentence-transformers' modules.

Layouts: https://huggingface.co/docs/diffusers/using-diffusers/loading and
https://sbert.net/docs/package_reference/sentence_transformer/models.html
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mother.checkpoints.json_files import MAX_CONFIG, read_json, read_json_list
from mother.errors import InputError

PIPELINE, MODULES = "model_index.json", "modules.json"
#: the folder itself, as a part
ITSELF = "."


def parts_of_folder(folder: Path, names: list[str]) -> Mapping[str, str]:
    """Which names in a folder may be parts of its model, each with what goes before the names of
    its tensors; none where the folder lists no parts. Raises InputError."""
    if PIPELINE in names:
        index = read_json(folder / PIPELINE, MAX_CONFIG)
        return {name: f"{name}." for name in names if name in index}
    return _modules(folder, names) if MODULES in names else {}


def _modules(folder: Path, names: list[str]) -> Mapping[str, str]:
    """The first is the transformer, whose tensors are called as without the rest."""
    try:
        listed = read_json_list(folder / MODULES)
    except InputError:  # another program's, or damaged: the transformer lies in the folder itself
        return {}
    places = [m.get("path") if isinstance(m, dict) and "type" in m else None for m in listed]
    told = [ITSELF if place == "" else place for place in places if place == "" or place in names]
    return {place: f"{place}." if k else "" for k, place in enumerate(told)}
