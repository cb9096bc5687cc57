"""A checkpoint that comes over the network: one file, on disk for as long as it is placed."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.exceptions import HTTPException

PATIENCE = 10.0  # seconds for the next part to come
SHARE = 0.5  # of what is free on the disk, which a file may take
_LONGEST = 100


def plain(name: str) -> str:
    """A file name that says what was sent, and means nothing to a file system.

    >>> plain("base.safetensors"), plain("../../etc/passwd"), plain("模 型.gguf"), plain("..")
    ('base.safetensors', 'passwd', '模_型.gguf', 'checkpoint')
    """
    last = re.split(r"[/\\]", name)[-1]
    kept = re.sub(r"[^\w.+-]+", "_", last).lstrip(".-")[-_LONGEST:]
    return kept.encode("utf-8", "ignore")[-2 * _LONGEST :].decode("utf-8", "ignore") or "checkpoint"


async def received(parts: AsyncIterator[bytes], path: Path) -> None:
    """Write what comes to a new file. HTTPException if it would fill the disk, is nothing, or does
    not come."""
    room = int(SHARE * shutil.disk_usage(path.parent).free)
    written = 0
    with path.open("xb") as file:
        while part := await _next(parts):
            written += len(part)
            if written > room:
                raise HTTPException(413, f"larger than {SHARE:.0%} of the disk's free space")
            file.write(part)
    if not written:
        raise HTTPException(422, f"{path.name}: an empty file")


async def _next(parts: AsyncIterator[bytes]) -> bytes:
    """The next part that is not empty; b"" after the last."""
    try:
        async with asyncio.timeout(PATIENCE):
            async for part in parts:
                if part:
                    return part
    except TimeoutError:
        raise HTTPException(408, f"nothing came for {PATIENCE:.0f} seconds") from None
    return b""
