"""The command line: exit codes, one line for each mistake, and quick help."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from earmark.app.cli import complain, run_command
from earmark.contracts.bundle import shipped
from tests.support.tiny_bundle import write_tiny_bundle

COMMANDS = (
    "run",
    "stream",
    "engine",
    "publish",
    "detect",
    "subscribe",
    "demo",
    "devices",
    "models",
    "config",
    "keys",
    "report",
    "data",
    "train",
    "tune",
    "evaluate",
    "compile",
    "chaos",
)


@pytest.fixture
def earmark(capsys: pytest.CaptureFixture[str]):
    def earmark(*arguments: object) -> tuple[int, str, str]:
        code = run_command([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return earmark


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_names_every_command(earmark, arguments):
    code, out, err = earmark(*arguments)
    assert (code, err) == (0, "")
    for command in COMMANDS:
        assert f"  {command} " in out


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(earmark, command):
    code, out, _ = earmark(command, "--help")
    assert code == 0
    assert out.startswith(f"Usage: earmark {command}")


def test_version(earmark):
    assert earmark("--version")[1].startswith("earmark")


def test_help_imports_nothing_heavy():
    script = (
        "import sys, earmark.app.cli\n"
        "heavy = {'numpy', 'zmq', 'av', 'onnxruntime', 'pydantic', 'yaml', 'soxr', 'rich', 'prometheus_client'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"


def test_nothing_at_run_time_imports_torch_or_librosa():
    script = (
        "import sys, earmark.app.demo, earmark.app.detect, engine.service, publishers.service, streamer.service\n"
        "import earmark; earmark.Detector(), earmark.subscribe\n"
        "print(sorted({'torch', 'librosa', 'scipy', 'onnx'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rnu"], "No such command 'rnu'. Did you mean 'run'?"),
        (["run", "--fast"], "No such option: --fast (earmark run --help tells"),
        (["detect"], "Missing argument 'FILE...'"),
        (["detect", "--format", "tvs", "x.wav"], "'tvs' is not one of"),
        (["detect", "--format", "audacity", "x.wav", "y.wav"], "--format audacity: expected one FILE"),
        (["detect", "x" * 300], "File name too long"),
        (["detect", "--bundle", "x" * 300, "x.wav"], "File name too long"),
        (["keys", "allow", "x" * 300], "File name too long"),
        (["detect", "--bundle", "nothing", "x.wav"], "expected the name of a bundle that ships"),
        (["subscribe", "--address", "nonsense"], "expected an address like tcp://127.0.0.1:7711, got 'nonsense'"),
        (["subscribe", "--since", "-1"], "Invalid value for '--since'"),
        (["stream", "--epoch", "gate=1"], "expected STREAM=HEX with a stream of the configuration, got 'gate=1'"),
        (["stream", "--epoch", "microphone=xyz"], "expected 1 to 16 hexadecimal digits"),
        *(
            [[*command, "nothing.yaml"], "nothing.yaml: expected a configuration file, got: No such file or directory"]
            for command in (["run"], ["stream"], ["engine"], ["publish"], ["config", "check"], ["config", "print"])
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(earmark, arguments, expected):
    code, out, err = earmark(*arguments)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("earmark: error: ")
    assert expected in line


def test_each_mistake_in_a_file_is_one_line(earmark, tmp_path):
    path = tmp_path / "service.yaml"
    path.write_text("engine: {bundel: urban}\nstreams: {gate: {source: mic}}\n")
    code, _, err = earmark("run", path)
    assert code == 2
    assert [line.partition(": streams")[0].partition(": engine")[0] for line in err.splitlines()] == [
        f"earmark: error: {path}:1",
        f"earmark: error: {path}:2",
    ]


def test_a_bug_is_no_mistake_of_the_user(monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("earmark.app.load.load_config", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        run_command(["config", "print"])


def test_a_bundle_with_a_wrong_state_is_one_line(earmark, tmp_path):
    states = [{"name": "previous", "shape": [1, 64]}, {"name": "integral", "shape": [5]}]
    folder = write_tiny_bundle(tmp_path / "wrong", states=states)
    code, out, err = earmark("detect", "--bundle", folder, shipped("models"))
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert "integral" in line


def test_what_pydantic_puts_before_our_words_is_left_out(capsys: pytest.CaptureFixture[str]):
    complain("bundle.json: labels: Value error, expected two\nValue error, expected one")
    assert capsys.readouterr().err == (
        "earmark: error: bundle.json: labels: expected two\nearmark: error: expected one\n"
    )


class TestConfig:
    def test_alone_is_its_help(self, earmark):
        code, out, err = earmark("config")
        assert (code, err) == (0, "")
        assert out == earmark("config", "--help")[1]

    def test_check_looks_at_files(self, earmark, tiny_bundle, tmp_path):
        path = tmp_path / "service.yaml"
        gone = tmp_path / "gone.wav"
        path.write_text(
            f"engine: {{bundle: {tiny_bundle.folder}}}\nstreams:\n  a:\n    source: file\n    path: {gone}\n"
        )
        code, out, err = earmark("config", "check", path)
        assert (code, out) == (2, "")
        assert err.startswith(f"earmark: error: {path}:5: streams.a.path: {gone}: expected a sound file, got nothing")

    def test_check(self, earmark, tiny_bundle, tmp_path):
        path = tmp_path / "service.yaml"
        path.write_text(f"engine: {{bundle: {tiny_bundle.folder}}}\nstreams: {{gate: {{source: silence}}}}")
        assert earmark("config", "check", path) == (
            0,
            f"{path}: good for earmark run; streams gate; bundle {tiny_bundle.identity}\n",
            "",
        )

    def test_check_notes_what_is_seldom_meant(self, earmark, tiny_bundle, tmp_path):
        path = tmp_path / "service.yaml"
        path.write_text(
            f"engine: {{bundle: {tiny_bundle.folder}}}\n"
            "streams: {gate: {source: silence, zone: yard}}\n"
            "streamer: {engines: ['tcp://10.0.0.1:7701']}\n"
            "publishers: {webhooks: {alarm: {url: 'http://h/', filter: {streams: [yard, gaet]}}}}\n"
        )
        code, out, err = earmark("config", "check", path)
        assert (code, err) == (1, "")
        first, second, last = out.splitlines()
        place = "publishers.webhooks.alarm.filter.streams[1]"
        assert first == f"note: {path}:4: {place}: no stream or zone here is 'gaet'; did you mean gate?"
        assert second.startswith(f"note: `earmark run` refuses this: {path}:3: streamer.engines: expected an address")
        assert last.startswith(
            f"{path}: good for earmark stream, engine and publish, not for earmark run; streams gate;"
        )

    def test_check_refuses_a_second_standard_input(self, earmark, tiny_bundle, tmp_path):
        path = tmp_path / "service.yaml"
        path.write_text(
            f"engine: {{bundle: {tiny_bundle.folder}}}\nstreams:\n  a: {{source: stdin}}\n  b: {{source: stdin}}\n"
        )
        assert earmark("config", "check", path) == (
            2,
            "",
            f"earmark: error: {path}:4: streams.b.source: expected one source stdin at most, got streams.a too\n",
        )

    def test_print_is_a_configuration(self, earmark, tmp_path):
        _, printed, _ = earmark("config", "print")
        path = tmp_path / "printed.yaml"
        path.write_text(printed)
        assert earmark("config", "print", path)[1] == printed

    def test_schema_accepts_what_is_printed(self, earmark):
        yaml = pytest.importorskip("yaml")
        schema = json.loads(earmark("config", "schema")[1])
        jsonschema.Draft202012Validator.check_schema(schema)
        printed = yaml.safe_load(earmark("config", "print")[1])
        jsonschema.validate(printed, schema)
        printed["engine"]["bundel"] = "urban"
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(printed, schema)


def test_models(earmark):
    code, out, _ = earmark("models")
    assert code == 0
    assert "urban" in out
    assert "glass_breaking" in out


def test_nobody_reads():
    """A reader that has enough, like ``head``, ends the command without a word."""
    script = "from earmark.app.cli import main; input(); main()"
    process = subprocess.Popen(
        [sys.executable, "-c", script, "config", "schema"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(b"\n", timeout=60)
    assert (process.returncode, err) == (1, b"")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_without_standard_output(closed):
    command = f"exec {sys.executable} -m earmark.app config schema {closed}"
    assert subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=False).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_no_room_for_the_output():
    with Path("/dev/full").open("wb") as full:
        process = subprocess.run(
            [sys.executable, "-m", "earmark.app", "config", "schema"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert process.returncode == 2
    (line,) = process.stderr.splitlines()
    assert line.startswith("earmark: error: standard output: expected to write there, got: No space left on device")


def test_another_failure_of_the_system_is_a_bug(monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "a file that nobody looked after")

    monkeypatch.setattr("earmark.app.load.load_config", broken)
    with pytest.raises(OSError, match="nobody looked after"):
        run_command(["config", "print"])
