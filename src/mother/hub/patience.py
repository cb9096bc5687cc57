"""Requests that are tried again where that may help, and one line where it does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from time import sleep
from typing import TypeVar

from mother.errors import InputError
from mother.hub.traffic import TRAFFIC
from mother.names import printable

T = TypeVar("T")
ATTEMPTS = 6
#: seconds before the second attempt, doubled from each to the next
FIRST_WAIT = 0.5
#: seconds that a server may ask to wait
LONGEST_WAIT = 60.0
#: seconds that may pass without a byte
TIMEOUT = 30.0
#: answers of HTTP after which the same request may go well
PASSING = frozenset({408, 429, 500, 502, 503, 504})
#: what is raised where an answer is of another kind than the server's that is asked
NO_ANSWERS = (KeyError, TypeError, AttributeError, json.JSONDecodeError)


@dataclass(frozen=True)
class Manners:
    """How the errors of one client are taken. who: it is that answers, "the Hub".

    caught: the types of its errors. passes: whether another attempt may go well. asked: seconds
    that the answer asks to wait, None where it does not. fault: one line that says what to do.
    attempts: how often a request is made at most.
    """

    who: str
    caught: Callable[[], tuple[type[Exception], ...]]
    passes: Callable[[Exception], bool]
    asked: Callable[[Exception], float | None]
    fault: Callable[[Exception], str]
    attempts: int = ATTEMPTS


def patiently(where: str, work: Callable[[], T], manners: Manners) -> T:
    """What `work` returns, tried as often as `manners` allows. where: what it reads, for the line.

    Raises InputError.
    """
    for attempt in range(1, manners.attempts + 1):
        try:
            TRAFFIC.asked()
            return work()
        except InputError:
            raise
        except manners.caught() as error:
            asked = manners.asked(error)
            last = attempt == manners.attempts or not manners.passes(error)
            if last or (asked is not None and asked > LONGEST_WAIT):
                raise InputError(printable(where), printable(manners.fault(error))) from None
        TRAFFIC.failed()
        sleep(FIRST_WAIT * 2 ** (attempt - 1) if asked is None else asked)
    raise AssertionError


def retry_after(value: str) -> float | None:
    """The seconds that a header Retry-After asks for; None where it names a date, or is absent.

    >>> retry_after(" 7 "), retry_after("Wed, 21 Oct 2026 07:28:00 GMT")
    (7.0, None)
    """
    value = value.strip()
    return float(value) if value.isascii() and value.isdecimal() and len(value) < 10 else None
