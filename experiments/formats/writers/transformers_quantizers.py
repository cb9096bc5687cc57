"""bitsandbytes, torchao, quanto and HQQ on a whole model, saved as transformers or they do.

python -m experiments.formats.writers.transformers_quantizers SOURCE OUT [FORMAT ...]
pip install torch transformers accelerate bitsandbytes torchao optimum-quanto hqq
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, TorchAoConfig

from experiments.formats.writers.told import each, place, tell


def linears(model: torch.nn.Module, kind: str) -> dict[str, torch.nn.Module]:
    """The modules of a class of that name, but for the head."""
    return {n: m for n, m in model.named_modules() if type(m).__name__ == kind and n != "lm_head"}


def by_bitsandbytes(source: Path, out: Path) -> dict[str, Callable[[], None]]:
    from bitsandbytes import functional

    half = torch.bfloat16

    def four(kind: str, double: bool, storage: torch.dtype = torch.uint8) -> Callable[[], None]:
        def make() -> None:
            name = f"bnb-{kind}{'-double' if double else ''}"
            name += "-bf16-storage" if storage == half else ""
            config = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type=kind,
                bnb_4bit_use_double_quant=double,
                bnb_4bit_compute_dtype=half,
                bnb_4bit_quant_storage=storage,
            )
            model = AutoModelForCausalLM.from_pretrained(
                source, quantization_config=config, dtype=half, device_map={"": "cpu"}
            )
            model.save_pretrained(place(out, name))
            values = {
                n: functional.dequantize_4bit(m.weight.data, m.weight.quant_state)
                for n, m in linears(model, "Linear4bit").items()
            }
            tell(place(out, name), "bitsandbytes", values, scheme=kind.upper(), how="transformers")

        return make

    def eight() -> None:
        config = BitsAndBytesConfig(load_in_8bit=True)
        model = AutoModelForCausalLM.from_pretrained(
            source, quantization_config=config, dtype=torch.float16, device_map={"": "cpu"}
        )
        model.save_pretrained(place(out, "bnb-int8"))
        values = {
            n: functional.int8_vectorwise_dequant(m.weight.data, m.weight.SCB)
            for n, m in linears(model, "Linear8bitLt").items()
        }
        tell(place(out, "bnb-int8"), "bitsandbytes", values, scheme="int8", how="transformers")

    return {
        "bnb-nf4": four("nf4", False),
        "bnb-nf4-double": four("nf4", True),
        "bnb-nf4-bf16-storage": four("nf4", False, half),
        "bnb-fp4": four("fp4", False),
        "bnb-int8": eight,
    }


def widened(weight: torch.Tensor) -> torch.Tensor:
    """What torchao dequantizes a weight to; some kinds do so in the layer's own type alone."""
    try:
        return weight.dequantize(torch.float32)
    except TypeError:
        return weight.dequantize()


def by_torchao(source: Path, out: Path) -> dict[str, Callable[[], None]]:
    from torchao import quantization as ao

    def maker(
        name: str, config: object, scheme: str, how: str, save: Callable
    ) -> Callable[[], None]:
        def make() -> None:
            model = AutoModelForCausalLM.from_pretrained(
                source,
                quantization_config=TorchAoConfig(config),
                dtype=torch.bfloat16,
                device_map="cpu",
            )
            save(model, place(out, name))
            values = {
                n: widened(m.weight)
                for n, m in model.named_modules()
                if isinstance(m, torch.nn.Linear)
                and hasattr(m.weight, "dequantize")
                and n != "lm_head"
            }
            tell(place(out, name), "torchao", values, scheme=scheme, how=how)

        return make

    def safely(model: torch.nn.Module, folder: Path) -> None:
        model.save_pretrained(folder)

    def pickled(model: torch.nn.Module, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
        model.config.save_pretrained(folder)

    configs = {
        "int8": ao.Int8WeightOnlyConfig(),
        "int8-dynamic": ao.Int8DynamicActivationInt8WeightConfig(),
        "fp8": ao.Float8WeightOnlyConfig(),
        "int4": ao.IntxWeightOnlyConfig(torch.int4, ao.PerGroup(32)),
        "int3": ao.IntxWeightOnlyConfig(torch.int3, ao.PerAxis(0)),
    }
    made = {}
    for kind, config in configs.items():
        for end, how, save in (("", "save_pretrained", safely), ("-bin", "torch.save", pickled)):
            name, scheme = f"torchao-{kind}{end}", kind.split("-")[0].replace("fp", "FP")
            made[name] = maker(name, config, scheme, how, save)
    return made


def by_quanto(source: Path, out: Path) -> dict[str, Callable[[], None]]:
    from optimum.quanto import QuantizedModelForCausalLM, qfloat8, qint2, qint4, qint8

    def maker(name: str, kind: object) -> Callable[[], None]:
        def make() -> None:
            model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
            done = QuantizedModelForCausalLM.quantize(model, weights=kind, exclude="lm_head")
            done.save_pretrained(place(out, name))
            values = {
                n: m.weight.dequantize() for n, m in linears(done._wrapped, "QLinear").items()
            }
            tell(place(out, name), "optimum-quanto", values, scheme="quanto")

        return make

    kinds = {"int8": qint8, "fp8": qfloat8, "int4": qint4, "int2": qint2}
    return {f"quanto-{k}": maker(f"quanto-{k}", v) for k, v in kinds.items()}


def by_hqq(source: Path, out: Path) -> dict[str, Callable[[], None]]:
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear
    from safetensors.torch import save_file

    def maker(name: str, bits: int, group: int, axis: int) -> Callable[[], None]:
        def make() -> None:
            model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
            stored, values = dict(model.state_dict()), {}
            config = BaseQuantizeConfig(nbits=bits, group_size=group, axis=axis)
            for n, m in linears(model, "Linear").items():
                done = HQQLinear(
                    m, config, compute_dtype=torch.bfloat16, device="cpu", del_orig=False
                )
                del stored[f"{n}.weight"]
                parts = {k: v for k, v in done.state_dict().items() if torch.is_tensor(v)}
                stored |= {f"{n}.{k}": v.contiguous() for k, v in parts.items()}
                values[n] = done.dequantize()
            model.config.quantization_config = {"quant_method": "hqq"}
            (place(out, name)).mkdir(parents=True, exist_ok=True)
            model.config.save_pretrained(place(out, name))
            save_file(stored, place(out, name) / "model.safetensors", {"format": "pt"})
            tell(
                place(out, name),
                "hqq",
                values,
                scheme=f"HQQ {bits} bit",
                how="HQQLinear.state_dict",
            )

        return make

    cases = ((8, 64, 1), (4, 64, 1), (4, 64, 0), (3, 64, 1), (2, 32, 1), (1, 32, 1))
    return {
        f"hqq-{b}bit{'' if a else '-axis0'}": maker(f"hqq-{b}bit{'' if a else '-axis0'}", b, g, a)
        for b, g, a in cases
    }


def main(source: Path, out: Path, chosen: list[str]) -> None:
    makers: dict[str, Callable[[], None]] = {}
    for library in (by_bitsandbytes, by_torchao, by_quanto, by_hqq):
        makers |= library(source, out)
    each(makers, chosen)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
