"""What the answers are made from."""

from dataclasses import dataclass
from typing import cast

from fastapi import Request

from publishers.clips.files import ClipFiles
from publishers.http.about import About
from publishers.http.live import Live
from publishers.http.reading import Reading
from publishers.http.seats import Seats
from publishers.http.tail import Tail
from publishers.monitor import Monitor


@dataclass(frozen=True)
class Parts:
    """One server's."""

    about: About
    monitor: Monitor
    reading: Reading
    tail: Tail
    live: Live
    seats: Seats
    clips: ClipFiles | None


def parts_of(request: Request) -> Parts:
    """Those of the server that got this request."""
    return cast("Parts", request.app.state.parts)
