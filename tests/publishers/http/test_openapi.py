"""The document says what the server does: schemathesis asks it everything, over real sockets."""

import json
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from earmark.app.reference import pages
from earmark.outbox.config import OutboxConfig
from publishers.http.about import About
from publishers.http.app import openapi_document
from tests.publishers.http.serving import http_config
from tests.publishers.publishing import Engine, Service
from tests.support.waiting import DEADLINE_S

ENDLESS = ("/api/v1/events/stream", "/api/v1/live")


@pytest.fixture(scope="module")
def service(tmp_path_factory, tiny_bundle):
    outbox = OutboxConfig(path=tmp_path_factory.mktemp("openapi") / "o.db")
    engine = Engine(outbox)
    engine.commit(("gate", "dog"), ("yard", "siren"), n=20)
    about = About(("gate",), tiny_bundle.identity, tiny_bundle.spec, {}, {"engine": {}})
    service = Service(outbox, http=http_config(), about=about).start()
    yield service
    service.stop()
    engine.close()


SCHEMA = schemathesis.openapi.from_dict(openapi_document())
OPERATIONS = {each.ok().path: each.ok() for each in SCHEMA.get_all_operations() if each.ok().path not in ENDLESS}


ASKED = [(path, GenerationMode.POSITIVE) for path in OPERATIONS] + [
    (path, GenerationMode.NEGATIVE)
    for path, operation in OPERATIONS.items()
    if list(operation.iter_parameters())  # where nothing may be said, nothing can be said wrongly
]


@pytest.mark.parametrize(("path", "mode"), ASKED, ids=lambda part: getattr(part, "name", part))
def test_every_answer_is_as_the_document_says(service, path, mode):
    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=OPERATIONS[path].as_strategy(generation_mode=mode))
    def ask(case):
        case.call_and_validate(base_url=f"http://{service.config.http.bind}", timeout=DEADLINE_S)

    ask()


def test_paths_that_exist_are_checked_too(service):
    with httpx.Client(base_url=f"http://{service.config.http.bind}") as client:
        event_id = client.get("/api/v1/events?limit=1").json()["events"][0]["event_id"]
        loaded = schemathesis.openapi.from_url(f"http://{service.config.http.bind}/openapi.json")
        for path, values in (
            ("/api/v1/streams/{stream}", {"stream": "gate"}),
            ("/api/v1/events/{event_id}", {"event_id": event_id}),
        ):
            case = loaded[path]["GET"].Case(path_parameters=values)
            answer = case.call()
            assert answer.status_code == 200
            case.validate_response(answer)


def test_endless_answers_are_in_the_document():
    paths = openapi_document()["paths"]
    assert set(ENDLESS) <= set(paths)
    assert "text/event-stream" in paths[ENDLESS[0]]["get"]["responses"]["200"]["content"]
    assert {p["name"] for p in paths[ENDLESS[0]]["get"]["parameters"]} >= {"last-event-id", "since", "stream", "label"}


def test_the_document_that_ships_is_the_servers(service):
    written = json.loads((Path(__file__).parents[3] / "docs/schema/openapi.json").read_text())
    assert (
        httpx.get(f"http://{service.config.http.bind}/openapi.json").json()
        == written
        == json.loads(pages()["docs/schema/openapi.json"])
    )
