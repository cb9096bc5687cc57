"""How fast quantized tensors are read: elements a second, beside numpy's sum of as many float32.

OMP_NUM_THREADS=1 python -m experiments.formats.speed
"""

import json
import tempfile
import time
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import save_file

from mother.checkpoints import Tensor, open_checkpoint, unpack

ROWS, WIDTH, BLOCK, TIMES = 4096, 4096, 1 << 20, 5


def write_gguf(path: Path) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    blocks = np.random.default_rng(0).integers(0, 256, (ROWS, WIDTH // 256 * 144), dtype=np.uint8)
    blocks.reshape(-1, 144)[:, [1, 3]] = 0x20  # scales that are numbers
    kind = gguf.GGMLQuantizationType.Q4_K
    writer.add_tensor("blk.0.ffn_up.weight", blocks, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_gptq(folder: Path, group: int = 128) -> None:
    draw = np.random.default_rng(0)
    groups = WIDTH // group
    tensors = {
        "model.up.qweight": draw.integers(-(2**31), 2**31, (WIDTH // 8, ROWS), dtype=np.int32),
        "model.up.qzeros": np.full((groups, ROWS // 8), 0x77777777, np.int32),
        "model.up.scales": draw.uniform(0.001, 0.01, (groups, ROWS)).astype(np.float16),
        "model.up.g_idx": (np.arange(WIDTH) // group).astype(np.int32),
    }
    save_file(tensors, folder / "model.safetensors")
    config = {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": group}}
    (folder / "config.json").write_text(json.dumps(config))


def best(work) -> float:
    """The shortest of several runs, in seconds of this processor."""
    times = []
    for _ in range(TIMES):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def read(tensor: Tensor) -> None:
    for start in range(0, tensor.size, BLOCK):
        tensor.read(start, start + BLOCK)


def main() -> None:
    floats = np.ones(ROWS * WIDTH, np.float32)
    summed = best(lambda: [floats[k : k + BLOCK].sum() for k in range(0, floats.size, BLOCK)])
    print(f"numpy's sum: {floats.size / summed / 1e9:.2f} billion elements a second")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_gguf(folder / "q4_k.gguf")
        write_gptq(folder)
        compiled = unpack._lib
        for path in (folder / "q4_k.gguf", folder / "model.safetensors"):
            for library in (compiled, None):
                unpack._lib = library
                (tensor,) = open_checkpoint(path).tensors.values()
                seconds = best(lambda tensor=tensor: read(tensor))
                print(
                    f"{tensor.scheme}, {'C' if library else 'numpy'}: "
                    f"{tensor.size / seconds / 1e9:.2f} billion a second, "
                    f"{summed / seconds:.2f} of numpy's sum"
                )


if __name__ == "__main__":
    main()
