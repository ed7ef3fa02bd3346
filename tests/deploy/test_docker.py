"""What the containers are built from and started with. That they run is not tested: it wants a Docker daemon."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from earmark.app.load import load_service
from earmark.telemetry.config import TelemetryConfig
from earmark.telemetry.health import Health
from earmark.telemetry.server import TelemetryServer
from tests.deploy.tools import DEPLOY, ROOT

DOCKER = DEPLOY / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())


def test_compose_follows_its_schema():
    command = [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    told = subprocess.run([*command, DOCKER / "compose.yaml"], capture_output=True, text=True, check=False, timeout=60)
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_container_is_locked_up_and_seen_on_this_machine_alone(name):
    service = COMPOSE["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert name == "earmark" or re.search(r":v?\d+\.\d+\.\d+$", service["image"])


def test_passwords_are_files():
    assert all(list(secret) == ["file"] for secret in COMPOSE["secrets"].values())
    used = {secret for service in COMPOSE["services"].values() for secret in service.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])
    for service in COMPOSE["services"].values():
        assert all(key.endswith("__FILE") for key in service.get("environment", {}))
    for kept in ("secrets/mqtt_password", "earmark.env"):
        ignored = subprocess.run(
            ["git", "check-ignore", "--no-index", f"deploy/docker/{kept}"], cwd=ROOT, check=False, capture_output=True
        )
        assert ignored.returncode == 0, kept


def test_the_configuration_gets_its_variables_from_a_file_that_need_not_be_there():
    assert COMPOSE["services"]["earmark"]["env_file"] == [{"path": "earmark.env", "required": False}]


def test_what_is_mounted_is_there():
    mounts = [mount for service in COMPOSE["services"].values() for mount in service["volumes"] if mount[0] == "."]
    assert len(mounts) > 3
    for mount in mounts:
        assert (DOCKER / mount.partition(":")[0]).exists()


def test_the_services_configuration_is_seen_by_the_others():
    config = load_service(DOCKER / "earmark.yaml", {}).config
    targets = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())["scrape_configs"][0]
    ports = {target.rpartition(":")[2] for target in targets["static_configs"][0]["targets"]}
    assert ports == {bind.rpartition(":")[2] for bind in _telemetry(config.telemetry)}


def _telemetry(telemetry: TelemetryConfig) -> list[str]:
    return [telemetry.supervisor, telemetry.streamer, telemetry.engine, telemetry.publishers]


def _copy_folder(source: Path, to: Path) -> None:
    """But for bytecode, which other tests may be writing."""
    shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__"))


def test_the_image_has_all_that_the_package_is_built_from(tmp_path):
    source = tmp_path / "src"
    for name in re.findall(r"^!(.+)$", (DOCKER / "Dockerfile.dockerignore").read_text(), re.MULTILINE):
        path = ROOT / name
        copy = _copy_folder if path.is_dir() else shutil.copy
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        copy(path, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", tmp_path, source], check=True, timeout=100)
    (wheel,) = tmp_path.glob("*.whl")
    held = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {"earmark", "streamer", "engine", "publishers"} <= held


def test_the_lock_says_what_the_constraints_say_and_has_a_hash_of_everything():
    """`make lock` writes it."""
    entries = re.findall(r"^([\w.-]+)==(\S+)(.*(?:\n    .*)*)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    versions = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pinned.items()}
    known = {name for name, _, _ in entries if name in versions}
    assert {"pyzmq", "onnxruntime", "fastapi", "pyaudio", "apprise"} <= known
    assert all(versions.get(name, version) == version for name, version, _ in entries)
    assert all("--hash=sha256:" in rest for _, _, rest in entries)


class TestHealthcheck:
    def check(self, *ports: int):
        command = [sys.executable, DOCKER / "healthcheck.py", *map(str, ports)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

    def test_it_asks_the_ports_that_there_are(self):
        asked = re.findall(r'"(77\d\d)"', (DOCKER / "Dockerfile").read_text())
        assert asked == [bind.rpartition(":")[2] for bind in _telemetry(TelemetryConfig())]

    def test_all_must_be_healthy(self):
        stale = Health(stale_after_s=0.0)
        with TelemetryServer("127.0.0.1:0", Health()) as good, TelemetryServer("127.0.0.1:0", stale) as bad:
            assert self.check(good.port).returncode == 0
            told = self.check(good.port, bad.port)
            assert told.returncode == 1
            assert '"healthy": false' in told.stderr
        assert self.check(good.port).returncode == 1
