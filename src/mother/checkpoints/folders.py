"""Folders that are one checkpoint: transformers, diffusers, TensorFlow.js, sharded sets."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from mother.checkpoints.composed import ITSELF, PIPELINE, parts_of_folder
from mother.checkpoints.coreml_files import is_compiled, is_package, read_compiled, read_package
from mother.checkpoints.distributed_files import is_distributed, read_distributed
from mother.checkpoints.formats import ending, open_file, parts_of
from mother.checkpoints.json_files import MAX_CONFIG, read_config, read_json
from mother.checkpoints.looking import MAX_NAMES
from mother.checkpoints.meta_files import is_consolidated, read_consolidated
from mother.checkpoints.mlc_files import is_mlc, read_mlc
from mother.checkpoints.orbax_files import is_of_orbax, is_orbax, read_orbax
from mother.checkpoints.storage import MISSING, File, reason, refusal
from mother.checkpoints.tensor import Checkpoint, Tensor, clean
from mother.checkpoints.tensorflow_files import is_saved_model, read_saved_model
from mother.checkpoints.tfjs_files import is_tfjs, read_tfjs
from mother.checkpoints.torch_files import steps_in
from mother.checkpoints.unpacking import unpacked
from mother.checkpoints.zero_files import is_zero, read_zero
from mother.errors import InputError


class FolderFormat(NamedTuple):
    """How one format that takes a whole folder is told and read.

    matches: whether a folder with these names is of it. read: its checkpoint; raises InputError.
    inside: whether a subfolder of that name is part of it. beside: files that are, without weights.
    """

    matches: Callable[[list[str]], bool]
    read: Callable[[Path], Checkpoint]
    inside: Callable[[str], bool] = lambda name: False
    beside: tuple[str, ...] = ()


#: the first that matches reads the folder, unless it holds weights under a standard name
FOLDERS = (
    FolderFormat(is_tfjs, read_tfjs),
    FolderFormat(is_mlc, read_mlc),
    FolderFormat(is_package, read_package, {"Data"}.__contains__),
    FolderFormat(is_compiled, read_compiled, {"weights", "analytics", "model"}.__contains__),
    FolderFormat(is_distributed, read_distributed),
    FolderFormat(is_consolidated, read_consolidated),
    FolderFormat(is_zero, read_zero),
    FolderFormat(is_orbax, read_orbax, is_of_orbax),
    FolderFormat(
        is_saved_model,
        read_saved_model,
        {"variables", "assets"}.__contains__,
        ("saved_model.pb", "keras_metadata.pb", "fingerprint.pb"),
    ),
)

#: folders within folders that a search goes down
MAX_DEPTH = 12
_STEMS = ("model", "diffusion_pytorch_model", "pytorch_model")
_ENDINGS = (".safetensors", ".bin")
#: weights by their standard names, the preferred ones first
_STANDARD = [
    *(
        f"{stem}{end}{index}"
        for end in _ENDINGS
        for stem in _STEMS
        for index in ("", ".index.json")
    ),
    "tf_model.h5",
    "flax_model.msgpack",
    "model.weights.h5",
]
_VARIANT = re.compile(
    r"(?:model|diffusion_pytorch_model|pytorch_model)"
    r"(?:\.[\w-]+\.(?:safetensors|bin)|\.(?:safetensors|bin)\.index\.[\w-]+\.json)"
)
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<end>\.\w+)")
#: states of optimizers: of transformers' Trainer, and of accelerate
_OPTIMIZERS = ("optimizer.pt", "optimizer.bin")
#: weight endings of what is no model: the state of a training run
_TRAINING_STATE = re.compile(
    r"(?:optimizer|optim|scheduler|scaler|training_args|rng_state|random_states|trainer_state"
    r"|global_step\d+|.*optim_states|.*_optimizer)(?:[._-].*)?",
    re.I,
)


def is_training_state(name: str) -> bool:
    """Whether a file with a weight ending holds the state of a training run, by its name.

    >>> is_training_state("optimizer.pt"), is_training_state("rng_state_0.pth")
    (True, True)
    >>> is_training_state("model.pt")
    False
    """
    return _TRAINING_STATE.fullmatch(name) is not None


def is_standard(name: str) -> bool:
    """Whether the weights of a folder's one model are called so."""
    return name in _STANDARD or _VARIANT.fullmatch(name) is not None


def is_folder(path: Path) -> bool:
    """Whether a folder is there; False also where it can't be told, for lack of permission."""
    try:
        return path.is_dir()
    except OSError:
        return False


def leads_out(path: Path, root: str) -> bool:
    """Whether a path is a link to a place outside a folder, whose real path `root` is."""
    return path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root)


