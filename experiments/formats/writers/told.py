"""What a writer tells of a copy that it wrote, for those who judge the reader."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

END = ".told.json"
#: of two equal models, the one whose name comes first is the original
PREFIX = "written-"
#: Meta's names of parts of a decoder, by those of Hugging Face
META = {
    "model.embed_tokens": "tok_embeddings",
    "model.norm": "norm",
    "lm_head": "output",
    "model.layers": "layers",
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
    "post_attention_layernorm": "ffn_norm",
    "input_layernorm": "attention_norm",
}


def digest(values: Any) -> str:
    """SHA-256 of the values as little-endian float32 in C order. values: an array or a tensor."""
    if hasattr(values, "detach"):
        values = values.detach().float().cpu().numpy()
    return hashlib.sha256(np.ascontiguousarray(values, "<f4").tobytes()).hexdigest()


def place(out: Path, name: str) -> Path:
    """Where the copy in a format goes."""
    return out / f"{PREFIX}{name}"


def tell(
    path: Path,
    library: str,
    values: Mapping[str, Any],
    *,
    scheme: str = "",
    relations: tuple[str, ...] = ("quantized",),
    how: str = "",
) -> None:
    """Write down who wrote a copy and what is right of it.

    library: the package, whose version is noted. values: by name, what the library dequantizes the
    copy's tensors to; which name it has does not count. scheme: what its edge must say, at least.
    relations: those that are right. how: what of the writer was used.
    """
    told = {
        "writer": f"{library} {importlib.metadata.version(library)}",
        "how": how,
        "scheme": scheme,
        "relations": list(relations),
        "values": {n: [list(np.shape(v)), digest(v)] for n, v in values.items()},
    }
    (path.parent / (path.name + END)).write_text(json.dumps(told, indent=1) + "\n")


def each(makers: Mapping[str, Callable[[], None]], chosen: list[str]) -> None:
    """Call the makers, those chosen or all; one that fails says why and stops no other."""
    for name, make in makers.items():
        if chosen and name not in chosen:
            continue
        try:
            make()
        except Exception as fault:  # whatever a foreign tool raises
            print(f"{name}: {type(fault).__name__}: {str(fault).splitlines()[:1]}", flush=True)
        else:
            print(name, flush=True)
