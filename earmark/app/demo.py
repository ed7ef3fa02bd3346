"""``earmark demo``: the whole service, as separate processes, on a scene whose truth is known or on the room."""

import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import typer
import yaml

from earmark.app.choices import DemoSource, Pace
from earmark.app.config import ServiceConfig
from earmark.app.formats import describe, extent_s, live_row
from earmark.app.process import Signals, follow_signals
from earmark.app.service import read_service, sinks_are_drained, supervise
from earmark.app.timeline import ONSET_TOLERANCE_S, Extent, draw, found
from earmark.client import subscribe
from earmark.contracts.events import SoundEvent
from earmark.outbox import OutboxReader
from earmark.synthesis.scene import Scene, demo_scene, write_wav
from earmark.telemetry.logs import LEVEL_VARIABLE, configure_logging
from publishers.config import ZeroMqConfig

ENOUGH = 6
"""So many of the scene's eight sounds must be found."""
_STREAM = "demo"


class Audience:
    """A subscriber in a thread of its own, which prints what it hears.

    Args:
        config: The service that it listens to.
        relative: Print seconds from the start of the scene instead of the time of day.
    """

    def __init__(self, config: ServiceConfig, *, relative: bool) -> None:
        self.events: list[SoundEvent] = []
        self._config = config
        self._relative = relative
        self._thread = threading.Thread(target=self._listen, name="audience", daemon=True)

    def start(self) -> None:
        """Listen, from the first event on, until the process ends."""
        self._thread.start()

    def has_heard_all(self) -> bool:
        """Whether every event that the engine wrote down has come."""
        if not sinks_are_drained(self._config):
            return False
        reader = OutboxReader(self._config.outbox.path)
        try:
            newest_seq = reader.newest_seq()
        finally:
            reader.close()
        return newest_seq == 0 or (bool(self.events) and self.events[-1].seq >= newest_seq)

    def _listen(self) -> None:
        zeromq = self._config.publishers.zeromq or ZeroMqConfig()
        for event in subscribe(zeromq.bind, zeromq.history_bind, since=0):
            self.events.append(event)
            typer.echo(self._row(event))

    def _row(self, event: SoundEvent) -> str:
        if not self._relative:
            return live_row(event)
        at_s = extent_s(event)[1]
        return f"{at_s:7.2f} s  {event.label:<18}  {describe(event)}"


def run_demo(source: DemoSource, pace: Pace) -> int:
    """Run the demo.

    Returns:
        The exit code: 1 when fewer than six of the eight sounds were found.
    """
    signals = follow_signals(dies_of_second=False)
    os.environ.setdefault(LEVEL_VARIABLE, "warning")
    configure_logging("demo")
    with tempfile.TemporaryDirectory(prefix="earmark-demo-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if source is DemoSource.MICROPHONE:
            return _hear_room(folder, signals)
        return _hear_scene(folder, pace, signals)


def _hear_room(folder: Path, signals: Signals) -> int:
    live = read_service(_write_config(folder, {"source": "microphone"}))
    config = live.config
    audience = Audience(config, relative=False)
    typer.echo("Streamer, engine and publishers start. Make a noise: clap, knock, cough, whistle. Ctrl-C ends.")
    if config.publishers.http is not None:
        typer.echo(f"Look at {config.publishers.http.url} meanwhile.")
    code = supervise(live, signals, on_ready=audience.start)
    if code == 0:
        typer.echo(f"\n{len({event.event_id for event in audience.events})} events.")
    return code


def _hear_scene(folder: Path, pace: Pace, signals: Signals) -> int:
    scene = demo_scene()
    sound = folder / "scene.wav"
    write_wav(sound, scene)
    live = read_service(_write_config(folder, {"source": "file", "path": str(sound), "pace": pace.value}))
    config = live.config
    audience = Audience(config, relative=True)
    length_s = len(scene.audio) / scene.sample_rate_hz
    typer.echo(f"A scene of {length_s:.0f} s with {len(scene.truth)} sounds, made on the spot.")
    typer.echo("Streamer, engine and publishers start as processes of their own; this one subscribes.\n")
    code = supervise(live, signals, is_drained=audience.has_heard_all, on_ready=audience.start)
    if code or signals.is_set():
        return code or 130
    return _judge(scene, audience.events)


def _write_config(folder: Path, source: dict[str, Any]) -> Path:
    """A configuration in which nothing leaves ``folder``: sockets are files there, so no port can be in use.

    Only a room that is heard has a page, at the usual address, while nobody else is there.
    """
    publishers: dict[str, Any] = {
        "zeromq": {"bind": f"ipc://{folder}/events", "history_bind": f"ipc://{folder}/history"}
    }
    if source["source"] != "microphone":
        publishers["http"] = None
    document = {
        "streams": {_STREAM: source},
        "streamer": {"engines": [f"ipc://{folder}/engine"]},
        "engine": {"bind": [f"ipc://{folder}/engine"]},
        "outbox": {"path": f"{folder}/outbox.db"},
        "publishers": publishers,
        "telemetry": {"streamer": "", "engine": "", "publishers": "", "supervisor": ""},
    }
    path = folder / "demo.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


def _judge(scene: Scene, events: list[SoundEvent]) -> int:
    rate = scene.sample_rate_hz
    truth = [Extent(sound.label, sound.onset_sample / rate, sound.offset_sample / rate) for sound in scene.truth]
    detected = [Extent(event.label, *extent_s(event)) for event in events if event.phase == "offset"]
    width = min(100, shutil.get_terminal_size((90, 24)).columns)
    n_found = len(found(truth, detected))
    typer.echo("\n" + draw(truth, detected, len(scene.audio) / rate, width))
    typer.echo(
        f"\n{n_found} of {len(truth)} sounds found: a quarter of it heard, "
        f"or heard to begin within {ONSET_TOLERANCE_S:g} s of its onset."
    )
    if n_found < ENOUGH:
        typer.echo(f"earmark: error: expected at least {ENOUGH} of them; is this the bundle that ships?", err=True)
        return 1
    typer.echo("\n" + where_next(program(sys.argv[0])))
    return 0


def where_next(command: str) -> str:
    """What to try after the demo, as lines that can be pasted where it ran.

    Args:
        command: The program, as the shell finds it.
    """
    hints = {
        f"{command} demo --source microphone": "the room that you are in (make demo SOURCE=microphone)",
        f"{command} detect FILE...": "what is in recordings",
        f"{command} run": "a service that stays, on the default microphone",
        f"{command} subscribe": "what that service hears, from another terminal",
        f"{command} --help": "everything else",
    }
    widest = max(map(len, hints))
    return "\n".join(["Where to go next:", *(f"  {line:<{widest}}  {what}" for line, what in hints.items())])


def program(started_as: str) -> str:
    """How this program is called from the working directory.

    Args:
        started_as: Its path, ``sys.argv[0]``.
    """
    path = Path(started_as).absolute()
    if path.name == "__main__.py":
        return f"{_short(Path(sys.executable))} -m earmark.app"
    on_path = shutil.which(path.name)
    return path.name if on_path is not None and Path(on_path).absolute() == path else _short(path)


def _short(path: Path) -> str:
    here = Path.cwd()
    if not path.is_relative_to(here):
        return str(path)
    relative = path.relative_to(here)
    return str(relative) if len(relative.parts) > 1 else f"./{relative}"
