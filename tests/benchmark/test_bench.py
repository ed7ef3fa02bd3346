"""``earmark bench``: every part runs, and tells what it promises. No test here is about speed."""

import json
import os
import subprocess
import sys

import pytest

from earmark.app import extras
from earmark.app.cli import run_command
from earmark.benchmark.measuring import cpu_seconds_a_call
from earmark.benchmark.pinning import Cores, on_core, pinned
from earmark.benchmark.stages import STAGES, StageClock
from earmark.benchmark.tables import Table, markdown

KEYS = (
    "streams_per_core",
    "hop_ms",
    "mflop_per_audio_second",
    "delay_p50_ms",
    "delay_p99_ms",
    "gemm_peak_gflops",
    "peers",
)
MEASURED = ("streams_per_core", "hop_ms", "delay_p50_ms", "delay_p99_ms", "gemm_peak_gflops")


@pytest.fixture(scope="module")
def quick_run(tiny_bundle, tmp_path_factory):
    """A function that runs a part of it and returns the exit code, the figures and the report's folder."""

    def quick_run(what):
        folder = tmp_path_factory.mktemp(what)
        arguments = ["--bundle", tiny_bundle.folder, "--data", folder, "--peers", folder, "--out", folder / "report"]
        code = run_command(["bench", what, "--quick", "--json", f"{folder}/found.json", *map(str, arguments)])
        return code, json.loads((folder / "found.json").read_text()), folder / "report"

    return quick_run


@pytest.fixture(scope="module")
def everything(quick_run):
    return quick_run("all")


@pytest.mark.slow
def test_all_parts_run_and_the_promised_keys_are_there(everything):
    code, found, _ = everything
    assert code == 0
    assert set(KEYS) <= set(found)
    assert all(found[key] > 0 for key in MEASURED)
    assert found["hop_ms"] == 40
    assert found["mflop_per_audio_second"] is None, "the tiny bundle has no card"
    assert {"streams", "latency", "step", "memory", "gpu"} <= set(found)


def test_a_hops_time_is_made_up_of_its_stages(everything):
    for run in everything[1]["streams"]["runs"]:
        assert set(run["stages_us"]) == set(STAGES)
        assert sum(run["stages_us"].values()) == pytest.approx(run["us_per_stream_hop"]["median"], abs=0.1)
        assert 0 < run["outside_model"] < 1


def test_in_real_time_all_that_was_sent_is_accounted_for(everything):
    (trial,) = everything[1]["streams"]["real_time"]["trials"]
    assert trial["samples_sent"] == trial["samples_analysed"] > 0
    assert trial["epochs"] >= trial["streams"]


def test_events_reach_the_subscriber_after_the_engine_decided(everything):
    (run,) = everything[1]["latency"]["runs"]
    assert run["events"] > 0
    assert 0 < run["engine_p50_ms"] < run["delay_p50_ms"] <= run["delay_p99_ms"]


def test_the_step_is_measured_for_every_batch_and_hop(everything):
    runs = everything[1]["step"]["runs"]
    assert [(run["batch"], run["hops"]) for run in runs] == [(b, h) for b in (1, 4) for h in (1, 2, 5)]


def test_memory_counts_the_bundles_states(everything):
    memory = everything[1]["memory"]
    assert memory["state_bytes_a_row"] == 4 * (64 + 4)
    assert memory["tail_bytes_a_row"] == 4 * (512 - 320)
    assert [run["streams"] for run in memory["runs"]] == [0, 4, 8]


def test_each_peer_is_measured_or_says_what_it_lacks(everything):
    peers = {peer["name"]: peer for peer in everything[1]["peers"]}
    assert all({"name", "hop_ms", "streams_per_core"} <= set(peer) for peer in peers.values())
    assert all((peer["streams_per_core"] is None) == ("absent" in peer) for peer in peers.values())
    absent = {name for name, peer in peers.items() if "absent" in peer}
    assert absent == {
        "YAMNet, TFLite, its own hop",
        "YAMNet, TFLite, every 100 ms",
        "openWakeWord, its features",
    }, "only what is not on PyPI"
    assert "expected yamnet.tflite" in peers["YAMNet, TFLite, every 100 ms"]["absent"]


