"""Work that reads weights: one piece at a time, each in a process that is ended when it is late,
and when nobody waits for it any more."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mother.server.guard import Problem

RETRY_AFTER = 5  # seconds


class Heavy:
    """Runs `mother.server.work`. folders: what it may read; seconds: how long it may take."""

    def __init__(self, folders: Sequence[Path], seconds: float) -> None:
        self.folders = folders
        self.seconds = seconds
        self._busy = False

    async def __call__(
        self,
        task: Mapping[str, Any] | Callable[[], Awaitable[Mapping[str, Any]]],
        gone: Callable[[], Awaitable[object]] | None = None,
    ) -> dict[str, Any] | Problem:
        """The answer, or the problem that stands in its place. task: or what gives it, which is
        awaited only when nothing else runs. gone: what it gives ends when whoever asked has gone
        away, and the work with it."""
        if self._busy:
            headers = {"Retry-After": str(RETRY_AFTER)}
            return Problem(503, "busy with another comparison or placement", headers)
        self._busy = True
        try:
            task = await task() if callable(task) else task
            given = {"folders": [str(folder) for folder in self.folders], **task}
            return await self._run(given, (gone or asyncio.Event().wait)())
        finally:
            self._busy = False

    async def _run(
        self, task: Mapping[str, Any], gone: Awaitable[object]
    ) -> dict[str, Any] | Problem:
        pipe = asyncio.subprocess.PIPE
        # -P: what lies in the current folder is not imported
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "mother.server.work"), stdin=pipe, stdout=pipe
        )
        work = asyncio.ensure_future(process.communicate(json.dumps(task).encode("ascii")))
        left = asyncio.ensure_future(gone)
        first = asyncio.FIRST_COMPLETED
        try:
            await asyncio.wait((work, left), timeout=self.seconds, return_when=first)
            if not work.done() and left.done():
                return Problem(503, "whoever asked is gone")
            if not work.done():
                return Problem(504, f"not done within {self.seconds:g} seconds (--timeout)")
            out, _ = work.result()
        finally:
            work.cancel()
            left.cancel()
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode:
            return Problem(500, "the work ended without an answer; the terminal tells more")
        answer = json.loads(out)
        if "done" not in answer:
            return Problem(answer["status"], answer["detail"])
        done: dict[str, Any] = answer["done"]
        return done