def listing(folder: Path) -> list[str]:
    """The names in a folder, sorted, hidden ones left out. Raises InputError."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, MAX_NAMES + 1)]
    except OSError as error:
        raise refusal(folder, f"can't be opened: {reason(error)}") from None
    if len(names) > MAX_NAMES:
        raise refusal(folder, f"holds more than {MAX_NAMES:,} names; name files in it")
    return sorted(name for name in names if not name.startswith("."))


def kinds(folder: Path) -> tuple[set[str], set[str]]:
    """Which names in a folder are folders, links to folders among them, and which are links; none
    where it can't be told."""
    folders, links = set[str](), set[str]()
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_symlink():
                    links.add(entry.name)
                if entry.is_dir():
                    folders.add(entry.name)
    return folders, links


def weights_of(names: list[str]) -> str | None:
    """Which file in a folder with these names holds the weights of the folder's one model.

    None where the folder is no model but has models in it.

    >>> weights_of(["config.json", "model.safetensors", "pytorch_model.bin"])
    'model.safetensors'
    >>> weights_of(["a.safetensors", "b.safetensors"]) is None
    True
    """
    if not any(map(is_standard, names)):
        return None
    present = set(names)
    belongs = {part for name in names for part in parts_of(name, present)}
    present -= belongs
    standard = [name for name in _STANDARD if name in present]
    standard += [name for name in names if _VARIANT.fullmatch(name) and name not in standard]
    if not standard:
        return None
    weights = [n for n in names if ending(n) and not is_training_state(n) and n not in belongs]
    foreign = [n for n in weights if n not in standard and not _SHARD.fullmatch(n)]
    if foreign and "config.json" not in present and not standard[0].endswith(".json"):
        return None
    return standard[0]


def folder_format(names: list[str]) -> FolderFormat | None:
    """The format that takes a whole folder with these names, if one does.

    >>> folder_format(["model.safetensors"]) is None
    True
    """
    if weights_of(names) is not None:
        return None
    return next((each for each in FOLDERS if each.matches(names)), None)


def open_model_folder(folder: Path) -> Checkpoint | None:
    """The checkpoint that the folder is, None where it is none. Raises InputError."""
    names = listing(folder)
    parts = components_of(folder, names)
    if parts or PIPELINE in names:
        return _open_composed(folder, parts, PIPELINE in names)
    return _open_whole(folder, names)


def _open_whole(folder: Path, names: list[str]) -> Checkpoint | None:
    weights, whole = weights_of(names), folder_format(names)
    if whole is not None:
        checkpoint = whole.read(folder)
    elif weights is None:
        return None
    else:
        weights, checkpoint = _first_whole(folder, weights, names)
    others = [n for n in names if is_standard(n)]
    notes = [*checkpoint.notes]
    if weights is not None and len(others) > 1:
        left = ", ".join(clean(n) for n in others if n != weights)
        notes.insert(0, f"read {clean(weights)}, left out {left}")
    config: Mapping[str, Any] = {}
    if "config.json" in names:
        config, faults = read_config(folder / "config.json")
        notes.extend(faults)
    steps = {**checkpoint.steps, **_steps_beside(folder, names)}
    told = tuple(notes)
    return unpacked(replace(checkpoint, path=folder, config=config, notes=told, steps=steps))


def _steps_beside(folder: Path, names: list[str]) -> dict[str, Tensor]:
    """What an optimizer counted whose state lies beside the weights, as trainers write it; on the
    Hub it is left there."""
    for path in (folder / name for name in _OPTIMIZERS if name in names):
        if not path.is_symlink():
            with suppress(InputError):
                file = File(path)
                return {} if file.remote else steps_in(file)
    return {}


def _first_whole(folder: Path, weights: str, names: list[str]) -> tuple[str, Checkpoint]:
    """The checkpoint in a folder's weights; of another of its standard files that can be opened
    where they can't, with a note. Raises InputError of the first where none can."""
    others = [name for name in _STANDARD if name in names and name != weights]
    faults: list[InputError] = []
    for name in (weights, *others):
        try:
            found = open_standard(folder, name)
        except InputError as fault:
            faults.append(fault)
        else:
            spoilt = tuple(f"left out {clean(Path(f.path).name)}: {f.fault}" for f in faults)
            return name, replace(found, notes=(*spoilt, *found.notes))
    raise faults[0]


def open_standard(folder: Path, name: str) -> Checkpoint:
    """The checkpoint in a folder's file of that standard name. Raises InputError."""
    path = folder / name
    return _open_sharded(path) if name.endswith(".json") else open_file(path)


def components_of(folder: Path, names: list[str]) -> dict[str, str]:
    """The subfolders of a folder that hold parts of its model, each with what goes before the names
    of its tensors. Raises InputError."""
    told = parts_of_folder(folder, names)
    return {name: before for name, before in told.items() if is_folder(folder / name)}


