"""Between the smoother and the events: an onset waits until a second network, the judge, agrees.

An onset that the smoother decides on at sample d is a *candidate*. The judge hears the window that ends ``after_s``
later, and where it agrees the event is published with its exact onset. While the sound lasts the judge is asked again
every ``again_s``. Where it no longer agrees a published event ends at the sample at which it agreed last; the sound
goes on as a candidate. One that was refused may be confirmed later: its onset is then the exact one, or where the
window that was confirmed begins, whichever is later. What ends unconfirmed is never published.

The analyser never steps a stream beyond a question that has no answer, so answers come in the order of the audio, and
what is decided does not depend on when there was time to ask.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from earmark.contracts.bundle import Bundle, BundleSpec
from engine.buffers import Slots
from engine.candidates import Candidate, Heard, published_end, published_ends, split_candidates, with_candidates
from engine.judging import Answer, ConfirmConfig, Judging, plan_judging
from engine.runtimes import Audio, Scores
from engine.runtimes.judge import Judge
from engine.smoothing import Smoother, Transition

_NEVER = np.iinfo(np.int64).max


def open_confirmation(bundle: Bundle, config: ConfirmConfig | None, threads: int = 1) -> "Confirmation | None":
    """What ``config`` has a bundle's onsets confirmed by; None where it is None.

    Args:
        bundle: With the groups that it decides on.
        config: The section ``engine.confirm``.
        threads: Threads of one step of the judge's model.

    Raises:
        BundleError: The judge cannot be used.
        ConfigError: A setting does not fit.
    """
    if config is None:
        return None
    judging = plan_judging(bundle, config)
    return Confirmation(judging, Judge(judging.bundle, judging.window, threads), bundle.spec)


@dataclass(frozen=True)
class Verdict:
    """One answer of the judge.

    Attributes:
        slot: Whose sound it is about.
        label: The sound's label, or a group.
        onset: Where the sound began.
        onset_ns: UTC of that sample, nanoseconds since 1970.
        at: Where the window ended that the judge heard.
        answer: What the judge says.
        is_first_refusal: Whether it refuses an onset that it was not asked about before.
    """

    slot: int
    label: str
    onset: int
    onset_ns: int
    at: int
    answer: Answer
    is_first_refusal: bool


@dataclass
class Answers:
    """What the judge's answers decide: what is to be published, in order, and the answers themselves."""

    told: list[Transition] = field(default_factory=list[Transition])
    verdicts: list[Verdict] = field(default_factory=list[Verdict])


