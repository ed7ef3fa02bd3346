"""A bundle and its peers on one list of real recordings."""

from collections.abc import Sequence
from dataclasses import dataclass

from earmark.contracts.bundle import Bundle
from earmark.evaluation.calibration import Reliability
from earmark.evaluation.decisions import DetectedEvent, decide
from earmark.evaluation.peaks import Peaks
from earmark.evaluation.peers import PEER_SMOOTHING, Peer, PeerFraming
from earmark.evaluation.real import RealMeasures, RealRecording, measure_real
from earmark.evaluation.real_curve import RealPoint, at_threshold, real_curve
from earmark.evaluation.scoring import ScoredFiles
from earmark.evaluation.simulation import decided_events

_PEER_THRESHOLD = 0.5


@dataclass(frozen=True, eq=False)
class RealDetector:
    """One detector at one setting.

    Attributes:
        system: The bundle or the peer, as its curve is called.
        name: The system, and its threshold if it is a peer.
        measures: What it detects.
    """

    system: str
    name: str
    measures: RealMeasures


@dataclass(frozen=True, eq=False)
class RealComparison:
    """What was measured on real recordings.

    Attributes:
        detectors: The bundle as it smooths, then each peer at its thresholds.
        curves: Over one threshold for all classes, by system.
        detected: The bundle's events, by file.
        reliability: Of the bundle's highest score of each class in each recording.
    """

    detectors: tuple[RealDetector, ...]
    curves: dict[str, list[RealPoint]]
    detected: dict[str, list[DetectedEvent]]
    reliability: Reliability

    @property
    def ours(self) -> RealMeasures:
        """What the bundle detects."""
        return self.detectors[0].measures


def compare_real(
    recordings: Sequence[RealRecording],
    bundle: Bundle,
    scored: ScoredFiles,
    peers: Sequence[tuple[Peer, ScoredFiles]] = (),
) -> RealComparison:
    """Measure a bundle as it smooths, and each peer at 0.5 and at its usual threshold.

    Args:
        recordings: The list.
        bundle: What is measured. Its curve uses the smoothing of all classes, ``smoothing``, not each class's own.
        scored: Its scores of each recording.
        peers: Others, with their scores.
    """
    detected = decide(scored, bundle.spec)
    ours = measure_real(recordings, detected, scored.durations_s, bundle.spec.event_labels)
    name = f"{bundle.spec.name} {bundle.spec.version}"
    detectors = [RealDetector(name, name, ours)]
    curves = {name: real_curve(recordings, scored, bundle.spec, bundle.spec.smoothing)}
    for peer, theirs in peers:
        framing = PeerFraming(peer.hop)
        curves[peer.name] = real_curve(recordings, theirs, framing, PEER_SMOOTHING)
        for threshold in sorted({_PEER_THRESHOLD, peer.usual_threshold}):
            smoothing = at_threshold(PEER_SMOOTHING, threshold)
            found = decided_events(theirs, framing, lambda _, smoothing=smoothing: smoothing)
            measures = measure_real(recordings, found, theirs.durations_s, peer.labels)
            detectors.append(RealDetector(peer.name, f"{peer.name} at {threshold:g}", measures))
    reliability = Peaks.of_recordings(recordings, scored).reliability
    return RealComparison(tuple(detectors), curves, detected, reliability)
