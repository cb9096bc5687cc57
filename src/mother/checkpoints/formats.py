"""One file of any format, told by its content: a format is one module and one line in `FORMATS`."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mother.checkpoints import ncnn_files
from mother.checkpoints.archives import archived
from mother.checkpoints.caffe_files import is_caffe, read_caffe
from mother.checkpoints.ctranslate2_files import is_ctranslate2, read_ctranslate2
from mother.checkpoints.darknet_files import is_darknet, read_darknet
from mother.checkpoints.exported_files import is_exported, read_exported
from mother.checkpoints.flax_files import is_flax, read_flax
from mother.checkpoints.foreign import by_start
from mother.checkpoints.gguf import read_gguf
from mother.checkpoints.gguf_header import looks_like_gguf
from mother.checkpoints.keras_files import WEIGHTS, is_hdf5, read_hdf5, read_keras_zip
from mother.checkpoints.llama_files import is_llama, read_llama
from mother.checkpoints.llamafile_files import is_llamafile, read_llamafile
from mother.checkpoints.mindspore_files import is_mindspore, read_mindspore
from mother.checkpoints.mxnet_files import is_mxnet, read_mxnet
from mother.checkpoints.nemo_files import is_nemo, read_nemo
from mother.checkpoints.numpy_files import has_arrays, looks_like_npy, read_npy, read_npz
from mother.checkpoints.onnx_files import external_parts, is_onnx, read_onnx
from mother.checkpoints.openvino_files import is_openvino, read_openvino, values_of
from mother.checkpoints.pickled_arrays import is_pickle, read_pickled
from mother.checkpoints.safetensors import looks_like_safetensors, read_safetensors
from mother.checkpoints.stable_baselines_files import POLICY, read_stable_baselines
from mother.checkpoints.storage import File, refusal
from mother.checkpoints.tensor import Checkpoint
from mother.checkpoints.tensorflow_files import data_parts, is_tf_index, read_tf_index
from mother.checkpoints.tflite_files import is_tflite, read_tflite
from mother.checkpoints.torch_files import (
    has_torch_members,
    looks_like_legacy_torch,
    read_legacy_torch,
    read_torch_zip,
)
from mother.checkpoints.views import to_be_read
from mother.checkpoints.whisper_files import is_whisper, read_whisper
from mother.checkpoints.work import TENSOR, Work
from mother.checkpoints.zip_archive import looks_like_zip, read_members

#: bytes of a file that tell its format
HEAD = 64


def _none(name: str, names: Set[str]) -> Set[str]:
    return frozenset()


class Format(NamedTuple):
    """How one format of files is told and read.

    endings: of files that a search in folders takes for it. matches: whether a file is of it, by
    its first bytes. read: its checkpoint; raises InputError. parts: of a file's name and all names
    in its folder, the other files that it is stored in, which are no checkpoints of their own.
    """

    endings: tuple[str, ...]
    matches: Callable[[File, bytes], bool]
    read: Callable[[File], Checkpoint]
    parts: Callable[[str, Set[str]], Set[str]] = _none


def _read_zip(file: File) -> Checkpoint:
    members = read_members(file)
    if is_exported(members):
        return read_exported(file, members)
    if has_torch_members(members):
        return read_torch_zip(file, members)
    if WEIGHTS in members:
        return read_keras_zip(file, members)
    if POLICY in members:
        return read_stable_baselines(file, members)
    if has_arrays(file, members):
        return read_npz(file, members)
    raise file.fault(
        archived(file.path) or "a zip archive that holds neither PyTorch data nor .npy arrays"
    )


def _is_safetensors(file: File, start: bytes) -> bool:
    return looks_like_safetensors(start) or file.path.suffix.lower() == ".safetensors"


_TORCH_ENDINGS = (".pth.tar", ".pt.tar", ".bin", ".pt", ".pth", ".ckpt", ".tar")
_SCRIPT_ENDINGS = (".jit", ".ptl", ".torchscript")

#: the first that matches reads the file; those without a magic of their own come last
FORMATS = (
    Format((".llamafile",), is_llamafile, read_llamafile),
    Format(
        (*_TORCH_ENDINGS, *_SCRIPT_ENDINGS, ".pt2", ".npz", ".keras"),
        lambda file, start: looks_like_zip(start),
        _read_zip,
    ),
    Format((".npy",), lambda file, start: looks_like_npy(start), read_npy),
    Format((".gguf",), lambda file, start: looks_like_gguf(start), read_gguf),
    Format((), is_whisper, read_whisper),
    Format((), is_llama, read_llama),
    Format((), lambda file, start: looks_like_legacy_torch(start), read_legacy_torch),
    Format((".pdparams",), is_pickle, read_pickled),
    Format((".h5", ".hdf5"), is_hdf5, read_hdf5),
    Format((".msgpack", ".flax"), is_flax, read_flax),
    Format((".xml",), is_openvino, read_openvino, values_of),
    Format((".param",), ncnn_files.is_ncnn, ncnn_files.read_ncnn, ncnn_files.values_of),
    Format((".tflite",), is_tflite, read_tflite),
    Format((), is_ctranslate2, read_ctranslate2),
    Format((".nemo",), is_nemo, read_nemo),
    Format((".params",), is_mxnet, read_mxnet),
    Format((".onnx",), is_onnx, read_onnx, external_parts),
    Format((".caffemodel",), is_caffe, read_caffe),
    Format((".weights",), is_darknet, read_darknet),
    Format((), is_mindspore, read_mindspore),
    Format((".safetensors",), _is_safetensors, read_safetensors),
    Format((".index",), is_tf_index, read_tf_index, data_parts),
)

#: endings by which checkpoints are known in a folder; a file that is named may have any
ENDINGS = tuple(
    sorted({end for each in FORMATS for end in each.endings}, key=lambda e: (-len(e), e))
)

_NONE = "no checkpoint: its bytes are of no format that is read"
_KNOWN_OTHERS = {
    b"version https://git-lfs": "a Git LFS pointer, not the weights; fetch them by `git lfs pull`",
    b"# xet version": "a Xet pointer, not the weights; fetch them by `hf download`",
}
_PAGES = (b"<!doctype html", b"<html")


def ending(name: str) -> str:
    """The weight ending of a file name, "" if it has none.

    >>> ending("best.pth.tar"), ending("model.SAFETENSORS"), ending("notes.txt")
    ('.pth.tar', '.SAFETENSORS', '')
    """
    for end in ENDINGS:
        if name.lower().endswith(end) and len(name) > len(end):
            return name[-len(end) :]
    return ""


def parts_of(name: str, names: Set[str]) -> Set[str]:
    """The files of a folder that belong to the checkpoint in a file beside them, by their names."""
    found: set[str] = set()
    for each in FORMATS:
        if name.lower().endswith(each.endings):
            found |= each.parts(name, names)
    return found


def open_file(path: Path) -> Checkpoint:
    """The checkpoint in one file; raises InputError for whatever is none."""
    file = File(path)
    checkpoint = _read(file)
    return checkpoint if checkpoint.files else replace(checkpoint, files=(file,))


def within_bounds(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint, unless its tensors hold more than its files justify: they may lie over one
    another, or hold one element a million times. Raises InputError."""
    files = {file.path: file.size for file in checkpoint.files}
    if checkpoint.base is not None:
        files |= {file.path: file.size for file in checkpoint.base.files}
    work = Work(sum(files.values()))
    try:
        for tensor in checkpoint.tensors.values():
            work.spend(TENSOR + to_be_read(tensor.kept))
    except ValueError as error:
        raise refusal(checkpoint.path, str(error)) from None
    return checkpoint


def _read(file: File) -> Checkpoint:
    with file.held():
        start = file.read(0, min(HEAD, file.size))
        if not start:
            raise file.fault("the file is empty; fetch it again")
        if start.lstrip()[:14].lower().startswith(_PAGES):
            raise file.fault("a web page, not weights; fetch the file itself, logged in if need be")
        for magic, fault in _KNOWN_OTHERS.items():
            if start.startswith(magic):
                raise file.fault(fault)
        for each in FORMATS:
            if each.matches(file, start):
                return each.read(file)
    foreign = by_start(start)
    raise file.fault(f"not read: {foreign}" if foreign else archived(file.path) or _NONE)
