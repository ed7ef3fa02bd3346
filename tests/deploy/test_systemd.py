"""The units are what systemd takes, start what there is, and are locked up alike."""

import re

import pytest

from earmark.app.config import SupervisorConfig
from tests.deploy.tools import DEPLOY, run_tool

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMMANDS = {
    "earmark": "run",
    "earmark-streamer": "stream",
    "earmark-engine": "engine",
    "earmark-publishers": "publish",
}
MOST_EXPOSED = 20
"""In tenths, as `systemd-analyze security` counts from 0 to 100."""


@pytest.fixture(params=UNITS, ids=lambda unit: unit.stem)
def unit(request, tmp_path):
    """A unit whose program exists here."""
    path = tmp_path / request.param.name
    path.write_text(request.param.read_text().replace("/opt/earmark/bin/earmark", "/bin/true"))
    return path


def systemd_analyze(*arguments: object):
    told = run_tool("systemd-analyze", *arguments, package="systemd")
    return told.returncode, told.stdout + told.stderr


def test_systemd_takes_it(unit):
    code, told = systemd_analyze("verify", unit)
    assert (code, told) == (0, "")


def test_it_is_locked_up(unit):
    code, told = systemd_analyze("security", "--offline=yes", f"--threshold={MOST_EXPOSED}", "--no-pager", unit)
    assert code == 0, told


def settings(name: str) -> list[str]:
    return (DEPLOY / "systemd" / f"{name}.service").read_text().splitlines()


def test_there_is_a_unit_for_the_service_and_for_each_process():
    assert {unit.stem for unit in UNITS} == set(COMMANDS)


@pytest.mark.parametrize(("name", "command"), COMMANDS.items())
def test_it_starts_the_command(name, command):
    assert f"ExecStart=/opt/earmark/bin/earmark {command} /etc/earmark/earmark.yaml" in settings(name)
    assert "Type=notify" in settings(name)
    assert "ExecReload=/bin/kill -HUP $MAINPID" in settings(name)


def test_all_are_locked_up_alike():
    begin = "# What it may not do."
    own = {"DeviceAllow", "SupplementaryGroups", "PrivateDevices"}
    locks = {
        name: [line for line in settings(name)[settings(name).index(begin) :] if line.partition("=")[0] not in own]
        for name in COMMANDS
    }
    assert all(lock == locks["earmark"] for lock in locks.values())
    assert not any("ProcSubset" in line for line in locks["earmark"]), "ONNX Runtime reads /proc/cpuinfo"


def test_the_service_has_time_to_end_its_processes():
    (stop,) = (line for line in settings("earmark") if line.startswith("TimeoutStopSec="))
    assert int(re.sub(r"\D", "", stop)) > SupervisorConfig().stop_s
