"""S3 and what speaks like it: pages of a list as they come, and bytes of the ETag that was listed.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html, API_GetObject.html
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from functools import partial
from typing import Any

from mother.hub import stores
from mother.hub.files import ChangedError
from mother.hub.mirrors import Entry
from mother.hub.patience import TIMEOUT
from mother.hub.stores import Ask, Store


def options() -> dict[str, Any]:
    """The user's own, as fsspec has them, with our patience in place of two others'."""
    from fsspec.config import conf

    once = {
        "connect_timeout": TIMEOUT,
        "read_timeout": TIMEOUT,
        "retries": {"total_max_attempts": 1},
    }
    own = conf.get("s3", {}).get("config_kwargs", {})
    return {
        "config_kwargs": once | (own if isinstance(own, dict) else {}),
        "use_listings_cache": False,
    }


def listed(fs: Any, path: str, ask: Ask) -> Iterator[tuple[str, Entry]]:
    """The object at a path, or those below it."""
    fs.retries = 1
    bucket, _, key = path.partition("/")

    def about() -> Any:
        try:
            return fs.call_s3("head_object", Bucket=bucket, Key=key)
        except (FileNotFoundError, PermissionError):
            return None  # a folder, or one that may list and not read
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return None  # a bad request, as of an expired token: the list says which

    if key and not key.endswith("/") and (found := ask(about)) is not None:
        yield "", Entry(found["ContentLength"], found["ETag"])
        return
    prefix = f"{key.rstrip('/')}/" if key else ""
    call = partial(fs.call_s3, "list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=stores.PAGE)

    def page(token: str | None) -> tuple[list[tuple[str, Entry]], str | None]:
        told = call(ContinuationToken=token) if token else call()
        found = [
            (name, Entry(each["Size"], each.get("ETag", "")))
            for each in told.get("Contents", ())
            if (name := each["Key"][len(prefix) :])
        ]
        return found, told["NextContinuationToken"] if told.get("IsTruncated") else None

    yield from stores.pages(ask, page)


def read(fs: Any, path: str, known: Entry, start: int, stop: int) -> tuple[bytes, str]:
    """Bytes [start, stop) of an object, if it still is the one that was listed."""
    from fsspec.asyn import sync

    bucket, _, key = path.partition("/")
    same = {"IfMatch": known.tag} if known.tag else {}

    async def get() -> bytes:
        answer = await fs._call_s3(
            "get_object", Bucket=bucket, Key=key, Range=f"bytes={start}-{stop - 1}", **same
        )
        told = f"bytes {start}-{stop - 1}/{known.size}"
        if answer.get("ContentRange", told) != told or answer["ContentLength"] > stop - start:
            answer["Body"].close()
            raise ChangedError(f"{told} were asked for, {answer.get('ContentRange')} are sent")
        async with answer["Body"] as body:
            data: bytes = await body.read()
            return data

    try:
        return sync(fs.loop, get), known.tag
    except OSError as error:
        if error.args and error.args[0] == errno.EINVAL and _is_precondition(error):
            raise ChangedError("has changed in the store while it was read; start again") from None
        raise


def _is_precondition(error: OSError) -> bool:
    told = getattr(error.__cause__, "response", {})
    return bool(told.get("Error", {}).get("Code") in ("PreconditionFailed", "412"))


STORE = Store(
    options,
    listed,
    read,
    "credentials come by AWS_PROFILE, AWS_ACCESS_KEY_ID or ~/.aws, another server by"
    " AWS_ENDPOINT_URL, a public bucket by FSSPEC_S3_ANON=true",
)
