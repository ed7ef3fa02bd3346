"""A real server over a real outbox, and clients."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from publishers.http.config import HttpConfig
from tests.support.ports import free_address
from tests.support.waiting import DEADLINE_S


def free_bind() -> str:
    return free_address().removeprefix("tcp://")


def http_config(**options: Any) -> HttpConfig:
    return HttpConfig(bind=free_bind(), **options)


class Client:
    """Asks one server."""

    def __init__(self, config: HttpConfig, **options: Any) -> None:
        self.base = f"{'https' if config.cert_file else 'http'}://{config.bind}"
        self._http = httpx.Client(base_url=self.base, timeout=DEADLINE_S, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self._http.get(path, **options)

    def json(self, path: str, **parameters: Any) -> Any:
        answer = self.get(f"/api/v1/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def all_events(self, **parameters: Any) -> list[dict[str, Any]]:
        """Every page."""
        events, cursor = [], None
        while True:
            page = self.json("events", **parameters, **({} if cursor is None else {"cursor": cursor}))
            events += page["events"]
            cursor = page["cursor"]
            if cursor is None:
                return events

    @contextmanager
    def follow(self, last: int | None = None, **parameters: Any) -> Iterator["Messages"]:
        headers = {} if last is None else {"Last-Event-ID": str(last)}
        with self._http.stream("GET", "/api/v1/events/stream", params=parameters, headers=headers) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"].startswith("text/event-stream")
            messages = Messages(answer)
            assert messages.next()["event"] == "outbox"
            yield messages

    def close(self) -> None:
        self._http.close()


class Messages:
    """Server-sent events, as a browser reads them."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.iter_lines()

    def next(self) -> dict[str, str]:
        """The next message with data."""
        while True:
            fields: dict[str, str] = {}
            for line in self._lines:
                if not line:
                    break
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
            else:
                raise EOFError
            if "data" in fields:
                return fields

    def take(self, n: int) -> list[dict[str, Any]]:
        """The next events; each one's id is its seq."""
        events = []
        for _ in range(n):
            message = self.next()
            event = json.loads(message["data"])
            assert (int(message["id"]), message["event"]) == (event["seq"], event["phase"])
            events.append(event)
        return events
