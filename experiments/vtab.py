"""The tasks of VTAB, from the Hugging Face Hub, where they lie as tar files of images."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from huggingface_hub import hf_hub_download
from torch import Tensor
from transformers import ViTConfig

from experiments.tasks import Examples

#: the paper's 15 tasks (table 3), as https://huggingface.co/clip-benchmark calls them
TASKS = (
    "cifar100",
    "caltech101",
    "dtd",
    "flowers",
    "pets",
    "svhn",
    "pcam",
    "clevr_count_all",
    "clevr_closest_object_distance",
    "dmlab",
    "kitti_closest_vehicle_distance",
    "dsprites_label_x_position",
    "dsprites_label_orientation",
    "smallnorb_label_azimuth",
    "smallnorb_label_elevation",
)
_REPOSITORY = "clip-benchmark/wds_vtab-{task}"


def draw(task: str, part: str, count: int, seed: int, *, like: str) -> Examples:
    """Examples of a task, in the size and the channels of the Hub's model `like`. Shards are
    fetched, in an order given by the seed, until `count` examples are at hand."""
    config = ViTConfig.from_pretrained(like)
    g = torch.Generator().manual_seed(seed)
    shards = int(_fetch(task, f"{part}/nshards.txt").read_text())
    images: list[Tensor] = []
    labels: list[int] = []
    for shard in torch.randperm(shards, generator=g).tolist():
        with tarfile.open(_fetch(task, f"{part}/{shard}.tar")) as archive:
            members = list(_members(archive))
            for k in torch.randperm(len(members), generator=g)[: count - len(labels)].tolist():
                image, label = members[k]
                images.append(_pixels(_content(archive, image), config))
                labels.append(int(_content(archive, label)))
        if len(labels) >= count:
            break
    classes = len(_fetch(task, "classnames.txt").read_text().splitlines())
    return Examples(torch.stack(images), torch.tensor(labels), classes)


def _fetch(task: str, name: str) -> Path:
    repository = _REPOSITORY.format(task=task)
    return Path(hf_hub_download(repository, name, repo_type="dataset"))


def _members(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarInfo]]:
    """Pairs of an image and its label: neighbours in the archive that share their stem."""
    pairs: dict[str, dict[bool, tarfile.TarInfo]] = {}
    for member in archive:
        if member.isfile():
            name = PurePosixPath(member.name)
            pairs.setdefault(name.stem, {})[name.suffix == ".cls"] = member
    for pair in pairs.values():
        if len(pair) == 2:
            yield pair[False], pair[True]


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None  # members are files
    return file.read()


def _pixels(content: bytes, config: ViTConfig) -> Tensor:
    from PIL import Image

    side: Any = config.image_size
    with Image.open(io.BytesIO(content)) as image:
        resized = image.convert("L" if config.num_channels == 1 else "RGB").resize((side, side))
    pixels = torch.from_numpy(np.asarray(resized).copy())
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()
