"""A sound event as a CloudEvent 1.0 (https://github.com/cloudevents/spec), in JSON or as HTTP's headers."""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from pydantic_core import to_json

from earmark.contracts.errors import ConfigError
from earmark.contracts.events import Phase, SoundEvent

SPEC_VERSION = "1.0"
STRUCTURED = "application/cloudevents+json"
"""Content type of one event in JSON."""
BATCH = "application/cloudevents-batch+json"
"""Content type of a JSON list of events."""
DATA = "application/json"
"""Content type of an event's data: the `SoundEvent`, as ``docs/schema/sound_event.schema.json`` has it."""
TYPES: Mapping[Phase, str] = {"onset": "earmark.sound.onset", "offset": "earmark.sound.offset"}

_URI = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*")
_HEADER_SAFE = "".join(character for code in range(0x21, 0x7F) if (character := chr(code)) not in '"%')


def check_source_prefix(prefix: str) -> str:
    """Return ``prefix`` without a slash at its end.

    Raises:
        ConfigError: No URI reference begins like this.
    """
    if not _URI.fullmatch(prefix):
        raise ConfigError(f"expected the beginning of a URI, like https://house.example or urn:house, got {prefix!r}")
    return prefix.rstrip("/")


def cloud_event_id(event: SoundEvent) -> str:
    """``EVENT_ID/PHASE``: unique beside the source, and the same however often the event is sent."""
    return f"{event.event_id}/{event.phase}"


def cloud_event(event: SoundEvent, source_prefix: str = "") -> dict[str, object]:
    """The event's attributes and its data, ready for JSON.

    Args:
        event: The event.
        source_prefix: What comes before ``/streams/NAME`` in ``source``; as `check_source_prefix` returns it.
    """
    return {**_attributes(event, source_prefix), "datacontenttype": DATA, "data": event.model_dump(mode="json")}


def encode_structured(event: SoundEvent, source_prefix: str = "") -> bytes:
    """One event as a body of type `STRUCTURED`."""
    return to_json(cloud_event(event, source_prefix))


def encode_batch(events: Iterable[SoundEvent], source_prefix: str = "") -> bytes:
    """Some events as a body of type `BATCH`."""
    return to_json([cloud_event(event, source_prefix) for event in events])


def encode_binary(event: SoundEvent, source_prefix: str = "") -> tuple[dict[str, str], bytes]:
    """One event in HTTP's binary mode: the ``ce-`` headers, and its data as a body of type `DATA`."""
    attributes = _attributes(event, source_prefix)
    headers = {f"ce-{name}": quote(value, safe=_HEADER_SAFE) for name, value in attributes.items()}
    return headers, event.model_dump_json().encode()


def _attributes(event: SoundEvent, source_prefix: str) -> dict[str, str]:
    """What `encode_binary` puts into headers, as text."""
    time = event.onset_time if event.offset_time is None else event.offset_time
    return {
        "specversion": SPEC_VERSION,
        "id": cloud_event_id(event),
        "source": f"{source_prefix}/streams/{event.stream}",
        "type": TYPES[event.phase],
        "subject": event.label,
        "time": time.isoformat().replace("+00:00", "Z"),
    }
