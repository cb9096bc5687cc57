"""Manifests and the cache of Weights & Biases as its own library makes them, without a server.

pip install wandb
OMP_NUM_THREADS=1 python -m experiments.stores.artifacts
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from experiments.stores.clouds import models, run


def main() -> None:
    with TemporaryDirectory() as name:
        os.chdir(name)
        os.environ |= {"WANDB_CACHE_DIR": f"{name}/cache", "WANDB_DATA_DIR": f"{name}/data"}
        import wandb
        from wandb.sdk.artifacts.artifact_file_cache import get_artifact_file_cache

        base, kid = (data for key, data in models().items() if key.endswith(".safetensors"))
        Path("base.safetensors").write_bytes(base)
        artifact, cache = wandb.Artifact("family", "model"), get_artifact_file_cache()
        artifact.add_file("base.safetensors")
        manifest = artifact.manifest.to_manifest_json()
        entry = artifact.manifest.entries["base.safetensors"]
        _, _, opener = cache.check_digest_obj_path(
            entry.digest, entry.size, artifact.manifest.digest_algorithm
        )
        with opener("wb") as file:
            file.write(base)
        # a reference, as a run that read it from a bucket leaves it
        at, tag = "s3://bucket/kid.safetensors", "5ec2e7"
        manifest["contents"]["kid.safetensors"] = {"digest": tag, "size": len(kid), "ref": at}
        _, _, opener = cache.check_etag_obj_path(at, tag, len(kid))
        with opener("wb") as file:
            file.write(kid)
        home = Path("artifacts") / "family:v3"
        home.mkdir(parents=True)
        (home / "wandb_manifest.json").write_text(json.dumps(manifest))
        print(f"wandb {wandb.__version__}")
        print(run("recover", "artifacts"))


if __name__ == "__main__":
    main()
