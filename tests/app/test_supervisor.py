"""The supervisor with real child processes that live, die and sleep as told."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from earmark.app.child import Child
from earmark.app.supervisor import Backoff, Patience, Supervisor
from earmark.contracts.errors import ConfigError
from earmark.telemetry.metrics import REGISTRY
from tests.app.traces import Diary
from tests.support.waiting import DEADLINE_S, is_running, wait_for

FAKE = Path(__file__).with_name("fake_child.py")
QUICK = Patience(
    liveness_s=DEADLINE_S,
    start_s=DEADLINE_S,
    stop_s=DEADLINE_S,
    drain_s=DEADLINE_S,
    first_retry_s=0.01,
    longest_retry_s=0.02,
)
STEADY = ("ready", "beat")
ALL = {"streamer": STEADY, "engine": STEADY, "publishers": STEADY}


class Running:
    """A supervisor in a thread."""

    def __init__(
        self, diary: Diary, stop: threading.Event, children: dict[str, tuple[str, ...]], **options: object
    ) -> None:
        commands = {
            name: (sys.executable, str(FAKE), str(diary.path), name, *words) for name, words in children.items()
        }
        self.ready = threading.Event()
        self.code: int | None = None
        self.supervisor = Supervisor(commands, **{"patience": QUICK, "on_ready": self.ready.set, **options})  # type: ignore[arg-type]
        self._stop = stop
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.code = self.supervisor.run(self._stop)

    def join(self) -> int | None:
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "the supervisor did not end"
        return self.code


@pytest.fixture
def run(diary: Diary, stop: threading.Event) -> Iterator[Callable[..., Running]]:
    runs: list[Running] = []

    def start(children: dict[str, tuple[str, ...]], **options: object) -> Running:
        runs.append(Running(diary, stop, children, **options))
        return runs[-1]

    yield start
    stop.set()
    for running in runs:
        running.join()


def restarts(name: str) -> float:
    return REGISTRY.get_sample_value("earmark_process_restarts_total", {"process": name}) or 0.0


def test_children_end_in_order(run, diary, stop):
    running = run({"streamer": STEADY, "engine": STEADY, "publishers": STEADY})
    assert running.ready.wait(DEADLINE_S)
    stop.set()
    assert running.join() == 0
    ended = [line for line in diary.lines if line.endswith("terminated")]
    assert ended == ["streamer terminated", "engine terminated", "publishers terminated"]


def test_dead_child_is_started_again(run, diary):
    before = restarts("engine")
    running = run({"streamer": STEADY, "engine": STEADY})
    assert running.ready.wait(DEADLINE_S)
    os.kill(running.supervisor.pids["engine"], signal.SIGKILL)
    wait_for(lambda: diary.count("engine ready") == 2, "the engine's second process")
    assert diary.count("streamer started") == 1
    assert restarts("engine") == before + 1


def test_child_that_dies_at_once_is_tried_again(run, diary):
    run({"engine": ("first:exit-1", *STEADY)})
    wait_for(lambda: diary.count("engine ready") == 1, "the engine's second process")
    assert diary.count("engine started") == 2


def test_sleeper_is_killed_then_started_again(run, diary):
    running = run({"engine": STEADY}, patience=replace(QUICK, liveness_s=1.0))
    assert running.ready.wait(DEADLINE_S)
    sleeper = running.supervisor.pids["engine"]
    os.kill(sleeper, signal.SIGSTOP)
    wait_for(lambda: diary.count("engine ready") == 2, "the engine's second process")
    assert not is_running(sleeper)
    assert diary.count("engine terminated") == 0, "a sleeper cannot be asked to end"


def test_child_that_hangs_before_it_is_ready_is_killed(run, diary):
    now_s = [0.0]
    running = run({"engine": ("first:silent", *STEADY)}, clock=lambda: now_s[0])
    wait_for(lambda: diary.count("engine started") == 1, "the engine's first process")
    silent = running.supervisor.pids["engine"]
    now_s[0] += QUICK.start_s
    wait_for(lambda: not is_running(silent), "the end of the silent process")
    now_s[0] += QUICK.longest_retry_s
    wait_for(lambda: diary.count("engine ready") == 1, "the engine's second process")


def test_unusable_configuration_ends_everything(run, diary):
    running = run({"streamer": STEADY, "engine": ("exit-2",), "publishers": STEADY})
    assert running.join() == 2
    assert diary.count("engine started") == 1
    assert not running.supervisor.pids


def test_exit_2_of_a_child_that_was_ready_is_a_death_like_any(run, diary):
    run({"engine": ("ready", "first:exit-2", "beat")})
    wait_for(lambda: diary.count("engine ready") == 2, "the engine's second process")


def test_source_that_breaks_off_drains_the_rest_and_is_told(run, diary, tmp_path):
    broken = tmp_path / "broken"
    running = run({"streamer": ("ready", f"await-{broken}", "exit-2"), "engine": STEADY, "publishers": STEADY})
    assert running.ready.wait(DEADLINE_S)
    broken.touch()
    assert running.join() == 2
    assert diary.count("streamer started") == 1
    assert diary.lines[-1] == "publishers terminated"


def test_end_of_the_streamer_drains_the_rest(run, diary, tmp_path):
    heard, told = tmp_path / "heard", threading.Event()
    asked = threading.Event()

    def is_drained() -> bool:
        asked.set()
        return told.is_set()

    children = {"streamer": ("ready", f"await-{heard}", "exit-0"), "engine": STEADY, "publishers": STEADY}
    running = run(children, is_drained=is_drained)
    assert running.ready.wait(DEADLINE_S)
    heard.touch()
    assert asked.wait(DEADLINE_S)
    assert diary.count("engine terminated") == 1, "the engine has nothing left to do"
    assert diary.count("publishers terminated") == 0, "the publishers have"
    told.set()
    assert running.join() == 0
    assert diary.lines[-1] == "publishers terminated"
    assert diary.count("streamer started") == 1


def test_publishers_that_die_while_they_drain_are_started_again(run, diary, tmp_path):
    heard, told = tmp_path / "heard", threading.Event()
    children = {"streamer": ("ready", f"await-{heard}", "exit-0"), "engine": STEADY, "publishers": STEADY}
    running = run(children, is_drained=told.is_set)
    assert running.ready.wait(DEADLINE_S)
    heard.touch()
    wait_for(lambda: diary.count("engine terminated") == 1, "the drain")
    os.kill(running.supervisor.pids["publishers"], signal.SIGKILL)
    wait_for(lambda: diary.count("publishers ready") == 2, "the publishers' second process")
    told.set()
    assert running.join() == 0


def test_drain_has_a_deadline(run):
    impatient = Patience(drain_s=0.05)
    children = {"streamer": ("ready", "exit-0"), "publishers": STEADY}
    assert run(children, is_drained=lambda: False, patience=impatient).join() == 0


def test_child_that_ignores_sigterm_is_killed(run, diary, stop):
    running = run({"engine": ("deaf", *STEADY)}, patience=Patience(stop_s=4.0))
    assert running.ready.wait(DEADLINE_S)
    pid = running.supervisor.pids["engine"]
    stop.set()
    assert running.join() == 4
    assert diary.count("engine deaf") == 1
    assert not is_running(pid)


def test_no_orphans_when_the_supervisor_is_killed(diary):
    script = (
        "import sys, threading\n"
        "from earmark.app.process import Signals\n"
        "from earmark.app.supervisor import Supervisor\n"
        "names = ('streamer', 'engine')\n"
        "command = lambda name: (sys.executable, *sys.argv[1:], name, 'ready', 'beat')\n"
        "Supervisor({name: command(name) for name in names}).run(Signals())\n"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", script, str(FAKE), str(diary.path)])
    try:
        wait_for(lambda: diary.count("streamer ready") == diary.count("engine ready") == 1, "both children")
    finally:
        supervisor.kill()
        supervisor.wait(DEADLINE_S)
    pids = [int(line.rpartition(" ")[2]) for line in diary.lines if " pid " in line]
    wait_for(lambda: not any(is_running(pid) for pid in pids), "the children's end")


def test_a_stopped_child_ends_with_a_supervisor_that_is_killed(diary):
    """It reads nothing while it is stopped: the kernel has to continue it."""
    script = (
        "import sys\n"
        "from earmark.app.process import Signals\n"
        "from earmark.app.supervisor import Supervisor\n"
        "Supervisor({'engine': (sys.executable, *sys.argv[1:], 'engine', 'ready', 'beat')}).run(Signals())\n"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", script, str(FAKE), str(diary.path)])
    try:
        wait_for(lambda: diary.count("engine ready") == 1, "the child")
        (pid,) = [int(line.rpartition(" ")[2]) for line in diary.lines if " pid " in line]
        os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", "it to stop")
    finally:
        supervisor.kill()
        supervisor.wait(DEADLINE_S)
    wait_for(lambda: not is_running(pid), "the child's end")
    assert diary.count("engine terminated") == 1, "it ends as if it had been told to"


def test_nobody_can_delete_what_children_talk_through(run, diary, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    running = run({"engine": STEADY}, patience=replace(QUICK, liveness_s=2.0))
    assert running.ready.wait(DEADLINE_S)
    assert list((tmp_path / "temporary").iterdir()) == []
    (tmp_path / "temporary").rmdir()
    os.kill(running.supervisor.pids["engine"], signal.SIGKILL)
    wait_for(lambda: diary.count("engine ready") == 2, "it to start again")


def test_a_child_whose_address_is_not_there_yet_is_tried_however_often(run, diary):
    running = run({"engine": ("exit-75",)}, patience=replace(QUICK, restart_limit=2))
    wait_for(lambda: diary.count("engine exits") >= 5, "many attempts")
    assert running.code is None


def test_child_that_never_works_ends_everything(run, diary):
    running = run(
        {"streamer": STEADY, "engine": ("exit-1",), "publishers": STEADY},
        patience=replace(QUICK, restart_limit=3),
    )
    assert running.join() == 3
    assert diary.count("engine started") == 3
    assert not running.supervisor.pids


def test_child_that_worked_well_is_tried_for_ever(run, diary):
    run({"engine": ("ready", "exit-1")}, patience=replace(QUICK, restart_limit=2, well_s=0.0))
    wait_for(lambda: diary.count("engine ready") == 4, "the engine's fourth process")


def test_a_stopped_child_is_killed_at_the_end_and_the_others_end_in_peace(run, diary, stop):
    running = run({"streamer": STEADY, "engine": STEADY, "publishers": STEADY}, patience=Patience(stop_s=6.0))
    assert running.ready.wait(DEADLINE_S)
    pids = running.supervisor.pids
    os.kill(pids["streamer"], signal.SIGSTOP)
    stop.set()
    assert running.join() == 4
    assert not any(map(is_running, pids.values()))
    assert diary.count("streamer terminated") == 0


def test_asked_twice_it_kills_at_once(run, diary, stop):
    running = run({"engine": ("deaf", *STEADY)})
    assert running.ready.wait(DEADLINE_S)
    pid = running.supervisor.pids["engine"]
    stop.set()
    wait_for(lambda: diary.count("engine deaf") == 1, "the first request")
    stop.at_once = True
    assert running.join() == 4
    assert not is_running(pid)


def test_the_end_waits_until_the_publishers_have_told(run, diary, stop):
    told = threading.Event()
    running = run({"streamer": STEADY, "engine": STEADY, "publishers": STEADY}, is_drained=told.is_set)
    assert running.ready.wait(DEADLINE_S)
    stop.set()
    wait_for(lambda: diary.count("engine terminated") == 1, "the engine's end")
    assert diary.count("publishers terminated") == 0
    told.set()
    assert running.join() == 0


class Config:
    """A configuration that is good unless it is told otherwise, and what was done with it."""

    def __init__(self) -> None:
        self.error: ConfigError | None = None
        self.done: list[str] = []

    def renew(self) -> None:
        if self.error is not None:
            raise self.error
        self.done.append("renew")

    def keep(self) -> None:
        self.done.append("keep")

    def undo(self) -> None:
        self.done.append("undo")


class TestReload:
    @staticmethod
    def refused() -> float:
        return REGISTRY.get_sample_value("earmark_reloads_total", {"process": "supervisor", "result": "refused"}) or 0.0

    def test_children_take_it_over_from_the_last_to_the_first(self, run, diary, stop):
        config = Config()
        running = run(ALL, config=config)
        assert running.ready.wait(DEADLINE_S)
        stop.reload = True
        wait_for(lambda: config.done == ["renew", "keep"], "the reload")
        order = [line for line in diary.lines if line.endswith("reloads")]
        assert order == ["publishers reloads", "engine reloads", "streamer reloads"]
        assert not stop.reload

    @pytest.mark.parametrize("error", [ConfigError("expected something else"), PermissionError(13, "no", "/locked/a")])
    def test_a_bad_file_reaches_no_child(self, run, diary, stop, error):
        config, before = Config(), self.refused()
        config.error = error
        running = run(ALL, config=config)
        assert running.ready.wait(DEADLINE_S)
        stop.reload = True
        wait_for(lambda: self.refused() == before + 1, "the refusal")
        assert config.done == []
        assert not any(line.endswith("reloads") for line in diary.lines)

    def test_what_a_child_refuses_is_taken_back_from_the_others(self, run, diary, stop):
        config, before = Config(), self.refused()
        Path(f"{diary.path}.engine").touch()
        running = run(ALL, config=config)
        assert running.ready.wait(DEADLINE_S)
        stop.reload = True
        wait_for(lambda: self.refused() == before + 1, "the refusal")
        assert config.done == ["renew", "undo"]
        heard = [line for line in diary.lines if line.endswith(("reloads", "refuses"))]
        assert heard == ["publishers reloads", "engine refuses", "publishers reloads"]

    def test_a_child_that_sleeps_is_started_with_it(self, run, diary, stop):
        config = Config()
        running = run(ALL, config=config, patience=replace(QUICK, liveness_s=5.0))
        assert running.ready.wait(DEADLINE_S)
        os.kill(running.supervisor.pids["engine"], signal.SIGSTOP)
        stop.reload = True
        wait_for(lambda: config.done == ["renew", "keep"], "the reload")
        assert diary.count("engine reloads") == 0
        wait_for(lambda: diary.count("engine ready") == 2, "the engine's second process")

    def test_a_child_that_does_not_go_back_is_started_again(self, run, diary, stop):
        config, before = Config(), self.refused()
        for name in ("engine", "publishers.again"):
            Path(f"{diary.path}.{name}").touch()
        running = run(ALL, config=config)
        assert running.ready.wait(DEADLINE_S)
        stop.reload = True
        wait_for(lambda: self.refused() == before + 1, "the refusal")
        wait_for(lambda: diary.count("publishers ready") == 2, "the publishers' second process")
        assert diary.count("engine ready") == diary.count("streamer ready") == 1


def test_a_child_that_cannot_be_started_now_is_tried_again(run, diary, monkeypatch):
    running = run(ALL)
    assert running.ready.wait(DEADLINE_S)
    start, failures = Child.start, iter([OSError(errno.EAGAIN, "Resource temporarily unavailable")] * 3)

    def start_or_fail(child: Child) -> None:
        if (failure := next(failures, None)) is not None:
            raise failure
        start(child)

    monkeypatch.setattr(Child, "start", start_or_fail)
    os.kill(running.supervisor.pids["engine"], signal.SIGKILL)
    wait_for(lambda: diary.count("engine ready") == 2, "the engine's second process")
    assert next(failures, None) is None


class TestBackoff:
    def test_grows_to_its_limit(self):
        backoff = Backoff(Patience(first_retry_s=1, longest_retry_s=5), chance=lambda: 0.0)
        assert [backoff.delay_s(0) for _ in range(5)] == [1, 2, 4, 5, 5]

    def test_forgets_once_a_child_ran_well(self):
        backoff = Backoff(Patience(first_retry_s=1, well_s=30), chance=lambda: 0.0)
        assert [backoff.delay_s(ran_s) for ran_s in (0, 29, 30, 1)] == [1, 2, 1, 2]

    def test_jitter_takes_up_to_a_half(self):
        for chance, expected in ((0.0, 1.0), (0.5, 0.75), (1.0, 0.5)):
            assert Backoff(Patience(first_retry_s=1), chance=lambda c=chance: c).delay_s(0) == expected


def test_clock_decides_when_a_silent_child_sleeps(run, diary):
    now_s = [0.0]
    running = run({"engine": ("ready", "first:silent", "beat")}, clock=lambda: now_s[0], patience=Patience())
    assert running.ready.wait(DEADLINE_S)
    silent = running.supervisor.pids["engine"]
    now_s[0] += Patience().liveness_s
    wait_for(lambda: not is_running(silent), "the end of the silent process")
    assert diary.count("engine started") == 1, "its back-off has not passed"
    now_s[0] += Patience().first_retry_s
    wait_for(lambda: diary.count("engine ready") == 2, "the restart")
