"""The AsyncAPI document: what can be heard where, made from the classes and constants that send it."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from earmark.contracts import cloudevents
from earmark.contracts.events import NEWEST_TOPIC, WELCOME_PREFIX, SoundEvent
from earmark.contracts.monitor import StreamStatus
from earmark.contracts.streams import STREAM_NAME
from publishers.config import ZeroMqConfig
from publishers.history import HistoryRequest
from publishers.http.config import HttpConfig
from publishers.mqtt.topics import OFF, OFFLINE, ON, ONLINE, Topics

Part: TypeAlias = dict[str, Any]

_INFO = {
    "title": "Earmark",
    "version": "1.0.0",
    "description": "When each sound began and ended, as it happens. The version is the messages' own.",
    "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
}
_PREFIX = {"prefix": {"default": "earmark", "description": "publishers.mqtt.prefix"}}
_STREAM = {"stream": {"description": f"Name of a stream: {STREAM_NAME.pattern}"}}
_LABEL = {"label": {"description": "Class of the sound, or a group of engine.groups."}}
_OUTBOX = {"outbox": {"description": "Id of the outbox that the numbers belong to."}}
_HEARD = ("history", "mqttSet")


def document() -> Part:
    """AsyncAPI 3.0."""
    channels = {**_zeromq(), **_mqtt(), **_http()}
    return {
        "asyncapi": "3.0.0",
        "info": _INFO,
        "defaultContentType": "application/json",
        "servers": _servers(),
        "channels": channels,
        "operations": _operations(channels),
        "components": {"schemas": _schemas(), "messages": _messages()},
    }


def _servers() -> Part:
    zeromq = ZeroMqConfig()
    return {
        "zeromq": _server(zeromq.bind.removeprefix("tcp://"), "zmq", "PUB, at publishers.zeromq.bind."),
        "history": _server(
            zeromq.history_bind.removeprefix("tcp://"), "zmq", "ROUTER, at publishers.zeromq.history_bind."
        ),
        "mqtt": _server("{broker}", "mqtt", "The broker of publishers.mqtt.", broker="localhost:1883"),
        "http": _server("{address}", "http", "The address of publishers.http.", address=HttpConfig().bind),
        "webhook": _server("{receiver}", "http", "The host of a hook's own url.", receiver="localhost"),
    }


def _server(host: str, protocol: str, text: str, **variables: str) -> Part:
    server: Part = {"host": host, "protocol": protocol, "description": text}
    if variables:
        server["variables"] = {name: {"default": value} for name, value in variables.items()}
    return server


# Channels.


def _zeromq() -> Part:
    return {
        "event": _channel(
            "zeromq",
            "{stream}/{label}",
            ["SoundEvent"],
            "Each event's begin and end. A third part, a number, is a seq: between it and the event's own its stream "
            "has no event.",
            _STREAM | _LABEL,
        ),
        "newest": _channel(
            "zeromq", NEWEST_TOPIC.decode(), ["Newest"], "Every second: everything through it was sent."
        ),
        "welcome": _channel(
            "zeromq", f"{WELCOME_PREFIX.decode()}{{outbox}}", ["Welcome"], "First on every connection.", _OUTBOX
        ),
        "history": _channel(
            "history", None, ["HistoryRequest", "HistoryAnswer", "HistoryError"], "What a subscriber missed."
        ),
    }


def _mqtt() -> Part:
    topics = Topics("{prefix}")
    stream = _PREFIX | _STREAM

    def of_stream(name: str, message: str, text: str) -> Part:
        return _channel("mqtt", topics.of("{stream}", name), [message], text, stream)

    state = _channel(
        "mqtt",
        topics.of("{stream}", "{label}"),
        ["State"],
        "Whether a sound lasts; retained only with publishers.mqtt.retain: true.",
        stream | _LABEL,
    )
    return {
        "mqttAvailable": _channel("mqtt", topics.available, ["Available"], "Connected or not; a last will.", _PREFIX),
        "mqttStatus": of_stream("status", "StreamStatus", "How well a stream is listened to."),
        "mqttLevel": of_stream("level", "Level", "How loud a stream is, each second where that changes."),
        "mqttLastEvent": of_stream("last_event", "SoundEvent", "The newest event of a stream."),
        "mqttEnabled": of_stream(
            "enabled", "State", "Whether a stream is told of, where publishers.mqtt.control is on."
        ),
        "mqttSet": of_stream("set", "Switch", "Switches that, where publishers.mqtt.control is on."),
        "mqttState": state,
        "mqttEvents": _channel("mqtt", topics.events, ["CloudEvent"], "Every event, also after an outage.", _PREFIX),
    }


def _http() -> Part:
    heard = ["ServerSentEvent", "ServerSentOutbox"]
    sse = _channel(
        "http",
        "/api/v1/events/stream",
        heard,
        "Server-sent events: outbox first, then onset and offset; Last-Event-ID replays.",
    )
    hook = _channel("webhook", None, ["WebhookEvent", "WebhookBatch", "WebhookBinary"], "POST to a hook's url.")
    return {"sse": sse, "webhook": hook}


def _channel(server: str, address: str | None, messages: list[str], text: str, names: Part | None = None) -> Part:
    channel: Part = {"address": address, "description": text, "servers": [{"$ref": f"#/servers/{server}"}]}
    channel["messages"] = {name: {"$ref": f"#/components/messages/{name}"} for name in messages}
    if names:
        channel["parameters"] = names
    return channel


def _operations(channels: Part) -> Part:
    """Earmark sends on every channel but two."""
    operations: Part = {}
    for name in channels:
        if name not in _HEARD:
            operations[f"send{name[0].upper()}{name[1:]}"] = _operation("send", name)
    operations["hearMqttSet"] = _operation("receive", "mqttSet")
    operations["answerHistory"] = _operation("receive", "history")
    for name in ("Available", "Status", "LastEvent", "Enabled"):
        operations[f"sendMqtt{name}"]["bindings"] = {"mqtt": {"qos": 1, "retain": True}}
    for name in ("Level", "State", "Events"):
        operations[f"sendMqtt{name}"]["bindings"] = {"mqtt": {"qos": 1}}
    operations["sendSse"]["bindings"] = {"http": {"method": "GET"}}
    operations["sendWebhook"]["bindings"] = {"http": {"method": "POST"}}
    history, answers = operations["answerHistory"], ("HistoryAnswer", "HistoryError")
    history["messages"] = [{"$ref": "#/channels/history/messages/HistoryRequest"}]
    history["reply"] = {
        "channel": {"$ref": "#/channels/history"},
        "messages": [{"$ref": f"#/channels/history/messages/{name}"} for name in answers],
    }
    return operations


def _operation(action: str, channel: str) -> Part:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}}


# Messages.


def _messages() -> Part:
    return {
        "SoundEvent": _message("One phase of one event.", _ref("SoundEvent")),
        "Newest": _message("What should have arrived by now.", _object(outbox=_TEXT, seq=_SEQ)),
        "Welcome": _message("A topic alone, without a body.", {"type": "null"}, "application/octet-stream"),
        "HistoryRequest": _message("What a subscriber asks.", _ref("HistoryRequest")),
        "HistoryAnswer": _message(
            "Every event with since < seq <= covered that retention left; ask again from covered.",
            _object(
                outbox=_TEXT,
                newest=_SEQ,
                oldest=_SEQ,
                covered=_SEQ,
                events={"type": "array", "items": _ref("SoundEvent")},
            ),
        ),
        "HistoryError": _message("Why a request was refused.", _object(error=_TEXT)),
        "Available": _message("Plain text.", _words(ONLINE, OFFLINE), "text/plain"),
        "State": _message("Plain text.", _words(ON, OFF), "text/plain"),
        "Switch": _message("What shall be.", _object(enabled={"type": "boolean"})),
        "Level": _message("RMS in dBFS or null, as plain text.", _LEVEL, "text/plain"),
        "StreamStatus": _message("How well a stream is listened to.", _status()),
        "ServerSentEvent": _message(
            "The data of an event called onset or offset; its id is its seq.", _ref("SoundEvent"), _SSE
        ),
        "ServerSentOutbox": _message(
            "The data of an event called outbox, the first: whose the ids are.",
            _object(outbox=_TEXT, newest=_SEQ),
            _SSE,
        ),
        "CloudEvent": _message("CloudEvents 1.0, structured.", _ref("CloudEvent"), cloudevents.STRUCTURED),
        **_webhook_messages(),
    }


def _webhook_messages() -> Part:
    """One for each mode; all are signed alike."""
    attributes = {f"ce-{name}": schema for name, schema in _attributes().items()}
    events: Part = {"type": "array", "items": _ref("CloudEvent")}
    return {
        "WebhookEvent": {
            **_message("CloudEvents 1.0, structured.", _ref("CloudEvent"), cloudevents.STRUCTURED),
            "headers": _signed({}),
        },
        "WebhookBatch": {
            **_message("CloudEvents 1.0, several.", events, cloudevents.BATCH),
            "headers": _signed({}),
        },
        "WebhookBinary": {
            **_message("CloudEvents 1.0, attributes as headers.", _ref("SoundEvent"), cloudevents.DATA),
            "headers": _signed(attributes),
        },
    }


def _signed(headers: dict[str, Part]) -> Part:
    """As Standard Webhooks has it."""
    key = {"type": "string", "description": "The same however often the message is sent."}
    always = {**headers, "idempotency-key": key, "webhook-id": key, "webhook-timestamp": _TEXT}
    content = _object(**always)
    content["properties"]["webhook-signature"] = {"type": "string", "description": "Where the hook has a secret."}
    return content


_SSE = "text/event-stream"
_LEVEL: Part = {"type": "string", "pattern": r"^(null|-?\d+\.\d)$"}
_TEXT: Part = {"type": "string"}
_SEQ: Part = {"type": "integer", "minimum": 0}


def _message(text: str, payload: Part, content_type: str = "application/json") -> Part:
    return {"summary": text, "contentType": content_type, "payload": payload}


def _status() -> Part:
    """Without the stream, which the topic names."""
    schema = StreamStatus.model_json_schema()
    del schema["properties"]["stream"]
    return {**schema, "required": list(schema["properties"])}


def _words(*words: str) -> Part:
    return {"type": "string", "enum": list(words)}


def _object(**properties: Part) -> Part:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _ref(schema: str) -> Part:
    return {"$ref": f"#/components/schemas/{schema}"}


def _schemas() -> Part:
    content: Mapping[str, Part] = {**_attributes(), "datacontenttype": _words(cloudevents.DATA)}
    return {
        "SoundEvent": SoundEvent.model_json_schema(),
        "HistoryRequest": HistoryRequest.model_json_schema(),
        "CloudEvent": _object(**content, data=_ref("SoundEvent")),
    }


def _attributes() -> dict[str, Part]:
    return {
        "specversion": _words(cloudevents.SPEC_VERSION),
        "id": {"type": "string", "description": "event_id/phase: the same however often the event is sent."},
        "source": {"type": "string", "format": "uri-reference", "description": "…/streams/NAME"},
        "type": _words(*cloudevents.TYPES.values()),
        "subject": {"type": "string", "description": "The label."},
        "time": {"type": "string", "format": "date-time", "description": "UTC of the onset or the offset."},
    }