def _open_composed(folder: Path, parts: Mapping[str, str], pipeline: bool) -> Checkpoint | None:
    """The checkpoint of a folder's parts; of modules, what the first says of itself stands for
    all."""
    config: Mapping[str, Any] = read_json(folder / PIPELINE, MAX_CONFIG) if pipeline else {}
    opened: dict[str, Checkpoint] = {}
    for name in parts:
        within = folder if name == ITSELF else folder / name
        part = _open_whole(within, listing(within))
        if part is not None:
            opened[name] = part
    if not opened and not pipeline:
        return None
    if not opened:
        raise InputError(
            clean(str(folder)), "none of the components in model_index.json holds weights"
        )
    tensors: dict[str, Tensor] = {}
    notes: list[str] = []
    unread: dict[str, int] = {}
    for name, part in opened.items():
        before = clean(parts[name])
        notes += [f"{clean(name)}: {note}" if before else note for note in part.notes]
        tensors |= prefixed(before, part.tensors)
        unread |= {before + n: many for n, many in part.unread.items()}
    files = tuple(file for part in opened.values() for file in part.files)
    whole = replace(
        next(iter(opened.values())),
        id=folder.name,
        path=folder,
        tensors=tensors,
        notes=tuple(notes),
        files=files,
        unread=unread,
    )
    return replace(whole, format="diffusers", config=config) if pipeline else whole


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with a prefix before each name."""
    return {prefix + n: replace(tensor, name=prefix + n) for n, tensor in tensors.items()}


def _open_sharded(index: Path) -> Checkpoint:
    """The checkpoint of an index: {"weight_map": {tensor name: file name}}."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise refusal(index, "has no weight_map")
    for place in places.values():
        if not isinstance(place, str) or not _is_plain(place):
            raise refusal(index, f"names a shard outside its folder: {clean(str(place))[:200]!r}")
    shards = _open_shards(index.parent, sorted(set(places.values())))
    tensors: dict[str, Tensor] = {}
    for name, place in places.items():
        label = clean(name)
        if label in shards[place].unread:
            continue
        if label not in shards[place].tensors:
            raise refusal(index, f"{place} does not hold the tensor {label!r}")
        tensors[label] = shards[place].tensors[label]
    return _joined(index, shards, tensors)


def _joined(path: Path, shards: dict[str, Checkpoint], tensors: dict[str, Tensor]) -> Checkpoint:
    notes = [f"{clean(place)}: {n}" for place, shard in shards.items() for n in shard.notes]
    first = next(iter(shards.values()))
    files = tuple(file for shard in shards.values() for file in shard.files)
    name = path.parent.name
    unread = {n: many for shard in shards.values() for n, many in shard.unread.items()}
    told = tuple(notes)
    return replace(
        first, id=name, path=path, tensors=tensors, notes=told, files=files, unread=unread
    )


def _is_plain(name: str) -> bool:
    """Whether this is the name of a file in the same folder."""
    return name not in ("", ".", "..") and not any(mark in name for mark in "/\\\0:")


def _open_shards(folder: Path, places: list[str]) -> dict[str, Checkpoint]:
    shards: dict[str, Checkpoint] = {}
    for place in places:
        if not os.path.lexists(folder / place):
            raise refusal(folder, f"the shard {clean(place)} {MISSING}")
        shards[place] = open_file(folder / place)
    return shards


def shard_set(name: str) -> tuple[str, list[str]] | None:
    """Stem and all file names of the sharded set that a file belongs to by its name.

    >>> shard_set("model-00002-of-00002.safetensors")
    ('model', ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'])
    >>> shard_set("model.safetensors") is None
    True
    """
    match = _SHARD.fullmatch(name)
    if match is None or not 1 <= int(match["number"]) <= int(match["count"]):
        return None
    stem, count, end = match["stem"], int(match["count"]), match["end"]
    return stem, [f"{stem}-{i:05}-of-{count:05}{end}" for i in range(1, count + 1)]


def open_alone(path: Path) -> Checkpoint:
    """The checkpoint in a file that was named; with its other parts where it says that it has some.
    Raises InputError."""
    checkpoint = open_file(path)
    parts, shards = checkpoint.config.get("split.count", 1), shard_set(path.name)
    if isinstance(parts, int) and parts > 1:
        if shards is None or len(shards[1]) != parts:
            raise refusal(path, f"is one of {parts} parts; name them as they were written")
        return open_shard_set(path.parent, *shards)
    return unpacked(checkpoint)


def open_shard_set(folder: Path, stem: str, places: list[str]) -> Checkpoint:
    """The checkpoint of a sharded set that lost its index. Raises InputError."""
    shards = _open_shards(folder, places)
    tensors: dict[str, Tensor] = {}
    for place, shard in shards.items():
        for name, tensor in shard.tensors.items():
            if name in tensors:
                raise refusal(folder / place, f"repeats the tensor {name!r}")
            tensors[name] = tensor
    path = folder / places[0]
    joined = _joined(path, shards, tensors)
    note = f"joined {len(places)} shards that have no index"
    return unpacked(replace(joined, id=clean(stem), notes=(note, *joined.notes)))
