"""``/api/v1``: streams, events, labels and the configuration, for reading."""

import http
import json

from fastapi import APIRouter, HTTPException, Request, Response

from earmark.contracts.bundle import Smoothing
from earmark.contracts.monitor import StreamStatus
from earmark.outbox import StoredEvent
from publishers.http.clips import find_file, read_phases
from publishers.http.models import (
    Configuration,
    EventPage,
    EventPhases,
    Group,
    Label,
    Labels,
    StreamDetail,
    Streams,
    StreamView,
    Thresholds,
)
from publishers.http.parameters import EventId, EventsAsked, Nothing, StreamName
from publishers.http.parts import Parts, parts_of
from publishers.http.problems import problem_responses, shorten
from publishers.http.reading import read_page

router = APIRouter(prefix="/api/v1", responses=problem_responses(413, 422, 503))
_MISSING = problem_responses(404)
_JSON = "application/json"


@router.get("/streams", tags=["streams"])
async def streams(request: Request, asked: Nothing) -> Streams:
    """Every stream, and how it is; and which of them are a zone."""
    del asked
    parts = parts_of(request)
    zones = {zone: list(names) for zone, names in parts.about.zones.items()}
    return Streams(streams=list(_views(parts).values()), zones=zones)


@router.get("/streams/{stream}", tags=["streams"], responses=_MISSING)
async def stream(request: Request, stream: StreamName, asked: Nothing) -> StreamDetail:
    """How one stream is, where its thresholds differ from the model's, and what was heard there last."""
    del asked
    parts = parts_of(request)
    view = _views(parts).get(stream)
    if view is None:
        raise HTTPException(http.HTTPStatus.NOT_FOUND, f"expected a stream of /api/v1/streams, got {shorten(stream)}")
    newest = await parts.reading.ask(lambda reader: reader.newest_of(stream))
    return StreamDetail(
        **view.model_dump(),
        overrides=_thresholds(parts.about.smoothing(stream)),
        last_event=newest.event_or_none if newest else None,
    )


def _views(parts: Parts) -> dict[str, StreamView]:
    told = {status.stream: status for status in parts.monitor.statuses()}
    return {name: _view(name, told.get(name)) for name in sorted({*parts.about.streams, *told})}


def _view(name: str, status: StreamStatus | None) -> StreamView:
    if status is None:
        return StreamView(stream=name, up=False, coverage=None, coverage_s=None, level_db=None, lag_s=None)
    return StreamView.model_validate(status.model_dump())


def _thresholds(smoothing: dict[str, Smoothing]) -> dict[str, Thresholds]:
    return {label: Thresholds(**each.model_dump(exclude={"median_frames"})) for label, each in smoothing.items()}


@router.get("/events", tags=["events"], response_class=Response, responses={200: {"model": EventPage}})
async def events(request: Request, asked: EventsAsked) -> Response:
    """Events of the past, a page at a time: ask again with the answer's cursor until it is null."""
    page = await parts_of(request).reading.ask(
        lambda reader: read_page(
            reader,
            asked.query,
            asked.limit,
            since=asked.since,
            cursor=asked.cursor,
            newest_first=asked.order == "newest",
        )
    )
    return Response(page, media_type=_JSON)


@router.get(
    "/events/{event_id}",
    tags=["events"],
    response_class=Response,
    responses={200: {"model": EventPhases}, **_MISSING},
)
async def event(request: Request, event_id: EventId, asked: Nothing) -> Response:
    """Both phases of one event, and what else is kept of it."""
    del asked
    phases = await read_phases(request, event_id)
    has = {suffix: await find_file(request, phases, suffix) is not None for suffix in ("json", "wav")}
    return Response(_phases(event_id, phases, has_scores=has["json"], has_clip=has["wav"]), media_type=_JSON)


def _phases(event_id: str, stored: list[StoredEvent], **has: bool) -> str:
    bodies = {json.loads(each.body)["phase"]: each.json for each in stored}
    onset, offset = bodies.get("onset", "null"), bodies.get("offset", "null")
    return f'{{"event_id":{json.dumps(event_id)},"onset":{onset},"offset":{offset},{json.dumps(has)[1:]}'


@router.get("/labels", tags=["model"])
async def labels(request: Request, asked: Nothing) -> Labels:
    """What can be heard, and from which score on it is an event."""
    del asked
    about = parts_of(request).about
    groups = {name: list(of) for name, of in about.spec.groups.items()} if about.spec else {}
    thresholds = {label: each.model_dump() for label, each in _thresholds(about.smoothing()).items()}
    return Labels(
        model=about.model,
        labels=[
            Label(label=label, groups=[name for name, of in groups.items() if label in of], **thresholds[label])
            for label in (about.spec.labels if about.spec else ())
        ],
        groups=groups,
        decided_groups=[
            Group(label=name, labels=groups[name], **thresholds[name])
            for name in (about.spec.decided_groups if about.spec else ())
        ],
        overrides={name: _thresholds(about.smoothing(name)) for name in about.overrides},
    )


@router.get("/config", tags=["service"])
async def config(request: Request, asked: Nothing) -> Configuration:
    """The configuration as it runs, without secrets."""
    del asked
    return Configuration(config=dict(parts_of(request).about.config))
