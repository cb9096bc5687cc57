"""Walk how-tos to the letter: each command of a page in a fresh checkout with an empty home and a
new environment, by a real shell with real servers, and what it printed beside what is shown.

    python -m experiments.stores.howtos [PAGE.md …]

What pages take as given, moto's server and MLflow, is installed first. What is not committed is not
in the checkout.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from fences import ROOT, Fence, fences, is_shown, sessions

HOWTOS = [ROOT / "docs" / "howto" / f"{name}.md"
          for name in ("what-do-i-have", "read-a-bucket", "tag-a-registry")]  # fmt: skip
#: what the pages run in a terminal of its own, to the end
SERVERS = re.compile(r"moto_server|mlflow server|python experiments/tests/loopback_hub\.py")
#: before the first page, as docs/start.md has it, and what pages say that readers have
SETUP = ("python3 -m venv .venv", ". .venv/bin/activate", "pip install . 'moto[server]>=5' mlflow")
END = "that was it:"
#: variables that a reader's terminal has not
OURS = re.compile(r"PYTHON|VIRTUAL_ENV|AWS_|MLFLOW_|HF_|OMP_|OPENBLAS_|FSSPEC_")


class Reader:
    """One terminal, in a checkout, and those of servers beside it."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        checkout, home = folder / "mother", folder / "home"
        home.mkdir()
        subprocess.run(["git", "clone", "-q", ROOT, checkout], check=True)
        clean = {k: v for k, v in os.environ.items() if not OURS.match(k)}
        env = {**clean, "HOME": str(home), "TMPDIR": str(home)}
        self.own: dict[str, Any] = {"cwd": checkout, "env": env}
        self.opened = opened
        self.errors = opened.enter_context((home / "stderr").open("w+"))
        self.shell = opened.enter_context(self._started("bash", stdin=subprocess.PIPE))

    def _started(self, *words: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        return subprocess.Popen(
            words, stdin=stdin, stdout=subprocess.PIPE, stderr=self.errors, text=True, **self.own
        )

    def run(self, command: str) -> tuple[int, str]:
        """Exit code, and what came on stdout."""
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        self.shell.stdin.write(f"{command}\ncode=$?; echo; echo '{END}' $code; (exit $code)\n")
        self.shell.stdin.flush()
        said = ""
        for line in self.shell.stdout:
            if line.startswith(END):
                return int(line.removeprefix(END)), said.removesuffix("\n")
            said += line
        raise EOFError(said)

    def serve(self, command: str) -> None:
        """In a terminal of its own, until this one is closed."""
        _, path = self.run("echo $PATH")
        server = self._started("bash", "-c", f"PATH='{path.strip()}'; exec {command}")
        self.opened.callback(server.wait)
        self.opened.callback(server.terminate)
        port = int(re.findall(r"\b\d{4,5}\b", command)[-1])
        for _ in range(1200):
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                return
            time.sleep(0.5)
        raise TimeoutError(command)


def steps(fence: Fence) -> Iterator[tuple[str, str | None]]:
    """Commands, each with what the page shows of it, None where it shows nothing."""
    if fence.language == "sh":
        yield from ((line, None) for line in fence.text.splitlines() if line.strip())
    elif fence.language == "console":
        yield from sessions(fence.text)
    elif fence.language == "python":
        yield f"python - <<'END'\n{fence.text}END", None


def walked(page: Path, reader: Reader) -> Iterator[bool]:
    """Of each step of a page whether it went as the page says."""
    for fence in fences(page):
        for (command, shown), (after, told) in pairwise([*steps(fence), ("", None)]):
            wanted = int(told or 0) if after == "echo $?" else 0
            print(f"$ {command}", flush=True)
            if SERVERS.match(command):
                reader.serve(command)
                continue
            code, out = reader.run(command)
            right = shown is None or is_shown(shown, out)
            said = "nothing" if shown is None else "as" if right else "NOT as"
            print(f"{out}# exit code {code}, {said} shown")
            yield right and code == wanted


def main(pages: list[Path]) -> None:
    with TemporaryDirectory() as folder, ExitStack() as kept:
        first = Reader(Path(folder), kept)
        for command in SETUP:
            assert first.run(command)[0] == 0, command
        for page in pages:
            with TemporaryDirectory() as own, ExitStack() as opened:
                reader = Reader(Path(own), opened)
                reader.run(f". {folder}/mother/.venv/bin/activate")
                went = list(walked(page, reader))
                print((Path(own) / "home" / "stderr").read_text(errors="replace"))
            print(f"# {page.relative_to(ROOT)}: {sum(went)} of {len(went)} went as it says")


if __name__ == "__main__":
    main([Path(name).resolve() for name in sys.argv[1:]] or HOWTOS)
