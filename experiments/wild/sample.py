"""A small checkpoint that holds a sample of the rows of a large one.

The same rows in every model of a family, so that inner products and distances of the samples are
those of the models, but for sampling noise. Rows lie together in a few runs, because each run is a
request.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from experiments.wild.hub import Opened, Stored

#: runs of rows in a sampled layer, and bytes of one request
RUNS, REQUEST = 4, 32 << 20
CONNECTIONS = 8


def runs(rows: int, width: int, weights: int) -> list[tuple[int, int]]:
    """Rows [start, stop) to read of a layer of `rows` rows of `width` weights each, so that these
    are about `weights` weights; all of them where that is 0, or more than there are.

    >>> runs(100, 10, 200)
    [(10, 15), (35, 40), (60, 65), (85, 90)]
    >>> runs(100, 10, 1000), runs(100, 10, 0)
    ([(0, 100)], [(0, 100)])
    """
    if not weights or rows * width <= weights:
        return [(0, rows)]
    each = max(weights // (RUNS * width), 1)
    if each * RUNS >= rows:
        return [(0, rows)]
    starts = [(2 * k + 1) * rows // (2 * RUNS) - each // 2 for k in range(RUNS)]
    return [(start, start + each) for start in starts]


def size(model: Opened, weights: int) -> int:
    """Bytes of weights that a sample takes."""
    _, places = _laid_out(model, weights)
    return sum((stop - start) * stored.itemsize for stored, start, stop, _ in places)


def write_sample(
    model: Opened, weights: int, path: Path, progress: Callable[[int], None] = lambda _: None
) -> None:
    """Write the sample as a safetensors file, unless it is there; `progress` receives bytes, read
    or found there."""
    header, places = _laid_out(model, weights)
    if _starts_with(path, header):
        progress(size(model, weights))
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        os.pwrite(handle, header, 0)

        def copy(place: tuple[Stored, int, int, int]) -> int:
            stored, start, stop, offset = place
            return os.pwrite(handle, stored.read(start, stop), len(header) + offset)

        with ThreadPoolExecutor(CONNECTIONS) as pool:
            waiting = [pool.submit(copy, place) for place in places]
            try:
                for each in waiting:
                    progress(each.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        os.fsync(handle)
        Path(name).replace(path)
    finally:
        os.close(handle)
        Path(name).unlink(missing_ok=True)


def _laid_out(model: Opened, weights: int) -> tuple[bytes, list[tuple[Stored, int, int, int]]]:
    """The file's first bytes, and what follows: elements [start, stop) of a tensor, and where."""
    content: dict[str, object] = {
        "__metadata__": {
            "source": f"{model.repository}@{model.commit}",
            "sample": f"{weights} weights a layer" if weights else "all",
            "layers": hashlib.sha256(
                repr([(n, t.dtype, t.shape) for n, t in model.tensors.items()]).encode()
            ).hexdigest(),
        }
    }
    places: list[tuple[Stored, int, int, int]] = []
    end = 0
    # what takes more bytes a weight first, so that all of it is aligned
    for name, stored in sorted(model.tensors.items(), key=lambda item: -item[1].itemsize):
        rows, *inner = stored.shape or (1,)
        width = math.prod(inner)
        chosen = runs(rows, width, weights)
        start = end
        for first, last in chosen:
            for a, b in _requests(first * width, last * width, stored.itemsize):
                places.append((stored, a, b, end))
                end += (b - a) * stored.itemsize
        shape = [sum(last - first for first, last in chosen), *inner] if stored.shape else []
        content[name] = {"dtype": stored.dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, places


def _requests(start: int, stop: int, width: int) -> Iterator[tuple[int, int]]:
    step = REQUEST // width
    for a in range(start, stop, step):
        yield a, min(a + step, stop)


def _starts_with(path: Path, start: bytes) -> bool:
    if not path.exists():
        return False
    with path.open("rb") as file:
        return file.read(len(start)) == start
