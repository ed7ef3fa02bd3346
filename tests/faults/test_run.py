"""Results are kept, a run that was killed goes on, and the command tells both."""

import json

import pytest

from earmark.app.cli import run_command
from earmark.chaos import run
from earmark.chaos.run import in_words, quantile, read_results, run_schedules, summary
from earmark.chaos.trial import Outcome
from earmark.contracts.errors import ConfigError

GOOD = Outcome("tiny", 3, ["kill engine", "cut 1.0 s ..."], recoveries=[("kill engine", 1.5)], events=12)


class Staged:
    """As far as a run of schedules asks."""

    name = "tiny"


@pytest.fixture
def seeds(monkeypatch):
    """Schedules that take no time; the seeds that were run."""
    done = []

    def run_trial(staging, _reference, seed, schedule):
        done.append(seed)
        return Outcome(staging.name, seed, [str(step) for step in schedule])

    monkeypatch.setattr(run, "Reference", lambda staging: None)
    monkeypatch.setattr(run, "run_trial", run_trial)
    return done


def write(path, *outcomes):
    path.write_text("".join(json.dumps(outcome.as_data()) + "\n" for outcome in outcomes))
    return path


def test_what_is_written_is_read(tmp_path):
    assert read_results(write(tmp_path / "results.jsonl", GOOD), "tiny") == [GOOD]
    assert read_results(tmp_path / "none.jsonl", "tiny") == []


def test_a_run_goes_on_after_what_is_done(seeds, tmp_path):
    path = write(tmp_path / "results.jsonl", GOOD)
    with path.open("a") as file:
        file.write('{"staging": "tiny", "seed": 4, "sche')
    for _ in range(3):
        run_schedules(Staged(), 2, 0.0, path, lambda outcome: None)
    assert seeds == [2, 4, 5]
    assert [outcome.seed for outcome in read_results(path, "tiny")] == [3, 2, 4, 5]


def test_results_that_cannot_be_written_are_refused_before_anything_runs(seeds, tmp_path):
    for path in (tmp_path, tmp_path / "none" / "results.jsonl"):
        with pytest.raises(ConfigError, match="expected to write to"):
            run_schedules(Staged(), 2, 0.0, path, lambda outcome: None)
    assert seeds == []


@pytest.mark.parametrize("text", ["no results\n", '{"seed": 1}\n'])
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "results.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError, match="expected results of earmark chaos"):
        read_results(path, "tiny")


def test_results_of_another_configuration_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected results of urban, got some of tiny"):
        read_results(write(tmp_path / "results.jsonl", GOOD), "urban")


def test_the_summary_tells_times_and_what_differs():
    bad = Outcome("tiny", 4, ["cut 1.0 s"], recoveries=[("kill engine", 0.5)], differences=["missing onset"])
    told = summary([GOOD, bad])
    assert "| kill engine | 2 | 0.50 | 1.50 | 1.50 |" in told
    assert "2 schedules, 1 with differences" in told
    assert "seed 4: missing onset" in told
    assert in_words(GOOD).startswith("seed 3: as undisturbed, 12 events")
    assert "DIFFERENT" in in_words(bad)


def test_quantiles_are_values_that_were_seen():
    values = [float(n) for n in range(1, 101)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile([7.0], 0.99)) == (50.0, 99.0, 7.0)


@pytest.fixture
def service(tiny_bundle, tmp_path):
    """A configuration."""
    path = tmp_path / "service.yaml"
    path.write_text(f"streams: {{gate: {{source: silence}}}}\nengine: {{bundle: {tiny_bundle.folder}}}\n")
    return path


@pytest.mark.parametrize(("differences", "code"), [([], 0), (["missing onset"], 1)])
def test_the_command_says_by_its_exit_code_whether_all_is_well(monkeypatch, service, capsys, differences, code):
    def run_trial(staging, _reference, seed, schedule):
        return Outcome(staging.name, seed, [str(step) for step in schedule], differences=differences)

    monkeypatch.setattr(run, "run_trial", run_trial)
    assert run_command(["chaos", "--config", str(service), "--seed", "11", "--minutes", "0"]) == code
    out, err = capsys.readouterr()
    assert "seed 11" in err
    assert "1 schedules" in out
