"""A family whose copies are judged: base -> parent -> kid, base -> sibling, and a stranger.

    python -m experiments.formats.family FOLDER

Llamas of 1.4 million weights under transformers' names, with a config.json, so that the tools that
people quantize by open them; trained here on random grammars, in a minute. Rows are of 256 weights,
into which every scheme's blocks fit.
"""

import copy
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, INNER, HEADS, KEYS, BLOCKS, VOCABULARY = 256, 512, 4, 2, 2, 256
EDGES = [("base", "parent"), ("base", "sibling"), ("parent", "kid")]
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KEYS,
    "head_dim": WIDTH // HEADS,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
}

Family = Mapping[str, Mapping[str, Tensor]]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        own = WIDTH // HEADS * KEYS
        self.q_proj, self.o_proj = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(2))
        self.k_proj, self.v_proj = (nn.Linear(WIDTH, own, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            each(x).unflatten(-1, (-1, WIDTH // HEADS)).transpose(1, 2)
            for each in (self.q_proj, self.k_proj, self.v_proj)
        )
        k, v = (each.repeat_interleave(HEADS // KEYS, dim=1) for each in (k, v))
        mixed = functional.scaled_dot_product_attention(turned(q), turned(k), v, is_causal=True)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


def turned(x: Tensor) -> Tensor:
    """Rotary positions (arXiv:2104.09864) in the order of transformers: the halves of a head."""
    half = x.shape[-1] // 2
    angles = torch.arange(x.shape[-2])[:, None] * 10000.0 ** (-torch.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()], -1)


class Norm(nn.Module):
    """Written out, since exporters lag behind torch's own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5))


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (nn.Linear(WIDTH, INNER, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(INNER, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input_layernorm, self.self_attn = Norm(), Attention()
        self.post_attention_layernorm, self.mlp = Norm(), Gated()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm = Norm()

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed_tokens(tokens)
        for block in self.layers:
            x = block(x)
        return self.norm(x)


class Llama(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model, self.lm_head = Body(), nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.lm_head(self.model(tokens))


def text(task: int, many: int, length: int, draw: torch.Generator) -> Tensor:
    """Sentences of a grammar of that number: each token is followed by one of four."""
    grammar = torch.randint(0, VOCABULARY, (VOCABULARY, 4), generator=_seeded(task))
    tokens = [torch.randint(0, VOCABULARY, (many,), generator=draw)]
    for _ in range(length - 1):
        tokens.append(grammar[tokens[-1], torch.randint(0, 4, (many,), generator=draw)])
    return torch.stack(tokens, dim=1)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trained(net: Llama, task: int, steps: int, rate: float) -> Llama:
    """A copy of the net, trained on the grammar of that number."""
    net, draw = copy.deepcopy(net), _seeded(1000 + task)
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.0)
    for _ in range(steps):
        tokens = text(task, 16, 24, draw)
        loss = functional.cross_entropy(net(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def family() -> Family:
    """The models' weights by name, the same at every call."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    base, stranger = (trained(Llama(), task, 300, 1e-3) for task in (1, 2))
    parent, sibling = (trained(base, task, 120, 5e-4) for task in (3, 4))
    kid = trained(parent, 5, 120, 5e-4)
    nets = {"base": base, "parent": parent, "sibling": sibling, "kid": kid, "stranger": stranger}
    return {name: net.state_dict() for name, net in nets.items()}


def save(weights: Mapping[str, Tensor], folder: Path) -> None:
    """A model as transformers' folder, in float32."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")
    save_file(
        {n: w.contiguous() for n, w in weights.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )


def main(out: Path) -> None:
    for name, weights in family().items():
        save(weights, out / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
