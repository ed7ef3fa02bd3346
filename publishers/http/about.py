"""What the service is, for whoever asks: its streams, its model, its configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from earmark.contracts.bundle import BundleSpec, Smoothing
from earmark.contracts.config import SmoothingOverride
from publishers.http.coarse import Detail


@dataclass
class About:
    """What changes with the configuration only.

    Attributes:
        streams: Names of the streams that should be heard.
        model: Identity of the bundle, as events carry it.
        spec: Of the bundle; None where none is known.
        overrides: What streams change of its smoothing, by stream and label.
        config: The whole configuration, without secrets.
        zones: The streams of each zone.
        clips: Streams the sound of whose events may be stored.
        spectrograms: How much the picture of each stream shows.
        other_spectrograms: The same of streams that are not in the configuration.
    """

    streams: tuple[str, ...] = ()
    model: str = ""
    spec: BundleSpec | None = None
    overrides: Mapping[str, Mapping[str, SmoothingOverride]] = field(
        default_factory=dict[str, Mapping[str, SmoothingOverride]]
    )
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    zones: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    clips: tuple[str, ...] = ()
    spectrograms: Mapping[str, Detail] = field(default_factory=dict[str, Detail])
    other_spectrograms: Detail = "full"

    def become(self, other: "About") -> None:
        """Tell what ``other`` tells from now on."""
        vars(self).update(vars(other))

    @property
    def score_delay(self) -> int:
        """How many frames later than the sound the model answers."""
        return 0 if self.spec is None else self.spec.delay_frames

    def spectrogram(self, stream: str) -> Detail:
        """How much the picture of a stream shows."""
        return self.spectrograms.get(stream, self.other_spectrograms)

    def smoothing(self, stream: str | None = None) -> dict[str, Smoothing]:
        """How the scores of each label and decided group become events; of ``stream``, only those that it changes."""
        if self.spec is None:
            return {}
        bundles = {label: self.spec.smoothing_of(label) for label in self.spec.event_labels}
        if stream is None:
            return bundles
        overrides = self.overrides.get(stream, {})
        return {label: override.apply(bundles[label]) for label, override in overrides.items() if label in bundles}