class Confirmation:
    """The candidates of every slot, and their judge. For one analyser.

    Args:
        judging: What is judged, and how.
        judge: Runs the judge's bundle.
        spec: Of the bundle whose onsets are judged.
    """

    def __init__(self, judging: Judging, judge: Judge, spec: BundleSpec) -> None:
        self.identity = judging.identity
        self.window = judging.window
        """Samples that the judge hears."""
        self.longest_step = judging.after // spec.output_hop + 1
        """Output hops of a step that cannot pass a question which arises in it."""
        self.ask_at = np.zeros(0, np.int64)
        """int64 ``[S]``: the sample at which the next question of each slot must be answered; no step may pass it."""
        self._judging = judging
        self._judge = judge
        self._rate = spec.sample_rate_hz
        self._candidates: dict[int, list[Candidate]] = {}
        self._last_asked = -1

    def grow(self, n_slots: int) -> None:
        """Make room for ``n_slots`` slots."""
        self.ask_at = np.concatenate([self.ask_at, np.full(n_slots - len(self.ask_at), _NEVER)])

    def clear(self, slot: int) -> None:
        """Forget a slot's candidates."""
        self._set(slot, [])

    def _set(self, slot: int, candidates: list[Candidate]) -> None:
        if candidates:
            self._candidates[slot] = candidates
        else:
            self._candidates.pop(slot, None)
        self.ask_at[slot] = min((each.ask_at for each in candidates), default=_NEVER)

    def save(self, slot: int, state: bytes) -> bytes:
        """A slot's candidates and its smoother's ``state`` as bytes."""
        return with_candidates(self._candidates.get(slot, []), state)

    def restore(self, slot: int, saved: bytes) -> bytes:
        """Undo `save`.

        Returns:
            The smoother's state.

        Raises:
            OutboxError: The bytes are damaged.
        """
        candidates, state = split_candidates(saved)
        self._set(slot, candidates)
        return state

    def take(self, told: Transition) -> list[Transition]:
        """Take what the smoother has decided; what of it can be published now."""
        if told.label not in self._judging.asked:
            return [told]
        slot = told.slot
        candidates = self._candidates.get(slot, [])
        if told.offset is None:
            begun = Candidate(
                label=told.label, onset=told.onset, onset_ns=told.onset_ns, ask_at=told.decided + self._judging.after
            )
            self._set(slot, [*candidates, begun])
            return []
        ended = next(each for each in candidates if each.label == told.label and each.offset is None)
        if ended.is_unasked:
            ended.end(told)
            return []
        self._set(slot, [each for each in candidates if each is not ended])
        return [published_end(told, ended)] if ended.is_confirmed else []

    # Questions.

    def due(self, position: NDArray[np.int64], most: int | None = None) -> Slots:
        """Slots whose streams wait for an answer, those first that were not asked about for longest.

        Args:
            position: int64 ``[S]``: the first sample of each slot that is not analysed.
            most: How many at most; None for all.
        """
        waiting = np.flatnonzero(self.ask_at == position)
        return np.roll(waiting, -int(np.searchsorted(waiting, self._last_asked, "right")))[:most]

    def ask(self, slots: Slots, windows: Audio, smoother: Smoother) -> Answers:
        """Ask the judge about every candidate whose question is due.

        Args:
            slots: int64 ``[K]``, from `due`.
            windows: float32 ``[K, window]``: the audio before the sample that each waits at.
            smoother: Knows what was heard of a sound so far.
        """
        answers = Answers()
        for slot, scores in zip(slots.tolist(), self._judge(windows), strict=True):
            self._last_asked, at, candidates = slot, int(self.ask_at[slot]), self._candidates[slot]
            for each in candidates:
                if each.ask_at == at:
                    verdict = self._verdict(slot, each, at, scores)
                    answers.verdicts.append(verdict)
                    answers.told += self._apply(verdict, each, smoother)
            self._set(slot, [each for each in candidates if each.offset is None or each.is_unasked])
        return answers

    def _verdict(self, slot: int, candidate: Candidate, at: int, scores: Scores) -> Verdict:
        label, onset = candidate.label, candidate.onset
        answer = self._judging.answer(label, scores, at - self.window, onset)
        is_first_refusal = candidate.is_unasked and not answer.agrees
        return Verdict(slot, label, onset, candidate.onset_ns, at, answer, is_first_refusal)

    def _apply(self, verdict: Verdict, candidate: Candidate, smoother: Smoother) -> list[Transition]:
        """What a candidate publishes after an answer; it has its next question then."""
        slot, at, again = verdict.slot, verdict.at, self._judging.again
        if not verdict.answer.agrees:
            return candidate.refuse(slot, at, again=again, sample_rate_hz=self._rate)
        if candidate.is_refused and not candidate.is_confirmed:
            candidate.move_onset(at - self.window, self._rate)
        heard = candidate.heard
        if candidate.offset is None:
            heard = Heard.of(smoother.so_far(slot, candidate.label, at))
        return candidate.confirm(slot, at, heard, again=again)

    # Ends.

    def close(
        self, slot: int, ends: list[Transition], at: int, window: Audio | None
    ) -> tuple[Answers, list[Transition]]:
        """End everything of a slot: no more audio follows.

        Args:
            slot: The slot, which has no candidates afterwards.
            ends: What `engine.smoothing.close_all` ends.
            at: The first sample that is not analysed.
            window: float32 ``[1, window]``: the audio before it; None where that is not at hand. Candidates that the
                judge has not been asked about are judged by it, and without it are not published.

        Returns:
            What the judge's last answers decide, and those of ``ends`` whose onsets are published then.
        """
        answers = Answers()
        candidates = self._candidates.get(slot, [])
        unasked = [each for each in candidates if each.is_unasked]
        if unasked and window is not None:
            (scores,) = self._judge(window)
            lasting = {told.label: Heard.of(told) for told in ends}
            for each in unasked:
                verdict = self._verdict(slot, each, at, scores)
                answers.verdicts.append(verdict)
                if verdict.answer.agrees:
                    heard = lasting[each.label] if each.offset is None else each.heard
                    answers.told += each.confirm(slot, at, heard, again=self._judging.again)
        self.clear(slot)
        return answers, published_ends(ends, candidates)
