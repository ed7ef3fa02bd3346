"""Ten random schedules against real processes: whatever they break, the events are those of an undisturbed run.

Their kinds cover all that there are. `earmark chaos` runs as many as one likes: see docs/reliability.md.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest

from earmark.app.load import load_service
from earmark.chaos.lab import lab
from earmark.chaos.oracle import Reference
from earmark.chaos.schedule import KINDS, make_schedule
from earmark.chaos.staging import Staging
from earmark.chaos.trial import hit
from tests.faults.staged import write_staging
from tests.support.audio import tones
from tests.support.judge_bundle import write_judge_bundle

SEEDS = (8, 39, 42, 79, 126, 224, 312, 314, 343, 395)
JUDGED_SEEDS = (8, 42, 224)
N_STEPS = 2
SECONDS = 30
AT_ONCE = 2
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def outcomes(tiny_bundle, tmp_path_factory):
    """All of them, by seed. Two services run at once, for they mostly wait, and each takes five: a start costs more."""
    path = write_staging(tmp_path_factory.mktemp("staging"), tiny_bundle)
    staging = Staging(load_service(path), {"gate": tones(10, SECONDS), "yard": tones(21, SECONDS)})
    reference = Reference(staging)

    def run(seeds):
        with lab(staging) as made:
            for seed in seeds:
                if seed != seeds[0]:
                    made.play_again()
                yield hit(made, reference, seed, make_schedule(seed, N_STEPS))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        halves = pool.map(lambda first: list(run(SEEDS[first::AT_ONCE])), range(AT_ONCE))
        return {outcome.seed: outcome for half in halves for outcome in half}


def test_none_does_where_a_judge_confirms_onsets(tiny_bundle, tmp_path):
    judge = write_judge_bundle(tmp_path / "judge")
    sounds = {"gate": tones(10, SECONDS), "yard": tones(21, SECONDS)}
    staging = Staging(load_service(write_staging(tmp_path, tiny_bundle, judge)), sounds)
    reference = Reference(staging)
    with lab(staging) as made:
        for seed in JUDGED_SEEDS:
            if seed != JUDGED_SEEDS[0]:
                made.play_again()
            outcome = hit(made, reference, seed, make_schedule(seed, N_STEPS))
            assert not outcome.differences, f"{outcome.differences} after {outcome.schedule}\n{outcome.log}"
            assert outcome.events >= 60


@pytest.mark.parametrize("seed", SEEDS)
def test_a_schedule_changes_no_event(outcomes, seed):
    outcome = outcomes[seed]
    assert not outcome.differences, f"{outcome.differences} after {outcome.schedule}\n{outcome.log}"
    assert outcome.events >= 200


def test_they_cover_every_kind():
    drawn = {fault.kind for seed in SEEDS for step in make_schedule(seed, N_STEPS) for fault in step.faults}
    assert drawn == set(KINDS)
