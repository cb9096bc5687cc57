"""The API against its own description: requests drawn from the document, over a real socket."""

import pytest
import schemathesis
from forests import HOSTILE, hostile
from hypothesis import HealthCheck, settings
from serving import served
from starlette.testclient import TestClient

from mother.server.app import application

GRAPH = hostile(HOSTILE, [k // 2 for k in range(len(HOSTILE))])
with TestClient(application(GRAPH, ["testserver"])) as here:
    # but for what no schema can describe: whether the bytes sent are a checkpoint
    described = schemathesis.openapi.from_dict(here.get("/api/openapi.json").json()).exclude(
        path="/api/drop"
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served(GRAPH, folders=[tmp_path_factory.mktemp("models")]) as address:
        yield address


@described.parametrize()
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_it_does_what_it_says(case, address):
    """No fault of the server; every status, type and body as described; bad input refused."""
    case.call_and_validate(base_url=address, timeout=60)
