"""Which part of a changed file is taken over."""

from pathlib import Path

import pytest

from earmark.app.live_config import LiveConfig
from earmark.app.load import service_in
from earmark.contracts.errors import ConfigError

GATE = "  gate: {source: silence, zone: yard}\n"
START = f"streams:\n{GATE}engine: {{max_batch: 64}}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "street.yaml"
    path.write_text(START)
    return path


def test_streams_are_taken_over_and_what_needs_a_restart_is_named(path: Path):
    live = LiveConfig.read(path, service_in)
    path.write_text(f"streams:\n{GATE}  hall: {{source: silence}}\nengine: {{max_batch: 32}}\n")
    live = live.reread()
    assert [*live.config.streams] == ["gate", "hall"]
    assert live.config.engine.max_batch == 64
    assert live.needs_restart == ("engine.max_batch",)


def test_what_runs_is_written_as_it_stands_in_its_file(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("BATCH", "64")
    path.write_text(START.replace("64", "'${BATCH}'"))
    live = LiveConfig.read(path, service_in)
    path.write_text(live.text)
    assert "${BATCH}" in path.read_text()
    assert LiveConfig.read(path, service_in).config == live.config


@pytest.mark.parametrize("zone", ["", "zone: garden"])
def test_a_zone_changes_by_a_restart_alone(path: Path, zone: str):
    """Its open event would be told by two rules."""
    live = LiveConfig.read(path, service_in)
    path.write_text(START.replace("zone: yard", zone))
    with pytest.raises(ConfigError, match="zones change by a restart"):
        live.reread()


def test_a_file_that_is_wrong_is_refused(path: Path):
    live = LiveConfig.read(path, service_in)
    path.write_text(START + "streamers: {}\n")
    with pytest.raises(ConfigError, match="did you mean streamer"):
        live.reread()


def test_without_a_file_there_is_nothing_to_read_again():
    with pytest.raises(ConfigError, match="started without a file"):
        LiveConfig.read(None).reread()
