"""The peers of ``earmark evaluate --peer``: YAMNet and mn04, taggers of AudioSet that hear the same recordings.

Both are asked for those of our labels that AudioSet has (`earmark.evaluation.audioset`); a label scores as the highest
of its AudioSet classes.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from earmark.contracts.errors import ConfigError
from earmark.evaluation.audioset import AUDIOSET, AudioSetMap, read_names
from earmark.evaluation.peers import PEER_RATE_HZ, Peer
from earmark.training.mn04 import COLUMN_S, Mn04

Floats = NDArray[np.float32]

_CLASSES = {**AUDIOSET, "drinking_sipping": ()}
"""The teacher hears drinking in gargling, burping and chewing; held against a peer, they would be its mistakes."""
_MN04_WINDOW_S = 5.0
_MN04_SHORTEST = PEER_RATE_HZ // 10
"""Samples that mn04 can hear at least."""


class YamnetPeer:
    """YAMNet on its own windows, of 0.96 s every 0.48 s. An event is a run of windows, from the first to the last one.

    A frame is half a window and scores as the higher of the two windows that it is in, so runs of frames are runs of
    windows. It is given the 0.8 that Frigate asks for.

    Args:
        folder: With ``yamnet.tflite`` and ``yamnet_class_map.csv``.
        labels: Ours; those that AudioSet lacks are left out.

    Raises:
        ConfigError: A file is missing or is something else.
    """

    name = "YAMNet"
    hop = 7_680
    usual_threshold = 0.8
    _INPUT = 15_600

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        self._to_ours = _map_to(labels, folder / "yamnet_class_map.csv")
        self.labels = self._to_ours.known
        path = folder / "yamnet.tflite"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                self._interpreter = Interpreter(str(path), num_threads=1)
                self._interpreter.allocate_tensors()
                self._interpreter.set_tensor(0, np.zeros(self._INPUT, np.float32))
            except (ValueError, RuntimeError) as error:
                raise ConfigError(f"expected YAMNet in {path}, found no such TFLite model: {error}") from error
        self._output = self._interpreter.get_output_details()[0]["index"]

    def score(self, audio: Floats) -> Floats:
        """See `Peer`."""
        n_windows = max(1, -(-len(audio) // self.hop) - 1)
        padded = np.pad(audio, (0, max(0, (n_windows - 1) * self.hop + self._INPUT - len(audio))))
        heard = [self._hear(padded[k * self.hop : k * self.hop + self._INPUT]) for k in range(n_windows)]
        windows = self._to_ours(np.stack(heard))
        return np.maximum(np.pad(windows, ((0, 1), (0, 0))), np.pad(windows, ((1, 0), (0, 0))))

    def _hear(self, window: Floats) -> Floats:
        self._interpreter.set_tensor(0, window)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)[0]


class Mn04Peer:
    """mn04 on windows of 5 s every 0.5 s. A frame is the half second in the middle of its window.

    The network hears the whole recording once; its head then hears the mean of the columns of each window, which ends
    where the recording does. 0.7 is where it finds most for few errors.

    Args:
        folder: With ``mn04_as_mAP_432.pt`` and ``class_labels_indices.csv``.
        labels: Ours; those that AudioSet lacks are left out.

    Raises:
        ConfigError: A file is missing or is something else.
    """

    name = "mn04"
    hop = PEER_RATE_HZ // 2
    usual_threshold = 0.7

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        self._to_ours = _map_to(labels, folder / "class_labels_indices.csv")
        self.labels = self._to_ours.known
        self._network = Mn04(folder / "mn04_as_mAP_432.pt")

    def score(self, audio: Floats) -> Floats:
        """See `Peer`."""
        columns = self._network.columns(np.pad(audio, (0, max(0, _MN04_SHORTEST - len(audio)))))
        centres_s = (np.arange(max(1, -(-len(audio) // self.hop))) + 0.5) * self.hop / PEER_RATE_HZ
        logits = self._network.logits(window_means(columns, centres_s))
        return self._to_ours(1 / (1 + np.exp(-logits)))


_PEERS: dict[str, Callable[[Path, Sequence[str]], Peer]] = {"yamnet": YamnetPeer, "mn04": Mn04Peer}


def open_peer(text: str, labels: Sequence[str]) -> Peer:
    """Open what ``--peer NAME=DIR`` names.

    Args:
        text: ``yamnet=DIR`` or ``mn04=DIR``.
        labels: Ours.

    Raises:
        ConfigError: There is no such peer, or its folder lacks a file.
    """
    name, _, folder = text.partition("=")
    if name not in _PEERS or not folder:
        names = " or ".join(f"{known}=DIR" for known in _PEERS)
        raise ConfigError(f"--peer: expected {names}, got {text!r}")
    return _PEERS[name](Path(folder), labels)


def _map_to(labels: Sequence[str], class_map: Path) -> AudioSetMap:
    """To those of our labels that AudioSet has, and to no others."""
    names = read_names(class_map)
    return AudioSetMap(names, AudioSetMap(names, labels, _CLASSES).known, _CLASSES)


def window_means(columns: Floats, centres_s: NDArray[np.float64]) -> Floats:
    """Means of the columns whose centres are in windows of 5 s around some times, at least of the nearest column.

    Args:
        columns: float32 ``[W, D]``, one every `COLUMN_S`, the first at 0 s.
        centres_s: float64 ``[T]``.

    Returns:
        float32 ``[T, D]``.
    """
    half = _MN04_WINDOW_S / 2
    first = np.clip(np.ceil((centres_s - half) / COLUMN_S).astype(int), 0, len(columns) - 1)
    last = np.clip(np.floor((centres_s + half) / COLUMN_S).astype(int) + 1, first + 1, len(columns))
    sums = np.cumsum(np.pad(columns, ((1, 0), (0, 0))), axis=0, dtype=np.float64)
    return ((sums[last] - sums[first]) / (last - first)[:, None]).astype(np.float32)
