"""Networks of `transformers`, made new, loaded from and saved to safetensors."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

Weights = Mapping[str, Tensor]

#: begins the names of what is being written
PARTIAL = ".partial-"


@dataclass(frozen=True)
class Architecture:
    """A network and its size; `head` begins the names of what a task replaces, `adapted` are the
    layers that LoRA adapts."""

    model: type[PreTrainedModel]
    config: Callable[[], PreTrainedConfig]
    head: str
    adapted: tuple[str, ...] = ()

    def new(self, classes: int) -> PreTrainedModel:
        """A network as initialized, from torch's random state."""
        return self.model(self._config(classes))

    def load(self, weights: Weights, classes: int) -> PreTrainedModel:
        """A network that holds the weights; what they lack is initialized."""
        config = self._config(classes)
        return self.model.from_pretrained(
            None, config=config, state_dict=dict(weights), dtype=torch.float32
        )

    def _config(self, classes: int) -> PreTrainedConfig:
        config = self.config()
        if self.model is not LlamaForCausalLM:
            config.num_labels = classes
        return config

    def body(self, weights: Weights) -> dict[str, Tensor]:
        """The weights without the head."""
        return {name: w for name, w in weights.items() if not name.startswith(self.head)}

    def pretrained(self, hub_id: str) -> PreTrainedModel:
        """The network from the Hub, under whatever class its weights were published."""
        return self.model.from_pretrained(hub_id, dtype=torch.float32)


def read(path: Path) -> dict[str, Tensor]:
    """The weights of a file, by the names that they are published under."""
    return load_file(path)


def save(model: PreTrainedModel, path: Path, *, dtype: str = "float32", without: str = "") -> None:
    """Write the model's weights in one step, less those whose names begin with `without`."""
    stored = model if dtype == "float32" else copy.deepcopy(model).to(getattr(torch, dtype))
    state = stored.state_dict()
    kept = {k: w for k, w in state.items() if not (without and k.startswith(without))}
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=PARTIAL) as folder:
        stored.save_pretrained(folder, state_dict=kept, max_shard_size="1TB")
        (Path(folder) / "model.safetensors").replace(path)


def vit(hidden: int, layers: int, heads: int) -> Architecture:
    """A vision transformer on grey images of 28 x 28 in patches of 7 x 7."""

    def config() -> ViTConfig:
        return ViTConfig(
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=2 * hidden,
            image_size=28,
            patch_size=7,
            num_channels=1,
            initializer_range=0.5 * hidden**-0.5,
        )

    return Architecture(ViTForImageClassification, config, "classifier.", ("q_proj", "v_proj"))


def resnet(widths: tuple[int, ...]) -> Architecture:
    """A residual network with batch norm, one basic block a stage."""

    def config() -> ResNetConfig:
        return ResNetConfig(
            num_channels=1,
            embedding_size=widths[0],
            hidden_sizes=list(widths),
            depths=[1] * len(widths),
            layer_type="basic",
        )

    return Architecture(ResNetForImageClassification, config, "classifier.")


def llama(hidden: int, layers: int, heads: int, *, vocabulary: int, context: int) -> Architecture:
    """A decoder on bytes."""

    def config() -> LlamaConfig:
        return LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            intermediate_size=2 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=context,
            tie_word_embeddings=False,
        )

    return Architecture(LlamaForCausalLM, config, "lm_head.", ("q_proj", "v_proj"))


def vit_of_hub(hub_id: str) -> Architecture:
    """A vision transformer of the size that a model on the Hub has."""
    return Architecture(
        ViTForImageClassification,
        lambda: ViTConfig.from_pretrained(hub_id),
        "classifier.",
        ("q_proj", "v_proj"),
    )
