"""Requests to a Hub: tried again where that may help, and one line where it does not.

Who is asked, with which token and whether at all is up to huggingface_hub: HF_ENDPOINT, HF_TOKEN,
`hf auth login`, HF_HUB_OFFLINE.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from mother.hub import patience
from mother.hub.patience import NO_ANSWERS, PASSING, TIMEOUT, Manners, retry_after
from mother.hub.traffic import TRAFFIC

T = TypeVar("T")
#: of a list, which tells a repository's files or an owner's models
MAX_PAGE, MAX_PAGES = 64 << 20, 1000


def patiently(where: str, work: Callable[[], T]) -> T:
    """What `work` returns, which asks the Hub and is tried again where that may help. InputError.

    where: what it reads, for the line.
    """
    return patience.patiently(where, work, HUB)


def _caught() -> tuple[type[Exception], ...]:
    from huggingface_hub.errors import HTTPError

    # the last three for answers that are not what the client takes them for
    return (HTTPError, OSError, ValueError, TypeError, KeyError)


def _passes(error: Exception) -> bool:
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return False
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in PASSING
    return isinstance(error, HTTPError | ConnectionError | TimeoutError)


def _asked(error: Exception) -> float | None:
    from huggingface_hub.errors import HfHubHTTPError

    if not isinstance(error, HfHubHTTPError):
        return None
    return retry_after(error.response.headers.get("Retry-After", ""))


def fault(error: Exception) -> str:
    """What went wrong, in one line that says what to do."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        DisabledRepoError,
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    log_in = "log in by `hf auth login` or set HF_TOKEN"
    if isinstance(error, OfflineModeIsEnabled):
        return "not asked for: HF_HUB_OFFLINE is set; unset it to read from the Hub"
    if isinstance(error, GatedRepoError):
        return f"gated: accept its terms on its page at {constants.ENDPOINT}, then {log_in}"
    if isinstance(error, RepositoryNotFoundError):
        return f"not found on {constants.ENDPOINT}; if it is private, {log_in}"
    if isinstance(error, RevisionNotFoundError):
        return "no such revision; give a branch, a tag or a commit after the @"
    if isinstance(error, DisabledRepoError):
        return "the Hub has disabled access to it"
    if isinstance(error, EntryNotFoundError):
        return "the Hub lists it and does not have it; try again, or another revision"
    if isinstance(error, NO_ANSWERS):
        return f"what answers at {constants.ENDPOINT} is no Hub; check HF_ENDPOINT"
    if not isinstance(error, HfHubHTTPError):
        why = " ".join(str(error).split())[:200] or type(error).__name__
        return f"{constants.ENDPOINT} can't be read: {why}; check the network and HF_ENDPOINT"
    status = error.response.status_code
    answer = f"the Hub answers {status} {error.response.reason_phrase}".strip()
    if status in (401, 403):
        return f"{answer}: the token is not accepted or lacks the right; {log_in}"
    if status in PASSING:
        asked = _asked(error)
        when = "later" if asked is None else f"in {asked:.0f} seconds"
        return f"{answer}; try again {when}"
    return answer


#: how the Hub's client tells what went wrong
HUB = Manners("the Hub", _caught, _passes, _asked, fault)


def listed(path: str, query: Mapping[str, Any]) -> Iterator[Any]:
    """What the Hub's API says under a path, a page at a time, each parsed from JSON.

    The client's own calls read whatever comes, inflate it, and take the token wherever a page says
    that the next one is. Raises what the client does, and ValueError for a page of more than
    MAX_PAGE bytes, more than MAX_PAGES of them, and a next page elsewhere.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    url = f"{constants.ENDPOINT}/api/{path}"
    headers = build_hf_headers(library_name="mother")
    options: dict[str, Any] = {"params": dict(query)}
    for page_number in range(MAX_PAGES):
        if page_number:
            TRAFFIC.asked()
        body = bytearray()
        with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT, **options) as page:
            hf_raise_for_status(page)
            for part in page.iter_bytes():
                body += part
                if len(body) > MAX_PAGE:
                    raise ValueError(f"the Hub sends a list of more than {MAX_PAGE} bytes")
            url = page.links.get("next", {}).get("url", "")
        yield json.loads(bytes(body))
        if not url:
            return
        if not url.startswith(f"{constants.ENDPOINT}/"):
            raise ValueError("the Hub says that its list goes on elsewhere")
        options = {}  # the next page's address has its own
    raise ValueError(f"the Hub sends a list of more than {MAX_PAGES} pages")


@contextmanager
def ranged(url: str, start: int, stop: int, *, known: bool) -> Iterator[Any]:
    """The answer, not yet read, to a request for bytes [start, stop). known: whether it goes to
    the Hub, which may see the token, and not to where the Hub has sent us. Raises what the client
    does."""
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
    if known:
        headers |= build_hf_headers(library_name="mother")
    with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT) as response:
        hf_raise_for_status(response)
        yield response
