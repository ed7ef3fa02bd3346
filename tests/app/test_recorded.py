"""When the events of files happened."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import pytest

from earmark.app.recorded import FROM_FILE, FROM_NAME, reader_of
from earmark.contracts.errors import ConfigError
from tests.app.test_detect import write_wav
from tests.support.audio import tones

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


def begin_of(path: Path, recorded_at: str | None, duration_s: float = 60.0) -> datetime:
    return reader_of(recorded_at, lambda: NOW).begin_of(path, duration_s)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("20260224_161937.WAV", datetime(2026, 2, 24, 16, 19, 37, tzinfo=UTC)),
        ("24F319D4_20260224_161937.wav", datetime(2026, 2, 24, 16, 19, 37, tzinfo=UTC)),
        ("20260224_161937T.WAV", datetime(2026, 2, 24, 16, 19, 37, tzinfo=UTC)),
        ("5E4F8A2B.WAV", datetime.fromtimestamp(0x5E4F8A2B, UTC)),
        ("2026-02-24-birdnet-16:19:37.wav", datetime(2026, 2, 24, 16, 19, 37).astimezone(UTC)),
        ("2026-02-24-birdnet-RTSP_1-16:19:37.wav", datetime(2026, 2, 24, 16, 19, 37).astimezone(UTC)),
    ],
)
def test_names_of_recorders_tell_the_time(name: str, expected: datetime):
    reader_of(FROM_NAME).check([Path(name)])
    assert begin_of(Path("folder") / name, FROM_NAME) == expected


@pytest.mark.parametrize("name", ["yard.wav", "20261341_161937.WAV", "2026-02-24.wav", "5e4f8a2b.wav"])
def test_a_name_without_a_time_is_refused(name: str):
    with pytest.raises(ConfigError, match="expected a name with a time, as BirdNET-Pi"):
        reader_of(FROM_NAME).check([Path(name)])


def test_a_time_may_be_given():
    assert begin_of(Path("a.wav"), "2026-11-21T13:00:00+01:00") == datetime(2026, 11, 21, 12, tzinfo=UTC)
    for wrong in ("yesterday", "2027-01-01T00:00:00Z"):
        with pytest.raises(ConfigError, match="--recorded-at: expected a time"):
            reader_of(wrong, lambda: NOW)


@pytest.mark.parametrize("recorded_at", [None, "2026-12-01T11:59:30Z", FROM_NAME, FROM_FILE])
def test_no_event_lies_in_the_future(recorded_at: str | None, tmp_path: Path):
    path = write_wav(tmp_path / "20261201_115930.WAV", tones(0, 0.1))
    os.utime(path, (NOW.timestamp() + 3600,) * 2)
    assert begin_of(path, recorded_at) == NOW - timedelta(seconds=60)


def test_a_files_time_stamp_is_the_end_of_its_recording(tmp_path: Path):
    path = write_wav(tmp_path / "a.wav", tones(0, 0.1))
    os.utime(path, (1_700_000_000,) * 2)
    assert begin_of(path, FROM_FILE) == datetime.fromtimestamp(1_700_000_000 - 60, UTC)


def test_what_a_files_header_says_comes_before_its_time_stamp(tmp_path: Path):
    path = tmp_path / "a.wav"
    with av.open(str(path), "w", options={"write_bext": "1"}) as container:
        container.metadata.update(
            {"origination_date": "2026-02-24", "origination_time": "16:19:37", "description": "a field recorder"}
        )
        stream = container.add_stream("pcm_s16le", rate=16_000)
        frame = av.AudioFrame(format="s16", layout="mono", samples=1600)
        frame.sample_rate = 16_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    assert begin_of(path, FROM_FILE) == datetime(2026, 2, 24, 16, 19, 37).astimezone(UTC)


def test_standard_input_has_no_time_of_its_own():
    with pytest.raises(ConfigError, match="expected a file, got -, which has no time"):
        reader_of(FROM_FILE).check([Path("-")])
