"""What is kept of an event beside its phases: the scores around it, and its sound."""

import asyncio
import http
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse

from earmark.contracts.errors import ConfigError
from earmark.outbox import StoredEvent
from publishers.clips.files import EventScores, NoClip, Suffix
from publishers.http.parameters import EventId, Nothing
from publishers.http.parts import parts_of
from publishers.http.problems import problem_responses, shorten

router = APIRouter(prefix="/api/v1/events", tags=["events"], responses=problem_responses(404, 413, 422, 503))
_WAV = "audio/wav"
_SOUND = {"content": {_WAV: {"schema": {"type": "string", "format": "binary"}}}}
_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}}
_WHY: dict[NoClip, str] = {
    "not_allowed": "its stream does not allow clips; streams.NAME.clips: true would",
    "forbidden": "a label of publishers.clips.forbid_labels may be heard in it",
    "unscored": "scores were lost, so nobody knows whether a forbidden label is heard in it",
    "gone": "its audio was no longer in memory",
}


@router.get("/{event_id}/scores", response_class=Response, responses={200: {"model": EventScores}})
async def event_scores(request: Request, event_id: EventId, asked: Nothing) -> Response:
    """The scores around one event: its own label's and the loudest others'."""
    del asked
    path = await _found(request, event_id, "json")
    return Response(await asyncio.to_thread(path.read_bytes), media_type="application/json")


@router.get(
    "/{event_id}/clip",
    response_class=FileResponse,
    responses={
        200: {"description": "A WAV file", **_SOUND},
        206: {"description": "What Range asked for", **_SOUND},
        400: {"description": "Range is none of bytes", **_TEXT},
        416: {"description": "Range begins behind the end", **_TEXT},
    },
)
async def event_clip(request: Request, event_id: EventId, asked: Nothing) -> FileResponse:
    """The sound of one event, if it was stored: mono PCM of 16 bits."""
    del asked
    return FileResponse(await _found(request, event_id, "wav"), media_type=_WAV)


async def read_phases(request: Request, event_id: str) -> list[StoredEvent]:
    """What the outbox keeps of an event.

    Raises:
        HTTPException: Nothing.
        OutboxError: The outbox cannot be read.
    """
    phases = await parts_of(request).reading.ask(lambda reader: reader.phases_of(event_id))
    if not phases:
        detail = f"expected the id of an event that the outbox keeps, got {shorten(event_id)}"
        raise HTTPException(http.HTTPStatus.NOT_FOUND, detail)
    return phases


async def find_file(request: Request, phases: list[StoredEvent], suffix: Suffix) -> Path | None:
    """An event's file, if there is one."""
    clips, event = parts_of(request).clips, phases[0].event_or_none
    if clips is None or event is None:
        return None
    try:
        path = clips.path(event, suffix)
    except ConfigError:
        return None
    return path if await asyncio.to_thread(path.is_file) else None


async def _found(request: Request, event_id: str, suffix: Suffix) -> Path:
    phases = await read_phases(request, event_id)
    path = await find_file(request, phases, suffix)
    if path is None:
        raise HTTPException(http.HTTPStatus.NOT_FOUND, await _explain(request, phases, suffix))
    return path


async def _explain(request: Request, phases: list[StoredEvent], suffix: Suffix) -> str:
    what = "clip" if suffix == "wav" else "scores"
    if parts_of(request).clips is None:
        return f"no {what}: this service keeps none; publishers.clips would"
    scores = await find_file(request, phases, "json") if suffix == "wav" else None
    if scores is None:
        return f"no {what}: not yet, no longer, or not remembered when the event came"
    no_clip = EventScores.model_validate_json(await asyncio.to_thread(scores.read_bytes)).no_clip
    return f"no clip: {_WHY[no_clip] if no_clip else 'it was deleted'}"
