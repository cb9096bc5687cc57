"""Work on other processes and other machines, through any executor of PEP 3148.

Pieces of work go out and results come back in the order of the pieces, so that what is made of them
does not depend on who did them. A worker that dies costs time and changes nothing.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from typing import Any, TypeVar

from mother.errors import MotherError, UsageError
from mother.hub.traffic import TRAFFIC

TRIES = 3  # for each piece of work
MOST = 1024  # processes of local:N
CONNECTING = 30  # seconds to find a scheduler in
KINDS = "local:N, dask:ADDRESS, ray:ADDRESS"
Piece = TypeVar("Piece")
Result = TypeVar("Result")
T = TypeVar("T")


@dataclass(frozen=True)
class Lost:
    """What stands for the result of a piece of work that no worker could finish, and why."""

    fault: str


def in_order(
    executor: Executor, work: Callable[[Piece], Result], pieces: Iterable[Piece], ahead: int
) -> Iterator[Result | Lost]:
    """`work` of each piece in the order of the pieces, at most `ahead` of them out at once.

    `work` returns what is wrong with a piece and never raises it: whatever is raised is taken for
    the death of a worker, and the piece goes out again, TRIES times in all. Who stops iterating
    cancels what has not begun. Raises MotherError where the executor takes no more work, or another
    has cancelled it.

    >>> with ThreadPoolExecutor(2) as threads:
    ...     list(in_order(threads, abs, [-3, 2, -1], ahead=2))
    [3, 2, 1]
    """
    left = iter(pieces)
    out: deque[tuple[Piece, int, Future[tuple[Result, tuple[int, int]]]]] = deque()
    try:
        while True:
            for piece in islice(left, ahead - len(out)):
                out.append((piece, 1, _sent(executor, work, piece)))
            if not out:
                return
            piece, tries, future = out[0]
            try:
                result: Result | Lost
                result, read = future.result()
                TRAFFIC.more(*read)
            except CancelledError:
                # nobody here has: so Dask tells that its scheduler is gone
                raise _gone("cancelled") from None
            except Exception as fault:
                if tries < TRIES:
                    out[0] = piece, tries + 1, _sent(executor, work, piece)
                    continue
                result = Lost(f"no worker could finish it, {tries} have tried ({_line(fault)})")
            out.popleft()
            yield result
    finally:
        for _, _, future in out:
            future.cancel()


def _sent(
    executor: Executor, work: Callable[[Piece], Result], piece: Piece
) -> Future[tuple[Result, tuple[int, int]]]:
    try:
        return executor.submit(_counted, work, piece)
    except Exception as fault:
        raise _gone(_line(fault)) from None


def _counted(work: Callable[[Piece], Result], piece: Piece) -> tuple[Result, tuple[int, int]]:
    """What it comes to, and what was read from elsewhere for it."""
    return work(piece), TRAFFIC.taken()


def _gone(why: str) -> MotherError:
    return MotherError(f"the workers are gone ({why}); the same again goes on")


def _line(fault: BaseException) -> str:
    lines = str(fault).strip().splitlines()
    return f"{type(fault).__name__}: {lines[0]}" if lines else type(fault).__name__


@contextmanager
def opened(name: str) -> Iterator[Executor]:
    """The executor of that name: local:N is N processes, dask:ADDRESS a scheduler of Dask,
    ray:ADDRESS a cluster of Ray, each as `Client` and `ray.init` take it. Waits for what has begun
    when it is closed. UsageError where there is none, or its library is not installed.

    >>> with opened("local:two"):
    ...     pass
    Traceback (most recent call last):
        ...
    mother.UsageError: 'local:two' is none of local:N, dask:ADDRESS, ray:ADDRESS
    """
    kind, _, rest = name.partition(":")
    if kind == "local" and rest.isascii() and rest.isdecimal() and 1 <= int(rest[:9]) <= MOST:
        with Processes(int(rest)) as processes:
            yield processes
    elif kind == "dask" and rest:
        with _dask(rest) as executor:
            yield executor
    elif kind == "ray" and rest:
        with _ray(rest) as executor:
            yield executor
    else:
        raise UsageError(f"{name!r} is none of {KINDS}")


class Processes(Executor):
    """Processes that each have one piece of work at a time, so that who dies of its own does not
    take others' with it, and is replaced.

    >>> with Processes(1) as processes:
    ...     processes.submit(divmod, 7, 2).result()
    (3, 1)
    """

    def __init__(self, count: int) -> None:
        self._threads = ThreadPoolExecutor(count, initializer=_shield)
        self._idle = SimpleQueue[ProcessPoolExecutor]()
        for _ in range(count):
            self._idle.put(_process())

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As of every executor."""
        return self._threads.submit(self._run, fn, args, kwargs)

    def _run(self, fn: Callable[..., T], args: Any, kwargs: Any) -> T:
        process = self._idle.get()
        try:
            return process.submit(fn, *args, **kwargs).result()
        except BrokenProcessPool:
            process.shutdown()
            process = _process()
            raise
        finally:
            self._idle.put(process)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As of every executor."""
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        while not self._idle.empty():
            self._idle.get().shutdown(wait)


def _shield() -> None:
    """Ctrl-C is not for this thread, nor for the processes that it starts, before they know so."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])


def _process() -> ProcessPoolExecutor:
    # spawned: a forked one would hold a lock that another thread had at that moment
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin)


def _begin() -> None:
    """Ctrl-C is for the process that we work for, and we end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _dask(address: str) -> Iterator[Executor]:
    try:
        from distributed import Client
        from distributed.comm import get_address_host_port, normalize_address
    except ImportError:
        raise _missing("distributed", "dask") from None
    # what it logs, tracebacks, is told in one line here
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    try:
        # or a client that was never one complains when it is collected
        get_address_host_port(normalize_address(address), strict=True)
        client = Client(address, timeout=CONNECTING, set_as_default=False)
    except Exception as fault:  # of many kinds, and each means that there is no cluster
        raise _nobody(f"dask:{address}", fault) from None
    with client:
        # not pure: what was computed before is no answer for a file that has changed
        yield client.get_executor(pure=False)


@contextmanager
def _ray(address: str) -> Iterator[Executor]:
    try:
        import ray
    except ImportError:
        raise _missing("ray", "ray") from None
    try:
        _reach(address)
        ray.init(address, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as fault:
        raise _nobody(f"ray:{address}", fault) from None
    try:
        yield RayTasks()
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """OSError where nobody listens at HOST:PORT: Ray would try for minutes and tell each time."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host:
        socket.create_connection((host.strip("[]"), port), CONNECTING).close()


class RayTasks(Executor):
    """The cluster that `ray.init` has found, as an executor: each piece of work is a task."""

    def __init__(self) -> None:
        import ray

        self._cancel = ray.cancel
        self._task = ray.remote(max_retries=0)(_call)  # in_order tries again

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As of every executor; a future that is cancelled cancels its task."""
        reference = self._task.remote(fn, args, kwargs)
        future: Future[T] = reference.future()
        future.add_done_callback(lambda f: self._cancel(reference) if f.cancelled() else None)
        return future


def _call(fn: Callable[..., T], args: Any, kwargs: Any) -> T:
    return fn(*args, **kwargs)


def _missing(module: str, extra: str) -> UsageError:
    return UsageError(f"{module} is not installed; run: pip install 'mother-recovery[{extra}]'")


def _nobody(name: str, fault: BaseException) -> UsageError:
    return UsageError(
        f"{name}: can't be reached ({_line(fault)}); check the address, and that it is up"
    )
