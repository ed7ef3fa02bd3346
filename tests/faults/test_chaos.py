"""Ten random schedules against real processes: whatever they break, the events are those of an undisturbed run.

Their kinds cover all that there are. `earmark chaos` runs as many as one likes; docs/reliability.md tells of 200.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest

from earmark.app.load import load_service
from earmark.chaos.oracle import Reference
from earmark.chaos.schedule import KINDS, make_schedule
from earmark.chaos.staging import Staging
from earmark.chaos.trial import run_trial
from tests.faults.staged import write_staging
from tests.support.audio import tones

SEEDS = (8, 39, 42, 79, 126, 224, 312, 314, 343, 395)
N_STEPS = 2
SECONDS = 30
AT_ONCE = 3
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def outcomes(tiny_bundle, tmp_path_factory):
    """All of them, by seed; several services run at once, for they mostly wait."""
    path = write_staging(tmp_path_factory.mktemp("staging"), tiny_bundle)
    staging = Staging(load_service(path), {"gate": tones(10, SECONDS), "yard": tones(21, SECONDS)})
    reference = Reference(staging)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ran = pool.map(lambda seed: run_trial(staging, reference, seed, make_schedule(seed, N_STEPS)), SEEDS)
        return {outcome.seed: outcome for outcome in ran}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_schedule_changes_no_event(outcomes, seed):
    outcome = outcomes[seed]
    assert not outcome.differences, f"{outcome.schedule}\n{outcome.log}"
    assert outcome.events >= 200


def test_they_cover_every_kind():
    drawn = {fault.kind for seed in SEEDS for step in make_schedule(seed, N_STEPS) for fault in step.faults}
    assert drawn == set(KINDS)
