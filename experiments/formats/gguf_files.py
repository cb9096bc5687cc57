"""tests/data/formats/llama-q4_k_m.gguf: python -m experiments.formats.gguf_files tests/data/formats

A Llama of random weights by llama.cpp's converter and quantizer (`llama_cpp.py` tells how to get
them). `original` is what it was made from, the same numbers wherever it is called.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

WIDTH, INNER, HEADS, KV_HEADS, HEAD, VOCABULARY = 256, 32, 2, 1, 8, 32
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": 1,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "head_dim": HEAD,
    "vocab_size": VOCABULARY,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
}
SHAPES = {
    "model.embed_tokens": (VOCABULARY, WIDTH),
    "model.layers.0.input_layernorm": (WIDTH,),
    "model.layers.0.mlp.down_proj": (WIDTH, INNER),
    "model.layers.0.mlp.gate_proj": (INNER, WIDTH),
    "model.layers.0.mlp.up_proj": (INNER, WIDTH),
    "model.layers.0.post_attention_layernorm": (WIDTH,),
    "model.layers.0.self_attn.k_proj": (KV_HEADS * HEAD, WIDTH),
    "model.layers.0.self_attn.o_proj": (WIDTH, HEADS * HEAD),
    "model.layers.0.self_attn.q_proj": (HEADS * HEAD, WIDTH),
    "model.layers.0.self_attn.v_proj": (KV_HEADS * HEAD, WIDTH),
    "model.norm": (WIDTH,),
    "lm_head": (VOCABULARY, WIDTH),
}


def original() -> dict[str, np.ndarray]:
    """The weights by name, float32."""
    draw = np.random.default_rng(15)
    return {
        f"{name}.weight": draw.normal(0, 0.05, shape).astype(np.float32)
        for name, shape in SHAPES.items()
    }


def main(out: Path) -> None:
    from safetensors.numpy import save_file

    from experiments.formats.llama_cpp import convert, quantize

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps(CONFIG))
        save_file(original(), folder / "model.safetensors", {"format": "pt"})
        convert(folder, folder / "whole.gguf")
        quantize(folder / "whole.gguf", out / "llama-q4_k_m.gguf", 15)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
