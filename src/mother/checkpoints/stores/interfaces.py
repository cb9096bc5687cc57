"""The folders of programs that make images, ComfyUI and A1111's web UI: models/KIND/FILE, where the
kind of folder says which component of a pipeline its files are.

Layouts: `folder_paths.py` in ComfyUI; the wiki of AUTOMATIC1111/stable-diffusion-webui.
"""

from __future__ import annotations

from pathlib import Path

from mother.checkpoints.folders import is_folder
from mother.checkpoints.stores.place import Place, Store

#: by the folder's name, as the programs spell it: what lies in it, "" for whole pipelines
_SPELLED = {
    "checkpoints": "",
    "Stable-diffusion": "",
    "diffusers": "",
    "loras": "a LoRA",
    "Lora": "a LoRA",
    "LyCORIS": "a LoRA",
    "vae": "a VAE",
    "VAE": "a VAE",
    "vae_approx": "a VAE's approximation, for previews",
    "VAE-approx": "a VAE's approximation, for previews",
    "unet": "a denoiser without text encoder and VAE",
    "diffusion_models": "a denoiser without text encoder and VAE",
    "clip": "a text encoder",
    "text_encoder": "a text encoder",
    "text_encoders": "a text encoder",
    "clip_vision": "an image encoder",
    "controlnet": "a ControlNet",
    "ControlNet": "a ControlNet",
    "t2i_adapter": "a T2I adapter",
    "ipadapter": "an IP adapter",
    "embeddings": "a textual inversion",
    "hypernetworks": "a hypernetwork",
    "style_models": "a style model",
    "gligen": "a GLIGEN model",
    "photomaker": "a PhotoMaker model",
    "model_patches": "a patch of a model",
    "upscale_models": "an upscaler",
    "latent_upscale_models": "an upscaler",
    "ESRGAN": "an upscaler",
    "RealESRGAN": "an upscaler",
    "SwinIR": "an upscaler",
    "LDSR": "an upscaler",
    "GFPGAN": "a restorer of faces",
    "Codeformer": "a restorer of faces",
}


def _kind(name: str) -> str:
    return name.lower().replace("-", "_")


#: the same whatever the case, and with "_" for "-"
KINDS = {_kind(name): what for name, what in _SPELLED.items()}


def place(path: Path) -> Place | None:
    """KIND/FILE, and FILE alone where it is a whole pipeline."""
    for folder in path.parents:
        kind = _kind(folder.name)
        if kind in KINDS and _is_among_others(folder):
            what, inside = KINDS[kind], path.relative_to(folder).parts
            if not what:
                return Place("", inside, folder)
            note = f"{what}, as its folder says: a component of a pipeline"
            return Place(folder.name, inside, folder.parent, note=note)
    return None


def _is_among_others(folder: Path) -> bool:
    """Whether such folders lie beside it, or would: a name such as "vae" alone tells nothing."""
    above = folder.parent
    if above.name.lower() == "models":
        return True
    others = [name for name in _SPELLED if _kind(name) != _kind(folder.name)]
    return any(is_folder(home / name) for home in (above, above / "models") for name in others)


STORE = Store(place)
