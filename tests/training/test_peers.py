"""The peers' windows and events, on made scores and with the real networks where they are beside the checkout."""

from pathlib import Path

import numpy as np
import pytest

from earmark.contracts.errors import ConfigError
from earmark.evaluation.annotations import LabelledEvent
from earmark.evaluation.peers import PEER_RATE_HZ, PEER_SMOOTHING, PeerFraming, score_peer
from earmark.evaluation.real_curve import at_threshold
from earmark.evaluation.scoring import ScoredFiles
from earmark.evaluation.simulation import decided_events
from earmark.synthesis.scene import make_scene, write_wav
from earmark.training.mn04 import COLUMN_S
from earmark.training.peers import Mn04Peer, YamnetPeer, open_peer, window_means

LABELS = ("can_opening", "drinking_sipping", "rain", "siren", "speech")


@pytest.fixture(scope="session")
def peers_folder(data_folder: Path) -> Path:
    return data_folder.parent / "peers"


def test_a_window_is_the_mean_of_the_columns_in_it():
    columns = np.arange(60, dtype=np.float32)[:, None]
    times_s = np.arange(60) * COLUMN_S
    centres_s = np.array([0.25, 2.6, 9.75, 18.9])
    expected = [np.mean(np.flatnonzero(np.abs(times_s - centre) <= 2.5)) for centre in centres_s]
    assert window_means(columns, centres_s)[:, 0] == pytest.approx(expected)


@pytest.mark.parametrize("n_columns", [1, 2])
def test_a_short_recording_has_its_columns_in_every_window(n_columns: int):
    columns = np.arange(1, n_columns + 1, dtype=np.float32)[:, None]
    assert window_means(columns, np.array([0.25]))[:, 0] == pytest.approx([columns.mean()])
    assert window_means(columns, np.array([9.0]))[:, 0] == pytest.approx([n_columns])


def test_events_of_a_peer_are_runs_without_smoothing():
    scores = np.array([0.2, 0.8, 0.5, 0.1, 0.9, 0.49], np.float32)[:, None]
    scored = ScoredFiles(("rain",), 0.5, {"a": scores}, {"a": 2.8})
    framing = PeerFraming(PEER_RATE_HZ // 2)
    assert decided_events(scored, framing, lambda _: PEER_SMOOTHING)["a"] == [
        LabelledEvent(0.5, 1.5, "rain"),
        LabelledEvent(2.0, 2.5, "rain"),
    ]
    assert decided_events(scored, framing, lambda _: at_threshold(PEER_SMOOTHING, 0.9))["a"] == [
        LabelledEvent(2.0, 2.5, "rain")
    ]


def test_files_are_needed(tmp_path: Path):
    (tmp_path / "yamnet_class_map.csv").write_text("index,display_name\n0,Sawing\n")
    (tmp_path / "class_labels_indices.csv").write_text("index,display_name\n0,Sawing\n")
    with pytest.raises(ConfigError, match="expected YAMNet in"):
        open_peer(f"yamnet={tmp_path}", ["hand_saw"])
    with pytest.raises(ConfigError, match="expected the checkpoint of mn04_as at"):
        open_peer(f"mn04={tmp_path}", ["hand_saw"])


@pytest.mark.data
@pytest.mark.parametrize("n_samples", [1, 1599, 7680, 15359, 15360, 15361, 15600, 23041, 40000])
def test_frames_cover_the_recording_and_no_more(peers_folder: Path, n_samples: int):
    audio = np.random.default_rng(0).normal(0, 0.1, n_samples).astype(np.float32)
    for name in ("yamnet", "mn04"):
        peer = open_peer(f"{name}={peers_folder / name}", LABELS)
        assert peer.labels == ("rain", "siren", "speech")
        scores = peer.score(audio)
        assert scores.dtype == np.float32
        assert scores.shape[1] == 3
        assert ((scores >= 0) & (scores <= 1)).all()
        assert len(scores) * peer.hop >= n_samples
        assert (len(scores) - 2) * peer.hop < n_samples


@pytest.mark.data
def test_yamnets_frame_is_the_higher_of_its_windows(peers_folder: Path):
    peer = YamnetPeer(peers_folder / "yamnet", LABELS)
    audio = make_scene(1, 4.0, ["siren"]).audio
    starts = range(0, len(audio) - 15_600 + 1, peer.hop)
    windows = [peer._to_ours(peer._hear(audio[first : first + 15_600])) for first in starts]
    scores = peer.score(audio)
    assert scores[0].tolist() == windows[0].tolist()
    for frame in range(1, len(windows)):
        assert scores[frame].tolist() == np.maximum(windows[frame - 1], windows[frame]).tolist()


@pytest.mark.data
@pytest.mark.parametrize(("name", "kind"), [("yamnet", YamnetPeer), ("mn04", Mn04Peer)])
def test_speech_is_heard_where_it_is(peers_folder: Path, data_folder: Path, tmp_path: Path, name: str, kind: type):
    peer = open_peer(f"{name}={peers_folder / name}", LABELS)
    assert isinstance(peer, kind)
    write_wav(tmp_path / "quiet.wav", make_scene(1, 2.0, ()))
    heard_s: list[float] = []
    scored = score_peer(peer, tmp_path, ["quiet.wav"], on_file=heard_s.append)
    assert scored.durations_s == {"quiet.wav": 2.0}
    assert heard_s == [2.0]
    assert scored.scores["quiet.wav"].max() < 0.5
    meeting = min((data_folder / "meetings").glob("*.ogg"))
    spoken = score_peer(peer, meeting.parent, [meeting.name]).scores[meeting.name]
    assert spoken[:, 2].max() > 0.7
