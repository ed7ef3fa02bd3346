"""Which audio track of a container is analysed."""

from fractions import Fraction

import av
import numpy as np
import pytest
from av.stream import Disposition

from earmark.contracts.errors import SourceError
from streamer.config import UrlSource
from streamer.sources import Chunk, Notice, open_source
from streamer.sources.file import read_pcm
from tests.streamer.test_faulty_files import heard
from tests.streamer.test_url import NEVER, web_server
from tests.support.recordings import RATE_HZ, found_pips, pips


def write_tracks(path, *tracks, default=None):
    """One audio track a recording, of which the one at ``default`` is marked."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("flac", rate=RATE_HZ, layout="mono") for _ in tracks]
        for place, stream in enumerate(streams):
            stream.disposition = Disposition.default if place == default else Disposition.comment
        for stream, pcm in zip(streams, tracks, strict=True):
            for start in range(0, len(pcm), 4_608):
                frame = av.AudioFrame.from_ndarray(pcm[None, start : start + 4_608], format="s16", layout="mono")
                frame.sample_rate, frame.time_base, frame.pts = RATE_HZ, Fraction(1, RATE_HZ), start
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


FIRST, SECOND = pips(3.0, [1.0]), pips(3.0, [2.0])


@pytest.mark.parametrize(
    ("default", "track", "expected"),
    [(None, None, [1.0]), (0, None, [1.0]), (1, None, [2.0]), (1, 0, [1.0]), (0, 1, [2.0])],
)
def test_the_default_track_or_the_one_that_is_chosen(tmp_path, default, track, expected):
    path = write_tracks(tmp_path / "a.mkv", FIRST, SECOND, default=default)
    found, _, notices = heard(path, track=track)
    assert found == pytest.approx(expected, abs=0.02)
    assert notices.keys() == (set() if track is not None else {"tracks"})
    if track is None:
        assert (
            f"it has 2 audio tracks; track {expected[0] - 1:.0f} is analysed, set track" in notices["tracks"][0].problem
        )


def test_a_track_that_is_not_there(tmp_path):
    path = write_tracks(tmp_path / "a.mkv", FIRST, SECOND)
    with pytest.raises(SourceError, match=r"expected an audio track below 2 .* got track 2; set track"):
        list(read_pcm(path, 16_000, track=2))


@pytest.mark.parametrize(("settings", "expected"), [({}, [2.0]), ({"track": 0}, [1.0])])
def test_the_track_of_an_address(tmp_path, settings, expected):
    data = write_tracks(tmp_path / "a.mkv", FIRST, SECOND, default=1).read_bytes()
    items = []
    with web_server(lambda: [data]) as url:
        source = open_source(UrlSource(url=url, **settings), block_s=0.02, stop=NEVER)
        with pytest.raises(SourceError, match="expected"):
            items.extend(source.chunks())
        source.close()
    audio = np.concatenate([item.audio for item in items if isinstance(item, Chunk)])
    assert found_pips(audio, RATE_HZ) == pytest.approx(expected, abs=0.02)
    assert any(isinstance(item, Notice) and item.kind == "tracks" for item in items) is not bool(settings)
