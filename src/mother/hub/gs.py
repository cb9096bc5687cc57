"""Google Cloud Storage by gcsfs, which tries again by itself what may go well later.

https://cloud.google.com/storage/docs/json_api/v1/objects/list
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

from mother.hub import stores
from mother.hub.mirrors import Entry
from mother.hub.patience import TIMEOUT
from mother.hub.stores import Ask, Store, entry, read


def options() -> dict[str, Any]:
    """How long a silent server is waited for, without which gcsfs waits for ever.

    gcsfs is told to keep to HTTP, too, before it is imported. Else it asks over gRPC before each
    range what kind of bucket that is, and waits for minutes where a proxy lets none through. Zonal
    buckets can't be read otherwise: who sets the variable to "true" has them."""
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    from aiohttp import ClientTimeout

    silent = ClientTimeout(total=None, sock_connect=TIMEOUT, sock_read=TIMEOUT)
    return {"requests_timeout": silent}


def listed(fs: Any, path: str, ask: Ask) -> Iterator[tuple[str, Entry]]:
    """The object at a path, or those below it."""
    about = ask(lambda: fs.info(path))
    if about["type"] != "directory":
        yield "", entry(about)
        return
    bucket, _, key = path.rstrip("/").partition("/")
    prefix = f"{key}/" if key else ""
    call = partial(
        fs.call, "GET", "b/{}/o", bucket, prefix=prefix, maxResults=stores.PAGE, json_out=True
    )

    def page(token: str | None) -> tuple[list[tuple[str, Entry]], str | None]:
        told = call(pageToken=token) if token else call()
        found = [
            (name, entry(each | {"size": int(each.get("size", 0))}))
            for each in told.get("items", ())
            if (name := each["name"][len(prefix) :])
        ]
        return found, told.get("nextPageToken")

    yield from stores.pages(ask, page)


STORE = Store(
    options,
    listed,
    read,
    "credentials come by GOOGLE_APPLICATION_CREDENTIALS or `gcloud auth application-default"
    " login`, a public bucket by FSSPEC_GS_TOKEN=anon",
    attempts=1,
    logs=("google",),
)
