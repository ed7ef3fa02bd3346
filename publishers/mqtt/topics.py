"""What is called how on the broker."""

import hashlib
import re
from dataclasses import dataclass

from earmark.contracts.errors import ConfigError
from earmark.contracts.streams import STREAM_NAME

RESERVED = frozenset({"status", "level", "last_event", "enabled", "set"})
"""Below a stream, these are no sounds."""
ONLINE, OFFLINE = "online", "offline"
ON, OFF = "ON", "OFF"
_NO_NAME = re.compile(r"[+#/\s\x00-\x1f\x7f]")


def check_prefix(prefix: str) -> str:
    """Return ``prefix``, below which topics lie.

    Raises:
        ConfigError: It is no topic, or it begins or ends with a slash.
    """
    if not prefix or prefix[0] in "$/" or prefix.endswith("/") or _NO_NAME.search(prefix.replace("/", "")):
        raise ConfigError(f"expected the beginning of topics, like earmark or house/earmark, got {prefix!r}")
    return prefix


def segment(label: str) -> str:
    """A label as a part of a topic: ``_`` for what MQTT forbids, and behind what has another meaning."""
    name = _NO_NAME.sub("_", label)
    return name + "_" if name in RESERVED else name


def slug(text: str) -> str:
    """``text`` with ``_`` for everything but letters and digits of ASCII, in lower case.

    Text of another script ends with a hash, without which all its names of one length would be the same.
    """
    name = re.sub(r"[^a-z0-9]", "_", text.lower())
    if text.isascii():
        return name
    return f"{name.strip('_')}_{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}".lstrip("_")


@dataclass(frozen=True)
class Topics:
    """All topics of one ``prefix``."""

    prefix: str

    @property
    def available(self) -> str:
        """Whether Earmark is connected: ``online`` or ``offline``."""
        return f"{self.prefix}/available"

    @property
    def events(self) -> str:
        """Every event."""
        return f"{self.prefix}/events"

    def of(self, stream: str, name: str) -> str:
        """One of a stream's own: a `segment` of a label or one of `RESERVED`."""
        return f"{self.prefix}/{stream}/{name}"

    def is_of_stream(self, topic: str) -> bool:
        """Whether a topic is one of a stream's own."""
        return topic.startswith(f"{self.prefix}/") and topic.count("/") == self.prefix.count("/") + 2

    def stream_of(self, topic: str, name: str) -> str | None:
        """The stream whose topic ``name`` this is; None where it is another topic."""
        head, tail = f"{self.prefix}/", f"/{name}"
        if not (topic.startswith(head) and topic.endswith(tail)):
            return None
        stream = topic[len(head) : -len(tail)]
        return stream if STREAM_NAME.fullmatch(stream) else None
