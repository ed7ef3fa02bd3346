"""The whole service with every secret that it can have, over encrypted links: what it shows, and to whom."""

import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from benchmarks.measuring import read_page, read_values, wait_until
from earmark.app.child import earmark_command
from earmark.app.config import ServiceConfig
from tests.support.audio import tones
from tests.support.keys import Keys
from tests.support.ports import free_address
from tests.support.waiting import DEADLINE_S
from tests.system.processes import Machine, running

ROOT = Path(__file__).parents[2]
CANARY = "CANARYcanaryCANARYcanary"
SECRETS = {
    ("HttpConfig", "token"),
    ("HttpConfig", "password"),
    ("MqttConfig", "password"),
    ("NotifyConfig", "urls"),
    ("WebhookConfig", "url"),
    ("WebhookConfig", "headers"),
    ("WebhookConfig", "secret"),
}
"""Every secret of the configuration. A new one belongs here and into `secretive`."""


def holds_secret(schema: object) -> bool:
    if isinstance(schema, dict):
        return schema.get("format") == "password" or any(map(holds_secret, schema.values()))
    return isinstance(schema, list) and any(map(holds_secret, schema))


def test_no_secret_is_missing_here():
    sections = ServiceConfig.model_json_schema()["$defs"].items()
    found = {
        (name, key)
        for name, section in sections
        for key in section.get("properties", {})
        if holds_secret(section["properties"][key])
    }
    assert found == SECRETS


def secretive(machine: Machine, keys: Keys) -> None:
    """Give the machine's configuration every secret, and nobody at the other end of most of them."""
    document = yaml.safe_load(machine.config.read_text())
    pi = keys.client("pi", streams=("gate", "camera"))
    nobody = free_address().removeprefix("tcp://")
    document["streams"]["camera"] = {"source": "url", "url": f"rtsp://user:p@{CANARY}@{nobody}/live?password={CANARY}"}
    document["streamer"]["curve"] = {"key_file": str(pi.key_file), "server_key_file": str(pi.server_key_file)}
    curve = {"key_file": str(keys.server.key_file), "allow_file": str(keys.server.allow_file)}
    document["engine"]["curve"] = document["publishers"]["zeromq"]["curve"] = curve
    document["publishers"] |= {
        "http": {"bind": free_address().removeprefix("tcp://"), "token": CANARY, "password": CANARY},
        "jsonl": {"path": str(machine.folder / "lines" / "events.jsonl")},
        "mqtt": {
            "host": "127.0.0.1",
            "port": int(nobody.rpartition(":")[2]),
            "username": "u",
            "password": CANARY,
            "insecure": True,
        },
        "webhooks": {
            "ops": {
                "url": f"http://u:{CANARY}@{nobody}/{CANARY}?t={CANARY}",
                "headers": {"X-Key": CANARY},
                "secret": CANARY,
                "max_attempts": 1,
            }
        },
        "notifications": {"phone": {"urls": [f"json://u:{CANARY}@{nobody}/{CANARY}"]}},
    }
    document["outbox"]["path"] = str(machine.folder / "state" / "outbox.db")
    machine.config.write_text(yaml.safe_dump(document))
    machine.page = document["publishers"]["http"]["bind"]


def tell(*arguments: object) -> str:
    told = subprocess.run(
        earmark_command(*map(str, arguments)), capture_output=True, text=True, check=False, timeout=DEADLINE_S
    )
    return told.stdout + told.stderr


@pytest.mark.slow
def test_a_service_keeps_its_secrets_and_its_files_to_itself(tmp_path, tiny_bundle):
    keys = Keys(tmp_path / "keys")
    with running(tmp_path, {"gate": {"source": "stdin"}}, bundle=tiny_bundle.folder) as machine:
        secretive(machine, keys)
        ann = keys.client("ann", events=True)
        subscriber = machine.subscribe(
            "--since", "0", "--key-file", str(ann.key_file), "--server-key-file", str(ann.server_key_file)
        )
        shown = [tell("config", what, machine.config) for what in ("check", "print")]
        with (tmp_path / "log").open("wb") as log:
            command = earmark_command("run", str(machine.config))
            service = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, umask=0)
        try:
            for name, address in machine.telemetry.items():
                wait_until(lambda address=address: read_page(address, "readyz")[0] == 200, f"{name} to be ready")
            service.stdin.write(tones(7, 6).astype("<i2").tobytes())
            service.stdin.flush()
            subscriber.wait_for(lambda events: len(events) >= 2)
            wait_until(lambda: told_by(machine, "earmark_sink_dead_letters_total"), "a dead letter")
            wait_until(lambda: told_by(machine, "earmark_sink_failures_total", sink="mqtt"), "the broker to be missed")
            shown += [read_page(address, "metrics")[1] for address in machine.telemetry.values()]
            shown += [page(machine, path) for path in ("metrics", "api/v1/config", "api/v1/streams", "nowhere")]
        finally:
            service.stdin.close()
            service.terminate()
            service.wait(DEADLINE_S)
        shown.append((tmp_path / "log").read_text())
        private = {key.read_text().split()[1] for key in keys.folder.glob("*.key")}
        assert len(private) == 3
        assert not [line for text in shown for line in text.splitlines() if CANARY in line]
        assert not [secret for secret in private for text in shown if secret in text]
        files = [*(tmp_path / "state").rglob("*"), *(tmp_path / "lines").rglob("*"), *keys.folder.glob("*.key")]
        assert {file.name for file in files} >= {
            "outbox.db",
            "outbox.db.cursors",
            "outbox.db.deadletters",
            "events.jsonl",
        }
        assert not [file for file in files if stat.S_IMODE(file.stat().st_mode) & 0o077]


def told_by(machine: Machine, metric: str, **labels: str) -> bool:
    return sum(read_values(machine.telemetry["publishers"], metric, **labels)) > 0


def page(machine: Machine, path: str) -> str:
    answer = httpx.get(
        f"http://{machine.page}/{path}", headers={"Authorization": f"Bearer {CANARY}"}, timeout=DEADLINE_S
    )
    return answer.text + str(answer.headers)


def test_nothing_at_run_time_unpickles_evaluates_or_starts_a_shell():
    """No exception is made: comments that silence the linter do not count."""
    rules = "S102,S301,S302,S307,S506,S602,S604,S605,S609"
    packages = [ROOT / name for name in ("earmark", "engine", "publishers", "streamer")]
    command = [Path(sys.executable).with_name("ruff"), "check", "--isolated", "--ignore-noqa", "--select", rules]
    told = subprocess.run([*command, *packages], capture_output=True, text=True, check=False, timeout=DEADLINE_S)
    assert told.returncode == 0, told.stdout + told.stderr
