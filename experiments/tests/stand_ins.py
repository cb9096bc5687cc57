"""Small models with the names and layers of families on the Hub, trained into the same trees.

    python experiments/tests/stand_ins.py COMMAND...

trains them, serves them on this machine, and runs the command with HF_ENDPOINT set to there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from loopback_hub import serve
from torch import nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaForCausalLM

TOKENS, ADDED, LENGTH = 64, 4, 24
Loss = Callable[[nn.Module, torch.Generator], torch.Tensor]


def train(model: nn.Module, loss: Loss, steps: int, rate: float, seed: int) -> nn.Module:
    """A copy of the model, trained."""
    child = deepcopy(model).float().train()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(child.parameters(), rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(child, generator).backward()
        optimizer.step()
    return child.eval()


def language(seed: int) -> Loss:
    """Next-token loss on a language of its own: a random chain of tokens."""
    chances = torch.randn(TOKENS, TOKENS, generator=torch.Generator().manual_seed(seed))
    chances = (2 * chances).softmax(1)

    def loss(model: nn.Module, generator: torch.Generator) -> torch.Tensor:
        text = [torch.randint(TOKENS, (16,), generator=generator)]
        for _ in range(LENGTH):
            text.append(torch.multinomial(chances[text[-1]], 1, generator=generator)[:, 0])
        tokens = torch.stack(text, 1)
        return model(input_ids=tokens, labels=tokens).loss

    return loss


def llama2(folder: Path, scale: float = 1.0) -> None:
    """The five models of the Llama 2 family, in half precision and shards."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=TOKENS,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
    )
    steps = [round(scale * n) for n in (240, 40, 120, 30, 50)]
    base = train(LlamaForCausalLM(config), language(0), steps[0], 3e-3, 0)
    chat = train(base, language(1), steps[1], 5e-4, 1)
    wider = deepcopy(base)
    wider.resize_token_embeddings(TOKENS + ADDED, mean_resizing=False)
    code = train(wider, language(2), steps[2], 1e-3, 2)
    instruct = train(code, language(1), steps[3], 5e-4, 3)
    python = deepcopy(code)
    python.resize_token_embeddings(TOKENS, mean_resizing=False)
    python = train(python, language(3), steps[4], 5e-4, 4)
    models = {
        "Llama-2-7b-hf": (base, torch.float16),
        "Llama-2-7b-chat-hf": (chat, torch.float16),
        "CodeLlama-7b-hf": (code, torch.bfloat16),
        "CodeLlama-7b-Instruct-hf": (instruct, torch.bfloat16),
        "CodeLlama-7b-Python-hf": (python, torch.bfloat16),
    }
    for name, (model, dtype) in models.items():
        path = folder / "models/meta-llama" / name
        model.to(dtype).save_pretrained(path, max_shard_size="200KB")


def denoising(seed: int) -> Loss:
    """Mean squared error of the noise in latents of one sort, given a text embedding."""
    sort = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(seed))

    def loss(model: nn.Module, generator: torch.Generator) -> torch.Tensor:
        noise = torch.randn(8, 4, 8, 8, generator=generator)
        time = torch.randint(1000, (8,), generator=generator)
        text = torch.randn(8, 3, 16, generator=generator)
        share = (time / 1000)[:, None, None, None]
        seen = (1 - share) * sort * text[:, :1, :1, None] + share * noise
        return F.mse_loss(model(seen, time, encoder_hidden_states=text).sample, noise)

    return loss


def stable_diffusion(folder: Path, scale: float = 1.0) -> None:
    """Stable Diffusion 1.1 to 1.5, trained as the model cards say, in single precision."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32, 48, 48),
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    # as many as in the real one, whose names are these
    assert len(unet.state_dict()) == 686
    autoencoder = AutoencoderKL(norm_num_groups=4, block_out_channels=(8,))
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=99,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
        )
    )
    steps = [round(scale * n) for n in (60, 40, 20, 24, 40)]
    first = train(unet, denoising(0), steps[0], 2e-3, 0)
    second = train(first, denoising(1), steps[1], 1e-3, 1)
    models = [first, second]
    models += [train(second, denoising(2), n, 5e-4, k) for k, n in enumerate(steps[2:], 2)]
    for number, model in enumerate(models, 1):
        owner = "CompVis" if number < 5 else "stable-diffusion-v1-5"
        path = folder / f"models/{owner}/stable-diffusion-v1-{number}"
        model.save_pretrained(path / "unet")
        autoencoder.save_pretrained(path / "vae")
        text.save_pretrained(path / "text_encoder")
        index = {"_class_name": "StableDiffusionPipeline"}
        index |= {part: ["diffusers", "Model"] for part in ("unet", "vae", "text_encoder")}
        (path / "model_index.json").write_text(json.dumps(index))


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        llama2(Path(name))
        stable_diffusion(Path(name))
        with serve(Path(name)) as endpoint:
            environment = os.environ | {"HF_ENDPOINT": endpoint}
            sys.exit(subprocess.run(sys.argv[1:], env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
