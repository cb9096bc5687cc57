"""A server on loopback, as `mother serve` runs it."""

import asyncio
import contextlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import uvicorn

from mother.server.app import application
from mother.server.guard import names_of


@contextlib.contextmanager
def served(graph, **options):
    """The address of a server that runs as long as the context does."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        app = application(graph, names_of("127.0.0.1", port), **options)
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join()


def outcome(coroutine):
    """What a coroutine returns, on a loop in a thread of its own: a browser's runs in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()
