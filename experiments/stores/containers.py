"""A real registry of containers, and a real client that pushes models there.

apt-get download docker-registry && dpkg -x docker-registry_*.deb there && pip install oras
OMP_NUM_THREADS=1 python -m experiments.stores.containers there/usr/bin/docker-registry
"""

from __future__ import annotations

import os
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from experiments.stores.clouds import models, run, running

KIT = "application/vnd.kitops.modelkit.{}.v1.tar"
CONFIG = """version: 0.1
storage: {filesystem: {rootdirectory: ROOT}}
http: {addr: "127.0.0.1:0"}
"""


def main(registry: str) -> None:
    import oras.client

    with TemporaryDirectory() as name:
        os.chdir(name)  # oras takes files from where it is
        Path("config.yml").write_text(CONFIG.replace("ROOT", f"{name}/store"))
        base, kid = (data for key, data in models().items() if key.endswith(".safetensors"))
        Path("base.safetensors").write_bytes(base)
        Path("ein Kind.safetensors").write_bytes(kid)
        for kind in ("", ".gz"):
            with tarfile.open(f"kid.tar{kind}", f"w:{kind[1:]}") as archive:
                archive.add("ein Kind.safetensors", "model/ein Kind.safetensors")
        served = "env", "REGISTRY_HTTP_ADDR=127.0.0.1:PORT", registry, "serve", "config.yml"
        with running(*served) as port:
            at, client = f"127.0.0.1:{port}/lab", oras.client.OrasClient(insecure=True)
            for where, file in {
                "base:v1": "base.safetensors:application/vnd.cncf.model.weight.v1.raw",
                "kid:latest": f"kid.tar:{KIT.format('model')}",
                "packed:latest": f"kid.tar.gz:{KIT.format('model')}+gzip",
                "code:latest": f"kid.tar:{KIT.format('code')}",
            }.items():
                client.push(target=f"{at}/{where}", files=[file])
            both = f"oci://{at}/base:v1", f"oci://{at}/kid"
            print(run("recover", *both))
            print(run("compare", *both).splitlines()[0])
            run("index", "create", "index")
            print(run("index", "add", "index", *both), run("index", "add", "index", *both), sep="")
            for bad in ("packed", "code", "nothing", "base:v2"):
                print(run("recover", f"oci://{at}/{bad}"), end="")


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))  # noqa: PTH100
