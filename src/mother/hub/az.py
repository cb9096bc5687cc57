"""Azure Blob Storage by adlfs, which tries again by itself what may go well later.

https://learn.microsoft.com/rest/api/storageservices/list-blobs
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mother.hub import stores
from mother.hub.mirrors import Entry
from mother.hub.patience import TIMEOUT
from mother.hub.stores import Ask, Store, entry, read

#: seconds that an answer which is no file's may take with all that its library tries
LONGEST = 200.0


def options() -> dict[str, Any]:
    """How long a server is waited for that says nothing while a file is read."""
    return {"connection_timeout": int(TIMEOUT), "read_timeout": int(TIMEOUT)}


def listed(fs: Any, path: str, ask: Ask) -> Iterator[tuple[str, Entry]]:
    """The blob at a path, or those below it."""
    from fsspec.asyn import sync

    about = ask(lambda: fs.info(path, timeout=LONGEST))
    if about["type"] != "directory":
        yield "", entry(about)
        return
    container, _, key = path.rstrip("/").partition("/")
    prefix = f"{key}/" if key else ""
    wanted = {"name_starts_with": prefix, "include": ["metadata"], "results_per_page": stores.PAGE}

    async def got(token: str | None) -> tuple[list[Any], str | None]:
        async with fs.service_client.get_container_client(container=container) as client:
            told = client.list_blobs(**wanted).by_page(continuation_token=token)
            return [blob async for blob in await anext(told)], told.continuation_token

    def page(token: str | None) -> tuple[list[tuple[str, Entry]], str | None]:
        blobs, after = sync(fs.loop, got, token, timeout=LONGEST)
        found = [
            (name, entry({"size": blob.size, "etag": blob.etag}))
            for blob in blobs
            if (name := blob.name[len(prefix) :]) and not _is_folder(blob)
        ]
        return found, after

    yield from stores.pages(ask, page)


def _is_folder(blob: Any) -> bool:
    """Whether a blob stands for a folder, as accounts with a hierarchy of names have them."""
    told = {str(name).lower(): value for name, value in (blob.metadata or {}).items()}
    return "true" in (told.get("hdi_isfolder"), told.get("is_directory"))


STORE = Store(
    options,
    listed,
    read,
    "credentials come by AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or"
    " AZURE_STORAGE_SAS_TOKEN, or by AZURE_STORAGE_CONNECTION_STRING",
    attempts=1,
    logs=("azure", "asyncio"),
)
