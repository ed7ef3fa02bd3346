"""A real mosquitto on a free port, and clients that watch it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from publishers.mqtt.config import MqttConfig
from tests.support.ports import free_address
from tests.support.waiting import DEADLINE_S, wait_for

USER, PASSWORD = "earmark", "correct horse"


def require(program: str) -> str:
    """Where ``program`` is; a laptop may do without, CI may not."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{program} is not installed")
    return path


class Broker:
    """Keeps sessions and retained messages over its restarts, by kill -9 too.

    Args:
        folder: For its files.
        settings: More lines of its configuration, for its listener.
        password: Whether it asks for one.
    """

    def __init__(self, folder: Path, settings: str = "", *, password: bool = False) -> None:
        self._program = require("mosquitto")
        self.folder = folder
        self.host, self.port = "127.0.0.1", int(free_address().rsplit(":", 1)[1])
        self.has_password = password
        if password:
            subprocess.run(
                [require("mosquitto_passwd"), "-b", "-c", folder / "passwords", USER, PASSWORD],
                check=True,
                timeout=DEADLINE_S,
                capture_output=True,
            )
            settings = f"password_file {folder / 'passwords'}\n{settings}"
        (folder / "mosquitto.conf").write_text(
            f"user root\nlistener {self.port} {self.host}\nallow_anonymous {'false' if password else 'true'}\n"
            f"persistence true\npersistence_location {folder}/\nautosave_on_changes true\nautosave_interval 50\n"
            f"max_queued_messages 0\n{settings}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Broker":
        with (self.folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-c", self.folder / "mosquitto.conf"], stdout=log, stderr=log
            )
        wait_for(self._is_listening)
        return self

    def _is_listening(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "mosquitto.log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex((self.host, self.port)) == 0

    def stop(self, blow: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(blow)
            self._process.wait(DEADLINE_S)
            self._process = None

    def save(self) -> None:
        """Have all that it knows written, as it does by itself every fifty changes."""
        assert self._process is not None
        file = self.folder / "mosquitto.db"
        before = file.stat().st_mtime_ns if file.exists() else 0
        self._process.send_signal(signal.SIGUSR1)
        wait_for(lambda: file.exists() and file.stat().st_mtime_ns > before)

    def config(self, **settings: Any) -> MqttConfig:
        return MqttConfig.model_validate({"host": self.host, "port": self.port, **settings})


@dataclass(frozen=True)
class Message:
    topic: str
    payload: str
    is_kept: bool
    content_type: str | None

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


class Watcher:
    """A subscriber whose session the broker keeps while it is away.

    Args:
        broker: The broker.
        topic: What it subscribes to.
        name: Its client id.
        keep_s: How long the broker keeps its session.
    """

    def __init__(self, broker: Broker, topic: str = "#", name: str = "watcher", keep_s: int = 3600) -> None:
        self.messages: list[Message] = []
        self.n_connections = 0
        self._changed = threading.Condition()
        self._subscribed = threading.Event()
        self._topic = topic
        self._client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)
        if broker.has_password:
            self._client.username, self._client.password = USER, PASSWORD
        self._client.reconnect_delay_set(0.05, 0.05)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = keep_s
        self._client.connect(broker.host, broker.port, clean_start=False, properties=session)
        self._client.loop_start()
        assert self._subscribed.wait(DEADLINE_S)

    def _on_connect(self, client: Client, _data: Any, flags: Any, *_: Any) -> None:
        self.n_connections += 1
        if not flags.session_present:
            client.subscribe(self._topic, options=SubscribeOptions(qos=1))

    def _on_message(self, _client: Client, _data: Any, message: Any) -> None:
        with self._changed:
            content_type = getattr(message.properties, "ContentType", None)
            self.messages.append(Message(message.topic, message.payload.decode(), message.retain, content_type))
            self._changed.notify_all()

    def wait(self, is_true: Callable[["Watcher"], bool]) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: is_true(self), DEADLINE_S):
                pytest.fail(f"it did not come; this did: {[(m.topic, m.payload[:80]) for m in self.messages[-30:]]}")

    def of(self, topic: str) -> list[str]:
        """Payloads on one topic, in order."""
        return [message.payload for message in list(self.messages) if message.topic == topic]

    @property
    def events(self) -> list[Any]:
        return [message.json for message in list(self.messages) if message.topic.endswith("/events")]

    @property
    def newest(self) -> dict[str, str]:
        """The last payload of each topic."""
        return {message.topic: message.payload for message in list(self.messages)}

    def say(self, topic: str, payload: str, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(DEADLINE_S)

    def settle(self) -> None:
        """Until the broker has heard that all came, so that it repeats none of it."""
        self.say("sync", "")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
