"""What each kind of store does when its server misbehaves: how long it takes, and in which words.

One server on this machine answers whatever is asked in one bad way at a time; each client that
`mother` has asks it, in a process of its own.

    pip install '.[s3,gs,az]'
    python -m experiments.stores.faults [SCHEME …]
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from experiments.stores.clouds import environment

#: seconds after which a command counts as one that hangs
LONGEST = 400
ANSWER = "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n{}\r\n{}"


def answer(status: str, body: str = "", kind: str = "text/plain", more: str = "") -> bytes:
    return ANSWER.format(status, kind, len(body), more, body).encode()


#: what a server may do to whoever asks; None: it takes the connection and says nothing, ever
BAD: dict[str, bytes | None] = {
    "401": answer("401 Unauthorized", more='WWW-Authenticate: Basic realm="lab"\r\n'),
    "403": answer("403 Forbidden"),
    "404": answer("404 Not Found"),
    "429": answer("429 Too Many Requests"),
    "500": answer("500 Internal Server Error"),
    "503, wait 9000 s": answer("503 Service Unavailable", more="Retry-After: 9000\r\n"),
    "a page of HTML": answer("200 OK", "<html>log in</html>", "text/html"),
    "an empty object": answer("200 OK", "{}", "application/json"),
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "half an answer": answer("200 OK", "x" * 999)[:200],
    "hangs up": b"",
    "silence": None,
}
ADDRESSES = {
    "s3": "s3://lab/models",
    "gs": "gs://lab/models",
    "az": "az://lab/models",
    "https": "http://127.0.0.1:PORT/models/base.safetensors",
    "https folder": "http://127.0.0.1:PORT/models/",
    "mlflow": "mlflow://127.0.0.1:PORT",
    "models": "models:/base/1",
    "oci": "oci://127.0.0.1:PORT/lab/base:v1",
    "hf": "hf://lab/base",
    "hf owner": "hf://lab",
}


@contextmanager
def misbehaving(said: bytes | None) -> Iterator[int]:
    """A server that says this to each request and hangs up, and its port."""
    listening, held = socket.create_server(("127.0.0.1", 0)), list[socket.socket]()

    def one(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            client.recv(1 << 16)
            if said is None:
                held.append(client)
                return
            client.sendall(said)
            client.close()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listening.accept()
                threading.Thread(target=one, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listening.getsockname()[1]
    listening.close()
    for client in held:
        client.close()


def told(scheme: str, port: int, home: Path) -> str:
    """Exit code, seconds, and what came on stderr, of one command."""
    env = {**os.environ, **environment(port), "HOME": str(home), "TMPDIR": str(home)}
    env["HF_ENDPOINT" if scheme.startswith("hf") else "MLFLOW_TRACKING_URI"] = (
        f"http://127.0.0.1:{port}"
    )
    address = ADDRESSES[scheme].replace("PORT", str(port))
    program = "import mother.cli; mother.cli.main()"
    start = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, "recover", address],
            env=env, capture_output=True, text=True, timeout=LONGEST, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"HANGS for more than {LONGEST} s"
    took = time.monotonic() - start
    lines = done.stderr.replace(str(port), "PORT").splitlines()
    bad = "" if len(lines) == 1 and done.returncode == 2 and "5ec2e7" not in lines[0] else "BAD "
    return f"{bad}{done.returncode}, {took:.0f} s: " + " | ".join(lines)


def main(schemes: list[str]) -> None:
    with TemporaryDirectory() as home:
        for name, said in BAD.items():
            print(f"# {name}", flush=True)
            for scheme in schemes:
                with misbehaving(said) as port:
                    print(f"{scheme}: {told(scheme, port, Path(home))}", flush=True)
        print("# nobody listens")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        for scheme in schemes:
            print(f"{scheme}: {told(scheme, port, Path(home))}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(ADDRESSES))