def test_the_report_has_figures_and_pictures(everything):
    _, found, report = everything
    text = (report / "report.md").read_text()
    assert json.loads((report / "figures.json").read_text()) == found
    for picture in ("stages.png", "delay.png", "step.png", "peers.png"):
        assert f"({picture})" in text
        assert (report / picture).read_bytes().startswith(b"\x89PNG")
    assert "These figures mean little." in text
    assert "| openWakeWord, its features | 80 | – | – | absent: " in text  # noqa: RUF001 -- what the report has


def test_one_part_measures_that_alone(quick_run):
    code, found, _ = quick_run("step")
    assert code == 0
    assert not {"streams", "latency", "memory", "gpu"} & set(found)
    assert set(KEYS) <= set(found)
    assert (found["streams_per_core"], found["delay_p50_ms"], found["peers"]) == (None, None, [])


def test_without_a_gpu_it_says_so(quick_run):
    code, found, report = quick_run("gpu")
    assert code == 0
    if found["gpu"]["measured"]:
        pytest.skip("this machine has a GPU")
    assert "Not measured: no GPU that can be used" in (report / "report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fast"], "'fast'"),
        (["step", "--bundle", "nowhere"], "got 'nowhere'"),
        (["step", "--fast"], "--fast"),
    ],
)
def test_mistakes_are_one_line(arguments, words, capsys):
    assert run_command(["bench", "--quick", *arguments]) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith("earmark: error: ")
    assert words in err


def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run_command(["bench", "--json", str(tmp_path / "none" / "found.json")]) == 2
    assert run_command(["bench", "--json", str(tmp_path)]) == 2
    assert run_command(["bench", "--out", str(tmp_path / "file" / "report")]) == 2
    err = capsys.readouterr().err
    assert err.count("earmark: error: expected to write to ") == 3
    assert "measuring" not in err


def test_without_matplotlib_only_the_report_is_refused(monkeypatch, tmp_path, tiny_bundle, capsys):
    real = extras.import_module

    def missing(name):
        if name == "earmark.benchmark.plots":
            raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
        return real(name)

    monkeypatch.setattr(extras, "import_module", missing)
    arguments = ["bench", "step", "--quick", "--bundle", str(tiny_bundle.folder)]
    assert run_command([*arguments, "--out", str(tmp_path)]) == 2
    assert "'matplotlib'" in (err := capsys.readouterr().err)
    assert "pip install 'earmark[evaluate]'" in err
    assert run_command(arguments) == 0


def test_what_it_measures_of_us_needs_the_run_time_only():
    extra = ("ai_edge_litert", "jinja2", "librosa", "matplotlib", "onnx", "silero_vad", "sklearn", "torch")
    code = (
        f"import sys, earmark.benchmark.run, earmark.benchmark.report; sys.exit(len(sys.modules.keys() & set({extra})))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_a_function_runs_on_its_core_and_its_errors_come_back():
    cores, before = Cores.choose(), os.sched_getaffinity(0)
    assert {cores.measured, cores.load} <= before
    assert on_core(cores.measured, os.sched_getaffinity, 0) == {cores.measured}
    with pytest.raises(ValueError, match="invalid literal"):
        on_core(cores.load, int, "none")
    with pinned(cores.load):
        assert os.sched_getaffinity(0) == {cores.load}
    assert os.sched_getaffinity(0) == before


def test_stages_are_counted_apart():
    clock = StageClock()

    class Work:
        def do(self):
            return cpu_seconds_a_call(lambda: sum(range(1000)), 0.01)

    clock.wrap(Work, "do", "smooth")
    with clock("all"):
        Work().do()
    split = clock.split()
    assert split["smooth"] >= 0.01
    assert sum(split.values()) == pytest.approx(clock.seconds["all"])
    assert split["rest"] >= 0


def test_a_table_is_markdown():
    assert markdown(Table(("a", "b"), [(1, "x")])) == "| a | b |\n| --- | --- |\n| 1 | x |"
