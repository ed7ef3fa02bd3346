"""Keeps on the broker what Home Assistant should find there, and takes back what it should not."""

from collections import deque
from collections.abc import Collection

from publishers.mqtt.config import HomeAssistantConfig
from publishers.mqtt.homeassistant import Entities


class Discovery:
    """What is to be sent, piece by piece. The broker itself remembers what was published before.

    Args:
        entities: What there is to tell.
        home: The configuration.
    """

    def __init__(self, entities: Entities, home: HomeAssistantConfig) -> None:
        self._entities = entities
        self._fixed = home.streams
        self._streams: list[str] = []
        self._wanted: dict[str, str] = {}
        self._found: set[str] = set()
        self.queue: deque[tuple[str, str]] = deque()
        """Topics and payloads to send, retained; an empty payload takes an entity back."""

    def begin(self) -> None:
        """Tell all: on a new connection, or because Home Assistant began."""
        self.queue = deque(self._wanted.items())
        self._take_back(self._found)

    def show(self, streams: Collection[str]) -> None:
        """Tell of streams that are not known yet."""
        fresh = [stream for stream in ("", *(self._fixed or streams)) if stream not in self._streams]
        if not fresh:
            return
        self._streams += fresh
        for stream in fresh:
            messages = dict(self._entities.messages(stream))
            self._wanted.update(messages)
            self.queue.extend(messages.items())
        self._take_back(self._found)

    def found(self, topic: str) -> None:
        """The broker holds an entity, of now or of an earlier configuration."""
        self._found.add(topic)
        self._take_back([topic])

    def gone(self, topic: str) -> None:
        """Somebody took an entity back."""
        self._found.discard(topic)

    def _take_back(self, topics: Collection[str]) -> None:
        surplus = [topic for topic in topics if topic not in self._wanted and self._is_over(topic)]
        self.queue.extend((topic, "") for topic in sorted(surplus))
        self._found.difference_update(surplus)

    def _is_over(self, topic: str) -> bool:
        """Whether nobody will ask for the entity any more, as far as we know."""
        stream = self._entities.stream_of(topic)
        if stream is None:
            return False
        return stream in self._streams or (bool(self._fixed) and bool(self._streams))
