"""``earmark keys``: what lies where afterwards, and what it refuses."""

import os
import stat

import pytest
import zmq

from earmark.app.cli import run_command
from earmark.contracts.curve import read_public_key, read_secret_key
from earmark.contracts.errors import ConfigError
from earmark.links.allowed import read_allow_list


@pytest.fixture
def keys(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def keys(*arguments: str) -> tuple[int, str]:
        code = run_command(["keys", *arguments])
        told = capsys.readouterr()
        return code, told.out + told.err

    return keys


def test_a_pair_is_made_once_and_the_secret_is_its_owners(keys, tmp_path):
    assert keys("new", "pi") == (0, "pi.key: keep it secret\npi.pub: for whoever shall know this one\n")
    secret, public = read_secret_key(tmp_path / "pi.key"), read_public_key(tmp_path / "pi.pub")
    assert zmq.curve_public(secret) == public
    assert stat.S_IMODE((tmp_path / "pi.key").stat().st_mode) == 0o600
    code, told = keys("new", "pi")
    assert (code, "expected no such file yet" in told) == (2, True)
    assert read_secret_key(tmp_path / "pi.key") == secret
    assert keys("new", "../pi")[0] == 2


def test_allow_list_and_revoke(keys, tmp_path):
    for name in ("pi", "ann"):
        keys("new", name)
    assert keys("allow", "pi.pub", "--streams", "gate, yard-*") == (0, "pi may send gate, yard-*\n")
    (tmp_path / "allow.yaml").chmod(0o640)
    key = read_public_key(tmp_path / "ann.pub").decode()
    assert keys("allow", "--name", "ann", "--events", "--", key) == (0, "ann may hear of events\n")
    assert stat.S_IMODE((tmp_path / "allow.yaml").stat().st_mode) == 0o640
    code, told = keys("list")
    assert code == 0
    assert told.splitlines()[1] == f"{key}  ann may hear of events"
    clients = read_allow_list(tmp_path / "allow.yaml").clients
    assert [clients["pi"].may_send(name) for name in ("gate", "yard-2", "yard", "gate-2")] == [True, True, False, False]
    assert keys("revoke", "pi")[0] == keys("revoke", "ann.pub")[0] == 0
    assert keys("list") == (0, "no keys\n")


def test_who_could_read_the_list_can_read_it_after_a_change(keys, tmp_path):
    """The service, say, whatever the umask and group of whoever revokes a key: else it would go on with the old one."""
    keys("new", "pi")
    before = os.umask(0o077)
    try:
        keys("allow", "pi.pub", "--events")
        assert stat.S_IMODE((tmp_path / "allow.yaml").stat().st_mode) == 0o644
        if os.geteuid() == 0:
            os.chown(tmp_path / "allow.yaml", 65_533, 65_534)
        assert keys("revoke", "pi")[0] == 0
    finally:
        os.umask(before)
    found = (tmp_path / "allow.yaml").stat()
    assert stat.S_IMODE(found.st_mode) == 0o644
    assert (found.st_uid, found.st_gid) == ((65_533, 65_534) if os.geteuid() == 0 else (os.geteuid(), os.getegid()))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("allow", "pi.key", "--events"), "expected an earmark-public-key, got an earmark-secret-key"),
        (("allow", "pi.pub"), "expected --streams, --events or both"),
        (("allow", "pi.pub", "--streams", "Gate"), "--streams: expected names of 1 to 32"),
        (("allow", "0" * 40, "--events"), "expected --name"),
        (("allow", "0" * 39, "--events"), "expected a public key of 40 characters"),
        (("allow", "other.pub", "--events", "--name", "pi"), "got pi, who has another key; revoke it first"),
        (("allow", "pi.pub", "--events", "--name", "bob"), "got that of pi; revoke pi first"),
        (("revoke", "bob"), "got bob; earmark keys list tells them"),
        (("list", "--file", "none.yaml"), "begin one with: earmark keys allow"),
    ],
)
def test_what_it_refuses(keys, tmp_path, arguments, expected):
    for name in ("pi", "other"):
        keys("new", name)
    keys("allow", "pi.pub", "--streams", "gate")
    before = (tmp_path / "allow.yaml").read_bytes()
    code, told = keys(*arguments)
    assert code == 2
    assert expected in told
    assert (tmp_path / "allow.yaml").read_bytes() == before


@pytest.mark.parametrize(
    "text", ["2026-02-30:", "clients: !!int ''", "clients: 0x_", "[" * 3000, "clients: {a: {key: short}}"]
)
def test_a_list_that_is_none_is_told_in_one_line(tmp_path, text):
    """The door reads it again and again in a thread that must not end by it."""
    path = tmp_path / "allow.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"allow\.yaml: ") as caught:
        read_allow_list(path)
    assert len(str(caught.value).splitlines()) == 1
