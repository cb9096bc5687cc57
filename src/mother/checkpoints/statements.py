"""What a checkpoint's files state of it, beside its parents: licence, language, data, how it was
trained.

Written by whoever made the files, and neither checked nor believed here. Weights are not looked at.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mother.checkpoints.claims import MAX_JSON, inside, with_metadata
from mother.checkpoints.folders import is_folder, listing
from mother.checkpoints.front_matter import read_front_matter
from mother.checkpoints.gguf_header import looks_like_gguf, read_gguf_fields
from mother.checkpoints.safetensors import looks_like_safetensors, read_metadata
from mother.checkpoints.storage import File
from mother.checkpoints.tensor import Problem, clean
from mother.errors import InputError

MAX_VALUE = 1000  # letters of a value
MAX_VALUES = 1000  # of one attribute
#: keys of files and the attributes that they state
CARD = {
    "license": "license",
    "language": "language",
    "datasets": "datasets",
    "tags": "tags",
    "pipeline_tag": "task",
    "library_name": "library",
}
JSON: Mapping[str, Mapping[str, str]] = {
    "config.json": {"architectures": "model_class", "model_type": "model_type"},
    "adapter_config.json": {
        "base_model_name_or_path": "base_model",
        "lora_alpha": "lora_alpha",
        "peft_type": "adapter_type",
        "r": "lora_rank",
        "target_modules": "lora_targets",
    },
    "trainer_state.json": {
        "best_metric": "best_metric",
        "global_step": "steps",
        "num_train_epochs": "epochs",
        "train_batch_size": "batch_size",
    },
}
ARGUMENTS = {
    "learning_rate": "learning_rate",
    "lr_scheduler_type": "schedule",
    "num_train_epochs": "epochs",
    "optim": "optimizer",
    "per_device_train_batch_size": "batch_size",
    "seed": "seed",
    "warmup_ratio": "warmup",
    "weight_decay": "weight_decay",
}
#: names that training arguments are stored under as JSON
ARGUMENT_FILES = ("training_args.json", "training_arguments.json", "args.json")
GGUF = {
    "general.architecture": "model_type",
    "general.datasets": "datasets",
    "general.languages": "language",
    "general.license": "license",
    "general.organization": "organization",
    "general.quantized_by": "quantized_by",
    "general.tags": "tags",
}
METADATA = {
    "license": "license",
    "modelspec.license": "license",
    "ss_base_model_version": "model_type",
    "ss_learning_rate": "learning_rate",
    "ss_network_alpha": "lora_alpha",
    "ss_network_dim": "lora_rank",
    "ss_num_epochs": "epochs",
    "ss_optimizer": "optimizer",
    "ss_steps": "steps",
}
#: attributes that are sets even where one value is stated
SETS = frozenset({"language", "datasets", "tags", "lora_targets"})
Stored = str | float | tuple[str, ...]


@dataclass(frozen=True)
class Stating:
    """`value` of an attribute, which stands under `key` in `file`."""

    attribute: str
    value: Stored
    file: Path
    key: str


def read_statements(
    path: str | os.PathLike[str], *, alone: bool = True
) -> tuple[list[Stating], list[Problem]]:
    """What the files of the checkpoint at a path state, a file or a folder, and what could not be
    read.

    Read are the front matter of README.md, config.json, adapter_config.json, trainer_state.json,
    training arguments stored as JSON, the metadata of safetensors files and the header of GGUF
    files. Where two files state the same attribute, the first in this order is told. alone: whether
    no other checkpoint lies in the file's folder, so that what lies beside it speaks of it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     card = Path(folder, "README.md")
    ...     _ = card.write_text("---\\nlicense: mit\\ntags: [a, b]\\n---\\n")
    ...     [(s.attribute, s.value) for s in read_statements(folder)[0]]
    [('license', 'mit'), ('tags', ('a', 'b'))]
    """
    path = Path(path)
    whole = is_folder(path)
    folder = path if whole else path.parent
    found: dict[str, Stating] = {}
    faults: list[Problem] = []
    try:
        names = listing(folder) if whole or alone else []
    except InputError as error:
        return [], [Problem(folder, error.fault)]
    cards = [name for name in names if name.lower() == "readme.md"]
    texts = [name for name in (*JSON, *ARGUMENT_FILES) if name in names]
    weights = with_metadata(names) if whole else [path.name]
    for name in (*cards, *texts, *weights):
        try:
            for one in _of_file(folder, name):
                found.setdefault(one.attribute, one)
        except InputError as error:
            faults.append(Problem(folder / name, error.fault))
    return list(found.values()), faults


def _of_file(folder: Path, name: str) -> Iterator[Stating]:
    path = folder / name
    if name in JSON or name in ARGUMENT_FILES:
        file = File(inside(folder, path))
        content = _json(file)
        yield from _told(JSON.get(name, ARGUMENTS), content, path)
        if name == "trainer_state.json":
            yield from _peak(content, path)
    elif name.lower() == "readme.md":
        entries = read_front_matter(File(inside(folder, path)))
        texts = {key: [entry.value for entry in several] for key, several in entries.items()}
        yield from _told(CARD, texts, path)
    else:
        file = File(path)
        start = file.read(0, min(file.size, 9))
        if looks_like_gguf(start):
            yield from _told(GGUF, read_gguf_fields(file), path)
        elif looks_like_safetensors(start):
            yield from _told(METADATA, read_metadata(file), path)


def _json(file: File) -> dict[str, Any]:
    if file.size > MAX_JSON:
        raise file.fault(f"has {file.size} bytes; JSON of {MAX_JSON} is the most")
    try:
        content = json.loads(file.read(0, file.size).decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise file.fault("not valid JSON") from None
    return content if isinstance(content, dict) else {}


def _told(keys: Mapping[str, str], content: Mapping[str, Any], path: Path) -> Iterator[Stating]:
    for key, attribute in keys.items():
        value = _value(content.get(key), several=attribute in SETS)
        if value is not None:
            yield Stating(attribute, value, path, key)


def _value(value: object, *, several: bool) -> Stored | None:
    """A text, a number or a set of texts; None for what is none of these."""
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, int | float):
        return float(value) if abs(value) < 2.0**63 else None
    if isinstance(value, list):
        texts = [clean(x[:MAX_VALUE]) for x in value[:MAX_VALUES] if isinstance(x, str)]
        if several or len(texts) > 1:
            return tuple(sorted(set(texts))) if texts else None
        value = texts[0] if texts else None
    if not isinstance(value, str) or not value.strip():
        return None
    text = clean(value[:MAX_VALUE])
    return (text,) if several else text


def _peak(content: Mapping[str, Any], path: Path) -> Iterator[Stating]:
    """The highest learning rate that a trainer's log holds."""
    log = content.get("log_history")
    entries = log if isinstance(log, list) else []
    rates = [e.get("learning_rate") for e in entries if isinstance(e, dict)]
    known = [float(r) for r in rates if isinstance(r, int | float) and 0 < r < 2.0**63]
    if known:
        yield Stating("learning_rate", max(known), path, "log_history")
