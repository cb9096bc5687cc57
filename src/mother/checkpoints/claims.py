"""What a checkpoint's metadata says of its parents and its licence. Weights are not looked at.

Claims are written by whoever made the files and are neither checked nor believed here.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mother.checkpoints.folders import is_folder, is_training_state, listing, shard_set
from mother.checkpoints.front_matter import Entry, read_front_matter
from mother.checkpoints.gguf_header import looks_like_gguf, read_gguf_fields
from mother.checkpoints.safetensors import looks_like_safetensors, read_metadata
from mother.checkpoints.storage import File, refusal
from mother.checkpoints.tensor import Problem, clean
from mother.errors import InputError

MAX_JSON = 16 << 20
MAX_VALUE = 1000
MAX_BASES = 100
_HUB = ("https://huggingface.co/", "https://hf.co/", "hf://", "huggingface.co/")
#: keys that name a parent, by file
_PARENT_KEYS = {
    "config.json": "_name_or_path",
    "model_index.json": "_name_or_path",
    "adapter_config.json": "base_model_name_or_path",
}
#: keys of a safetensors file's metadata; the last is what kohya's LoRA trainer writes
_METADATA_PARENTS = ("base_model", "base_model_name_or_path", "_name_or_path", "ss_sd_model_name")
_METADATA_LICENCES = ("license", "modelspec.license")
_GGUF_SOURCES = ("general.source.huggingface.repository", "general.source.repo_url")
#: what a card says where the licence is none of the Hub's: its name is under license_name
_ELSEWHERE = {"other", "unknown"}


@dataclass(frozen=True)
class Claim:
    """`value` stands under `key` in `file`; line: from 1, None where the file is not text."""

    key: str
    value: str
    file: Path
    line: int | None = None


@dataclass(frozen=True)
class Claims:
    """What one checkpoint's metadata says. relations: kinds of step from the parents, as the card
    calls them (adapter, finetune, merge, quantized). files: what was read, cards first. faults:
    metadata that could not be read."""

    parents: tuple[Claim, ...] = ()
    licences: tuple[Claim, ...] = ()
    relations: tuple[Claim, ...] = ()
    files: tuple[Path, ...] = ()
    faults: tuple[Problem, ...] = ()

    def __add__(self, other: Claims) -> Claims:
        return Claims(
            self.parents + other.parents,
            self.licences + other.licences,
            self.relations + other.relations,
            self.files + other.files,
            self.faults + other.faults,
        )


def read_claims(path: str | os.PathLike[str], *, alone: bool = True) -> Claims:
    """The claims of the checkpoint at a path, a file or a folder.

    Read are the front matter of README.md, config.json, model_index.json, adapter_config.json,
    the metadata of safetensors files and the header of GGUF files. alone: whether no other
    checkpoint lies in the file's folder, so that the cards beside it speak of it. Never raises
    InputError: what can't be read is among `faults`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     card = Path(folder, "README.md")
    ...     _ = card.write_text("---\\nbase_model: org/base\\nlicense: mit\\n---\\n# Tuned")
    ...     claims = read_claims(folder)
    ...     [(c.key, c.value, c.line) for c in claims.parents + claims.licences]
    [('base_model', 'org/base', 2), ('license', 'mit', 3)]
    """
    path = Path(path)
    whole = is_folder(path)
    folder = path if whole else path.parent
    claims = Claims()
    names: list[str] = []
    if whole or alone:
        try:
            names = listing(folder)
        except InputError as error:
            return Claims(faults=(Problem(folder, error.fault),))
    for name in names:
        if name.lower() == "readme.md" or name in _PARENT_KEYS:
            claims += _of_text(folder, name)
    for name in with_metadata(names) if whole else [path.name]:
        claims += _of_weights(folder / name)
    return claims


def read_all_claims(models: Mapping[str, Path], opened: Iterable[Path]) -> dict[str, Claims]:
    """The claims of models, of id -> path. opened: all checkpoints there are, also such as could
    not be read: a card beside several files speaks of none of them."""
    lying = Counter(path.parent for path in opened if not is_folder(path))
    return {id_: read_claims(p, alone=lying[p.parent] <= 1) for id_, p in models.items()}


def with_metadata(names: list[str]) -> list[str]:
    """A folder's GGUF files and its first safetensors file: shards all say the same."""
    stored = [n for n in names if n.endswith(".safetensors") and not is_training_state(n)]
    return [*(name for name in names if is_gguf(name)), *stored[:1]]


