"""The configuration's section ``engine.confirm``: which bundle confirms onsets, of which labels, and when.

Two networks that learnt differently are seldom wrong together. So an onset that the engine's own network decides on is
published only if a second network, the judge, hears the sound too. This module knows the rules of that and no runtime;
`engine.confirmation` applies them.
"""

import difflib
import hashlib
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from earmark.contracts.bundle import Bundle, BundleSpec, Probability, load_bundle
from earmark.contracts.config import Section
from earmark.contracts.errors import BundleError, ConfigError
from engine.runtimes import Scores


class ConfirmConfig(Section):
    """A second network, the judge, that must agree before an onset is published.

    It hears a few seconds that end ``after_s`` after the onset was decided, so every event of a label that it judges
    comes that much later. Labels that it does not know are published as without it; so is a group with such a member.
    """

    bundle: str
    """The judge: name of a bundle that ships, or the path of one. One without states hears a window of its own
    length (``hops_per_score``) and gives one score a label; one with states hears ``window_s`` from a fresh state, and
    its highest score after the onset counts."""
    threshold: Probability | None = None
    """Score from which the judge agrees; null: of each label the ``onset_threshold`` in the judge's bundle."""
    after_s: Annotated[float, Field(ge=0, le=10)] = 0.8
    """How much audio after the decision the judge hears; less where the stream ends or has a gap before."""
    again_s: Annotated[float, Field(gt=0)] = 3.0
    """How often the judge is asked again while the sound lasts. An event that it no longer confirms ends where it last
    did; an onset that it refused may be confirmed later."""
    window_s: Annotated[float, Field(gt=0)] = 3.0
    """How much audio a judge with states hears; a judge without states has a window of its own."""
    exempt: tuple[str, ...] = ()
    """Labels, and groups of ``engine.groups``, that are published without asking the judge."""


class Answer(NamedTuple):
    """What the judge says about a label.

    Attributes:
        score: Its highest score; of a group that of any member.
        agrees: Whether it agrees.
        margin: How near a score that counts comes to its threshold.
    """

    score: float
    agrees: bool
    margin: float


@dataclass(frozen=True)
class Judging:
    """How the onsets of one bundle are judged.

    Attributes:
        bundle: The judge's.
        window: Samples that it hears for one answer.
        after: Samples from an onset's decision to the end of that window, whole output hops of the judged bundle.
        again: Samples from one answer to the next while a sound lasts, likewise.
        asked: By label or group that is judged, the places of the judge's scores that count, and the thresholds that
            each of these must reach.
        identity: What events carry as ``model``: that of the judged bundle and that of this judging.
    """

    bundle: Bundle
    window: int
    after: int
    again: int
    asked: dict[str, tuple[NDArray[np.intp], NDArray[np.float32]]]
    identity: str

    def answer(self, label: str, scores: Scores, first_sample: int, onset: int) -> Answer:
        """What the judge says about a label.

        Args:
            label: One that is judged.
            scores: The judge's of one window, float32 ``[T, C]``.
            first_sample: First sample of the window.
            onset: Where the sound began; scores of before do not count, but the last one always does.

        Returns:
            Its answer. Of a group those about its members count, each by its own threshold.
        """
        places, thresholds = self.asked[label]
        spec = self.bundle.spec
        first = (onset - first_sample) // spec.output_hop + spec.delay_frames
        heard = scores[min(max(first, 0), len(scores) - 1) :, places].max(axis=0)
        return Answer(float(heard.max()), bool((heard >= thresholds).any()), float(np.abs(heard - thresholds).min()))


def plan_judging(bundle: Bundle, config: ConfirmConfig) -> Judging:
    """How ``config`` has a bundle's onsets judged.

    Args:
        bundle: With the groups that it decides on.
        config: The section ``engine.confirm``.

    Raises:
        BundleError: The judge cannot be loaded, or cannot judge this bundle.
        ConfigError: A setting does not fit the bundle or the judge.
    """
    spec, judge = bundle.spec, load_bundle(config.bundle)
    _check_rate(spec, judge.spec)
    _check_exempt(spec, config.exempt)
    window = _window(judge.spec, config.window_s)
    _check_window(spec, judge.spec, window, config.after_s)
    hop, rate = spec.output_hop, spec.sample_rate_hz
    asked = _asked(spec, judge.spec, config)
    if not asked:
        raise BundleError(
            f"expected a judge that knows one of the labels of {spec.name!r} that are not exempt, got "
            f"{judge.spec.name!r} with {', '.join(judge.spec.labels)}; choose another one"
        )
    settings = config.model_dump_json(exclude={"bundle"})
    digest = hashlib.blake2b(f"{judge.identity} {settings}".encode(), digest_size=8).hexdigest()
    return Judging(
        judge,
        window,
        after=round(config.after_s * rate / hop) * hop,
        again=max(1, round(config.again_s * rate / hop)) * hop,
        asked=asked,
        identity=f"{bundle.identity}/{judge.spec.name}@{judge.spec.version}+{digest}",
    )


def _window(judge: BundleSpec, window_s: float) -> int:
    """Samples that a judge hears: all that a score of it covers, or whole output hops where it has states."""
    if not judge.states:
        return judge.output_hop
    return max(1, int(window_s * judge.sample_rate_hz) // judge.output_hop) * judge.output_hop


def _check_rate(spec: BundleSpec, judge: BundleSpec) -> None:
    if judge.sample_rate_hz != spec.sample_rate_hz:
        raise BundleError(
            f"expected a judge that hears {spec.sample_rate_hz} Hz as {spec.name!r} does, got {judge.name!r}, which "
            f"hears {judge.sample_rate_hz} Hz; choose one of the same rate"
        )


def _check_window(spec: BundleSpec, judge: BundleSpec, window: int, after_s: float) -> None:
    """An engine that starts again hears the warm-up again at least: that must hold the window of what is undecided."""
    rate = spec.sample_rate_hz
    if window > spec.warmup_samples:
        raise BundleError(
            f"expected a judge that hears the warm-up of {spec.name!r} ({spec.warmup_samples / rate:g} s) at most, got "
            f"{judge.name!r}, which hears {window / rate:g} s; an engine that starts again has no more. Lower "
            "window_s, or choose another judge"
        )
    if after_s * rate >= window:
        raise ConfigError(
            f"expected after_s below the judge's window ({window / rate:g} s), got {after_s:g} s: it would not hear "
            "the onset; lower after_s"
        )


def _check_exempt(spec: BundleSpec, exempt: tuple[str, ...]) -> None:
    if unknown := sorted(set(exempt) - set(spec.event_labels)):
        near = difflib.get_close_matches(unknown[0], spec.event_labels, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(spec.event_labels)}"
        raise ConfigError(f"exempt: model {spec.name!r} has no label {', '.join(unknown)}; {hint}")


def _asked(
    spec: BundleSpec, judge: BundleSpec, config: ConfirmConfig
) -> dict[str, tuple[NDArray[np.intp], NDArray[np.float32]]]:
    """`Judging.asked`. A member that passes unjudged lets its group pass."""
    asked: dict[str, tuple[NDArray[np.intp], NDArray[np.float32]]] = {}
    for label in spec.event_labels:
        members = (label,) if label in judge.labels else spec.groups.get(label, (label,))
        if not {label, *members} & set(config.exempt) and set(members) <= set(judge.labels):
            places = np.array([judge.labels.index(member) for member in members])
            own = [judge.smoothing_of(member).onset_threshold for member in members]
            asked[label] = places, np.array([config.threshold or each for each in own], np.float32)
    return asked
