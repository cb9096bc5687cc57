"""The routes."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from mother import __version__
from mother.errors import InputError
from mother.graph import ModelGraph
from mother.graph.placement import Placement, in_words
from mother.hub import is_address
from mother.server import schemas
from mother.server.answers import Answers
from mother.server.confinement import AbsentError, OutsideError, confined
from mother.server.grown import Grown
from mother.server.guard import STREAMED, Answer, Guard, Problem
from mother.server.heavy import Heavy
from mother.server.reference import document, reference
from mother.server.sent import plain, received
from mother.views.page import live
from mother.views.terminal import printable

MOST_KEYS = 500  # of models whose children are asked for at once
MOST_ENTRIES = 1000
MOST_MATCHES = 100_000
_LARGEST_KEY = 2**53
UNALLOWED = "no folder is allowed; start with: mother serve … --allow FOLDER"


def _only(kind: str) -> Any:
    """A form of another site can be sent without asking first; these kinds can't."""

    def check(request: Request) -> None:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != kind:
            raise HTTPException(415, f"the body must be {kind}")

    return Depends(check)


JSON = [_only("application/json")]
BYTES = "application/octet-stream"
_FILE = {"required": True, "content": {BYTES: {"schema": {"type": "string", "format": "binary"}}}}
Key = Annotated[int, InPath(ge=0, lt=_LARGEST_KEY, description="place in preorder")]
Text = Annotated[str, Query(max_length=1000)]


def application(
    source: ModelGraph | Path,
    hosts: Iterable[str],
    *,
    title: str = "Family forest",
    folders: Sequence[Path] = (),
    seconds: float = 600.0,
) -> ASGIApp:
    """The server as an ASGI application.

    source: a graph, or the folder of an index, which is shown as it is at the moment. hosts: what a
    Host header may say (`names_of`). folders: what may be read to compare and to place; addresses
    for what lies elsewhere. seconds: how long one such request may take.
    """
    app = FastAPI(
        title="mother",
        version=__version__,
        description="A recovered model graph, and what its weights say on request.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    real = [folder if is_address(folder) else folder.resolve() for folder in folders]
    answers = Grown(source, title) if isinstance(source, Path) else Answers(source, title)
    heavy = Heavy(real, seconds)
    _faults(app)
    _reads(app, answers, bool(real))
    _work(app, answers, heavy, real)
    described = document(app)
    shown, policy = live()
    text, text_policy = reference(described)

    @app.get("/", include_in_schema=False)
    def page() -> HTMLResponse:
        return HTMLResponse(shown, headers={"Content-Security-Policy": policy})

    @app.get("/api", include_in_schema=False)
    def api() -> HTMLResponse:
        return HTMLResponse(text, headers={"Content-Security-Policy": text_policy})

    @app.get("/api/openapi.json", include_in_schema=False)
    def openapi() -> Answer:
        return Answer(described)

    return Guard(app, hosts)


def _faults(app: FastAPI) -> None:
    """Every error in one form."""

    @app.exception_handler(HTTPException)
    def refused(_: Request, fault: HTTPException) -> Problem:
        headers = dict(fault.headers) if fault.headers else None
        return Problem(fault.status_code, printable(str(fault.detail)), headers)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, fault: RequestValidationError) -> Problem:
        first = fault.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return Problem(422, printable(f"{where}: {first['msg']}")[:300])

    @app.exception_handler(InputError)
    def damaged(_: Request, fault: InputError) -> Problem:
        return Problem(500, printable(str(fault))[:300])

    @app.exception_handler(Exception)
    def broken(_: Request, __: Exception) -> Problem:
        return Problem(500, "a fault of the server; its terminal tells more")


