"""The families on the Hub that the paper recovers (sec. 6.2, appendix B), and their truths."""

from __future__ import annotations

from dataclasses import dataclass

EdgeNames = tuple[tuple[str, str], ...]

#: names under which transformers and diffusers store weights, the preferred ones first; only the
#: first two can be read by parts
TRANSFORMERS = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)
DIFFUSERS = tuple(
    f"diffusion_pytorch_model.{rest}"
    for rest in ("safetensors.index.json", "safetensors", "bin.index.json", "bin")
)


@dataclass(frozen=True)
class Model:
    """A model by the name it has here, and the repositories that hold it, the paper's first."""

    name: str
    repositories: tuple[str, ...]


@dataclass(frozen=True)
class Truth:
    """Who was trained from whom according to `source`."""

    source: str
    edges: EdgeNames


@dataclass(frozen=True)
class Family:
    """Models of one architecture. `part` is the folder of the repository that is read, "" for the
    repository itself; `files` the names of weights in it, the first that is there is read; `stage`
    the label that the paper's method gets; `remarks` are paragraphs of the page."""

    key: str
    title: str
    models: tuple[Model, ...]
    part: str
    files: tuple[str, ...]
    truths: tuple[Truth, ...]
    stage: str
    remarks: tuple[str, ...]


LLAMA2 = Family(
    key="llama2",
    title="Llama 2",
    models=tuple(
        Model(name, (f"meta-llama/{name}",))
        for name in (
            "Llama-2-7b-hf",
            "Llama-2-7b-chat-hf",
            "CodeLlama-7b-hf",
            "CodeLlama-7b-Instruct-hf",
            "CodeLlama-7b-Python-hf",
        )
    ),
    part="",
    files=TRANSFORMERS,
    truths=(
        Truth(
            "the paper (after the Llama 2 and Code Llama papers)",
            (
                ("Llama-2-7b-hf", "Llama-2-7b-chat-hf"),
                ("Llama-2-7b-hf", "CodeLlama-7b-hf"),
                ("CodeLlama-7b-hf", "CodeLlama-7b-Instruct-hf"),
                ("CodeLlama-7b-hf", "CodeLlama-7b-Python-hf"),
            ),
        ),
    ),
    stage="specialization",
    remarks=(
        "The paper reads the full weights, labels all five models *specialization* and finds all "
        "four edges (figure 1).",
        "Embeddings and the output layer are left out: Code Llama has 16 tokens more, so their "
        "shapes differ within the family. The repositories ask for consent to Meta's licence; "
        "`hf auth login` with an account that has it.",
    ),
)

_SD = "stable-diffusion-v1-"
STABLE_DIFFUSION = Family(
    key="stable-diffusion",
    title="Stable Diffusion",
    models=(
        *(Model(f"{_SD}{k}", (f"CompVis/{_SD}{k}",)) for k in (1, 2, 3, 4)),
        # the paper's repository was taken down in 2024; the second holds the same files
        Model(f"{_SD}5", (f"runwayml/{_SD}5", f"{_SD}5/{_SD}5")),
    ),
    part="unet",
    files=DIFFUSERS,
    truths=(
        Truth(
            "model cards",
            (
                (f"{_SD}1", f"{_SD}2"),
                (f"{_SD}2", f"{_SD}3"),
                (f"{_SD}2", f"{_SD}4"),
                (f"{_SD}2", f"{_SD}5"),
            ),
        ),
        Truth(
            "the paper",
            (
                (f"{_SD}1", f"{_SD}2"),
                (f"{_SD}2", f"{_SD}3"),
                (f"{_SD}2", f"{_SD}4"),
                (f"{_SD}4", f"{_SD}5"),
            ),
        ),
    ),
    stage="generalization",
    remarks=(
        "Only the UNet is read: text encoder and autoencoder are the same in all five.",
        "The truths differ. The cards say that 1.2 was resumed from 1.1, and 1.3 (195,000 steps), "
        "1.4 (225,000) and 1.5 (595,000) each from 1.2: three levels. The paper says that the "
        "cards describe four levels in which 1.3 and 1.4 are siblings, so 1.5 must hang from one "
        "of these; which one only its figure 8 shows, and 1.4 is assumed here. It reports all "
        "edges but one, with 1.4 placed below 1.3 for want of a right distance.",
        "What the cards say of 1.3, 1.4 and 1.5 (same start, same data, same settings, more and "
        "more steps) is also what three snapshots of a single run would look like, which "
        "1.2 → 1.3 → 1.4 → 1.5 describes best. An edge 1.3 → 1.4 is wrong by either truth, and "
        "may be right by the weights.",
    ),
)

FAMILIES = {family.key: family for family in (LLAMA2, STABLE_DIFFUSION)}