def is_gguf(name: str) -> bool:
    """Whether a file is GGUF by its name; of a sharded set, only the first is.

    >>> is_gguf("q4.gguf"), is_gguf("q4-00002-of-00002.gguf")
    (True, False)
    """
    shards = shard_set(name)
    return name.lower().endswith(".gguf") and (shards is None or shards[1][0] == name)


def _of_text(folder: Path, name: str) -> Claims:
    path = folder / name
    try:
        file = File(inside(folder, path))
        if name in _PARENT_KEYS:
            return _of_json(file, path, _PARENT_KEYS[name])
        return _of_card(read_front_matter(file), path)
    except InputError as error:
        return Claims(faults=(Problem(path, error.fault),))


def inside(folder: Path, path: Path) -> Path:
    """The path, unless it is a link out of the folder. In a cache of Hugging Face's, files are
    links into the repository's blobs. Raises InputError."""
    root = Path(os.path.realpath(folder))
    if root.parent.name == "snapshots" and root.parent.parent.name.startswith("models--"):
        root = root.parent.parent
    if not Path(os.path.realpath(path)).is_relative_to(root):
        raise refusal(path, "a link out of its folder is not followed")
    return path


def _of_card(entries: Mapping[str, list[Entry]], path: Path) -> Claims:
    def told(key: str) -> tuple[Claim, ...]:
        return tuple(
            Claim(key, e.value, path, e.line) for e in entries.get(key, []) if e.value.strip()
        )

    licences = told("license")
    if not licences or all(x.value.lower() in _ELSEWHERE for x in licences):
        licences = told("license_name") or licences
    return Claims(told("base_model"), licences, told("base_model_relation"), (path,))


def _of_json(file: File, path: Path, key: str) -> Claims:
    if file.size > MAX_JSON:
        raise file.fault(f"has {file.size} bytes; JSON of {MAX_JSON} is the most")
    try:
        text = file.read(0, file.size).decode("utf-8-sig")
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise file.fault("not valid JSON") from None
    named = value.get(key) if isinstance(value, dict) else None
    if not isinstance(named, str) or not named:
        return Claims(files=(path,))
    line = text.count("\n", 0, max(text.find(f'"{key}"'), 0)) + 1
    return Claims((Claim(key, _bounded(named), path, line),), files=(path,))


def _of_weights(path: Path) -> Claims:
    try:
        file = File(path)
        start = file.read(0, min(file.size, 9))
        if looks_like_gguf(start):
            return _of_gguf(read_gguf_fields(file), path)
        if looks_like_safetensors(start):
            return _of_metadata(read_metadata(file), path)
    except InputError as error:
        return Claims(faults=(Problem(path, error.fault),))
    return Claims()


def _of_metadata(stored: Mapping[str, str], path: Path) -> Claims:
    def told(keys: tuple[str, ...]) -> tuple[Claim, ...]:
        return tuple(Claim(k, _bounded(stored[k]), path) for k in keys if stored.get(k))

    return Claims(told(_METADATA_PARENTS), told(_METADATA_LICENCES), files=(path,))


def _of_gguf(fields: Mapping[str, object], path: Path) -> Claims:
    def told(key: str) -> Iterator[Claim]:
        value = fields.get(key)
        if isinstance(value, str) and value:
            yield Claim(key, _bounded(value), path)

    parents = [claim for key in _GGUF_SOURCES for claim in told(key)]
    count = fields.get("general.base_model.count")
    for k in range(min(count, MAX_BASES) if isinstance(count, int) else 0):
        stem = f"general.base_model.{k}."
        owner, name = next(told(stem + "organization"), None), next(told(stem + "name"), None)
        if address := [*told(stem + "repo_url")]:
            parents += address
        elif name is not None:
            whole = f"{owner.value}/{name.value}" if owner is not None else name.value
            parents.append(Claim(name.key, whole, path))
    licences = [*told("general.license")]
    if not licences or all(x.value.lower() in _ELSEWHERE for x in licences):
        licences = [*told("general.license.name")] or licences
    return Claims(tuple(parents), tuple(licences), files=(path,))


def _bounded(value: str) -> str:
    return clean(value[:MAX_VALUE])


def repository(name: str) -> str:
    """A model's name as its repository is called: without a hub's address and a revision.

    >>> repository("https://huggingface.co/org/base/tree/main"), repository("org/base@v2")
    ('org/base', 'org/base')
    """
    name = name.strip()
    for hub in _HUB:
        if name.lower().startswith(hub):
            return "/".join(name[len(hub) :].split("?")[0].split("/")[:2]).split("@")[0]
    return name.split("@")[0] if name.count("/") == 1 else name