def _reads(app: FastAPI, answers: Answers | Grown, weights: bool) -> None:
    @app.get("/api/graph", response_model=schemas.Summary)
    def graph() -> Answer:
        """Method, counts, inputs that could not be read."""
        return Answer({**answers.about(), "weights": weights})

    @app.get("/api/trees", response_model=schemas.Entries)
    def trees(
        of: Annotated[
            list[Annotated[int, Query(ge=0, lt=_LARGEST_KEY)]] | None,
            Query(max_length=MOST_KEYS, description="keys; the roots where none is given"),
        ] = None,
        offset: Annotated[int, Query(ge=0, lt=_LARGEST_KEY)] = 0,
        limit: Annotated[int, Query(ge=1, le=MOST_ENTRIES)] = MOST_ENTRIES,
    ) -> Answer:
        """Roots, or what hangs right below the models with these keys."""
        above: list[int | None] = [*of] if of else [None]
        total, entries = _found(lambda keys: answers.below(keys, offset, limit), above)
        return Answer({"total": total, "entries": entries})

    @app.get("/api/entries", response_model=schemas.Entries)
    def entries(
        offset: Annotated[int, Query(ge=0, lt=_LARGEST_KEY)] = 0,
        limit: Annotated[int, Query(ge=1, le=MOST_ENTRIES)] = MOST_ENTRIES,
    ) -> Answer:
        """All models in the order of the forest; of an index none, it may hold millions."""
        total, found = answers.every(offset, limit)
        return Answer({"total": total, "entries": found})

    @app.get("/api/node/{key}", response_model=schemas.Details)
    def node(key: Key) -> Answer:
        """One model: its path from the root, its parent and why, its files and layers."""
        return Answer(_found(answers.details, key))

    @app.get("/api/edge", response_model=schemas.ReasonedEdge)
    def edge(child: Text) -> Answer:
        """The edge that leads to a model, with its evidence and its changes by layer."""
        return Answer(_found(answers.edge, child))

    @app.get("/api/search", response_model=schemas.Matches)
    def search(
        q: Annotated[
            str, Query(max_length=1000, description="words, all of which must be found")
        ] = "",
        id: Annotated[str | None, Query(max_length=1000, description="one model by its id")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_MATCHES)] = 100,
    ) -> Answer:
        """Models by name, path, relation, notes, file names and hashes."""
        if id is not None:
            with contextlib.suppress(KeyError):
                return Answer({"total": 1, "matches": [{"key": answers.key(id), "name": id}]})
            return Answer({"total": 0, "matches": []})
        total, matches = answers.matches(q, limit)
        return Answer({"total": total, "matches": matches})


def _work(app: FastAPI, answers: Answers | Grown, heavy: Heavy, folders: Sequence[Path]) -> None:
    @app.post("/api/compare", response_model=schemas.Compared, dependencies=JSON)
    async def compare(pair: schemas.Pair, request: Request) -> Answer:
        """What two models are to each other by their weights, which are read. One at a time."""
        paths = [_found(answers.path_of, id_) for id_ in (pair.a, pair.b)]
        a, b = [str(_allowed(path, folders)) for path in paths]
        task = {"do": "compare", "a": a, "b": b, "names": [pair.a, pair.b]}
        done = await heavy(task, partial(_gone, request))
        return done if isinstance(done, Problem) else Answer(done)

    @app.post("/api/place", response_model=schemas.Placed, dependencies=JSON)
    async def place(where: schemas.Where, request: Request) -> Answer:
        """Where a checkpoint would hang: it is recovered with its relatives. Nothing is stored."""
        asked = where.path.strip().strip("\"'")
        with contextlib.suppress(KeyError):
            answers.key(asked)
            there = Placement(asked, "there", None, None, (), (), (), 0, 0, 0)
            return Answer({**asdict(there), "said": [*in_words(there)]})
        path = _allowed(os.path.expanduser(asked), folders)  # noqa: PTH111  (~ alone, nobody else's)
        task = await asyncio.to_thread(answers.placing, path, folders)
        done = await heavy({"do": "place", "path": str(path), **task}, partial(_gone, request))
        return done if isinstance(done, Problem) else Answer(done)

    @app.post(
        STREAMED,
        response_model=schemas.Placed,
        dependencies=[_only(BYTES)],
        openapi_extra={"requestBody": _FILE},
    )
    async def drop(name: Text, request: Request) -> Answer:
        """Where a checkpoint would hang that is sent as one file, which is not kept."""
        if not folders:
            raise HTTPException(403, UNALLOWED)
        with TemporaryDirectory(prefix="mother-") as made:
            folder = Path(made).resolve()
            path = folder / plain(name)

            async def task() -> dict[str, Any]:
                await received(request.stream(), path)
                given = await asyncio.to_thread(answers.placing, path, folders)
                own = {"folders": [*map(str, folders), str(folder)], "within": f"{folder}{os.sep}"}
                return {"do": "place", "path": str(path), **own, **given}

            done = await heavy(task, partial(_gone, request))
        return done if isinstance(done, Problem) else Answer(done)


async def _gone(request: Request) -> None:
    """Until whoever asked has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _found(ask: Any, what: Any) -> Any:
    try:
        return ask(what)
    except KeyError as fault:
        said = fault.args[0] if fault.args else what
        if said != what and not (isinstance(what, list) and said in what):
            raise
        raise HTTPException(404, f"the graph holds no {said!r} of that kind") from None


def _allowed(path: str, folders: Sequence[Path]) -> Path:
    if not folders:
        raise HTTPException(403, UNALLOWED)
    try:
        return confined(path, folders)
    except OutsideError as fault:
        raise HTTPException(403, f"{path}: {fault}") from None
    except AbsentError as fault:
        raise HTTPException(404, f"{path}: {fault}") from None
