"""What a configuration may say, and what is said about one that is wrong: its line, its key, the nearest right one."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from earmark.app.cli import run_command
from earmark.app.config import ServiceConfig
from earmark.app.load import load_config, load_service
from earmark.app.show import as_yaml
from earmark.contracts.bundle import Bundle, shipped
from earmark.contracts.config import SmoothingOverride
from earmark.contracts.errors import ConfigError
from tests.support.judge_bundle import write_judge_bundle

PRESET_ENVIRONMENT = {"CAMERA_PASSWORD": "secret", "MORNING": "a.wav", "EVENING": "b.wav"}


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "service.yaml"
        path.write_text(text)
        return path

    return write


def complaints(path: Path, environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, environment or {})
    prefix = f"{path}:"
    lines = str(caught.value).splitlines()
    assert all(line.startswith(prefix) for line in lines), lines
    return [line.removeprefix(prefix) for line in lines]


WRONG = [
    ("streams:\n  gate: {source: microphone, devise: x}", "2: streams.gate.devise: unknown key; did you mean device?"),
    ("streamers: {}", "1: streamers: unknown key; did you mean streamer?"),
    ("engine:\n\n  max_bach: 3", "3: engine.max_bach: unknown key; did you mean max_batch?"),
    ("streamer: {ring\n\n  s}", "1: streamer.'ring\\ns': unknown key; did you mean ring_s?"),
    (
        "streams:\n  gate:\n    source: silence\n    labels:\n      dog: {onset_treshold: 0.5}",
        "5: streams.gate.labels.dog.onset_treshold: unknown key; did you mean onset_threshold?",
    ),
    (
        "telemetry: {xyz: 1}",
        "1: telemetry.xyz: unknown key; expected one of engine, insecure, log_level, publishers, streamer, supervisor",
    ),
    (
        "streams:\n  gate:\n    source: microfone",
        "3: streams.gate.source: expected one of microphone, url, file, stdin, silence, got 'microfone'; did you",
    ),
    ("streams:\n  gate: {device: 1}", "2: streams.gate: has no source; say which kind it is"),
    ("streams:\n  gate: {source: url}", "2: streams.gate.url: missing; it has no default"),
    (
        "streams:\n  gate: {source: url, url: camera}",
        "2: streams.gate.url: expected an address like rtsp://host/path, got 'camera'",
    ),
    (
        "streams:\n  gate: {source: file, path: a, pace: fst}",
        "2: streams.gate.pace: expected 'realtime' or 'fast', got 'fst'; did you mean fast?",
    ),
    ("engine: {threads: many}", "1: engine.threads: expected an integer, got 'many'"),
    ("engine: {threads: 0}", "1: engine.threads: expected greater than or equal to 1, got 0"),
    ("engine: {bundle: 5}", "1: engine.bundle: expected a string, got 5; put it in quotes"),
    ("engine:\n  bind:\n    - [1]", "3: engine.bind[0]: expected a string, got [1]"),
    ("streamer: 5", "1: streamer: expected a section with keys, got 5"),
    ("streams: {}", "1: streams: expected at least 1, got none"),
    (
        "streams:\n  gate: {source: silence, zone: The Yard}",
        "2: streams.gate.zone: a stream's name is 1 to 32 of the characters a-z 0-9 _ -, got 'The Yard'",
    ),
    ("engine: {fusion_ms: 70000}", "1: engine.fusion_ms: expected less than or equal to 60000, got 70000"),
    (
        "streams:\n  Big Gate: {source: silence}",
        "2: streams.Big Gate: a stream's name is 1 to 32 of the characters a-z 0-9 _ -, got 'Big Gate'",
    ),
    (
        "streams:\n  gate: {source: stdin, channels: 1, channel: 3}",
        "2: streams.gate: channel counts from 0 and is below channels (1), got 3",
    ),
    ("streams:\n  on: {source: silence}", "2: streams: expected a text as key, got on; put it in quotes"),
    ("streams: {a: {source: silence}, a: {source: microphone}}", "1: streams.a: stands here twice, first in line 1"),
    (
        "outbox: {max_age_days: 999999}",
        "1: outbox.max_age_days: expected less than or equal to 36500, got 999999",
    ),
    ("engine: {}\nengine: {}", "2: engine: stands here twice, first in line 1; keep one of them"),
    (
        "engine:\n  bundle: ${BUNDLE}",
        "2: engine.bundle: the environment has no variable BUNDLE; set it, or write $${BUNDLE} for itself",
    ),
    *(
        (
            f"publishers:\n  http:\n    password: {value}",
            "3: publishers.http.password: expected a plain value, got one that",
        )
        for value in ("!Secret x", "!!Secret")
    ),
    (
        "publishers: {http: {password: *Secret}}",
        "1: expected YAML: expected a plain value, got one that begins with ! or *",
    ),
    ("- a\n- b", "1: expected sections like streams: and engine:, got a list"),
    ("streams: &a\n  gate: *a", "1: streams.gate: expected a value, got an alias of what it stands in"),
]


@pytest.mark.parametrize(("text", "expected"), WRONG)
def test_one_mistake_is_one_line(write, text, expected):
    (line,) = complaints(write(text))
    assert line.startswith(expected)
    assert "Secret" not in line


def test_a_zone_has_a_name_of_its_own(write):
    text = "streams:\n  gate: {source: silence, zone: yard}\n  barn: {source: silence, zone: yard}\n"
    assert load_service(write(text)).config.zones == {"yard": ("gate", "barn")}
    with pytest.raises(ConfigError) as caught:
        load_service(write(text + "  yard:\n    source: silence\n"))
    assert [line.split(":", 2)[1:] for line in str(caught.value).splitlines()] == [
        [n, f" streams.{name}.zone: expected a name that no stream has, got 'yard', which is a stream; rename the zone"]
        for n, name in (("2", "gate"), ("3", "barn"))
    ]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(write):
    lines = complaints(
        write("engine: {threads: x}\nstreams:\n  gate: {source: mike}\nstremer: {}\noutbox: {path: '$$${NO}'}")
    )
    assert [line.split(":")[0] for line in lines] == ["1", "3", "4", "5"]


def test_off_loopback_is_refused_with_its_line(write):
    (line,) = complaints(write("engine:\n  bind: [tcp://0.0.0.0:7701]"))
    assert line.startswith("2: engine.bind binds tcp://0.0.0.0:7701, which other machines can reach")
    assert load_config(write("engine:\n  bind: [tcp://0.0.0.0:7701]\n  insecure: true")).engine.insecure


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [", 1),
        ("a: b: c", 1),
        ("engine:\n\tthreads: 1", 2),
        ("engine: !!python/name:os.system x", 1),
        ("a: 1\n# \0", 2),
    ],
)
def test_no_yaml(write, text, line):
    (complaint,) = complaints(write(text))
    assert complaint.startswith(f"{line}: ")


@pytest.mark.parametrize("value", ["!!int ''", "!!timestamp x", "!!bool x", "!!float x"])
def test_a_tag_that_does_not_fit(write, value):
    assert any(line.startswith("1: engine: ") for line in complaints(write(f"engine: {value}")))


@pytest.mark.parametrize("text", ["a: " + "[" * 3000, "[" * 3000 + "]" * 3000, "{a: " * 3000 + "}" * 3000])
def test_depth_without_end(tmp_path, text):
    (tmp_path / "deep.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"deep\.yaml: expected sections in sections, got hundreds"):
        load_config(tmp_path / "deep.yaml")


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
def test_a_number_is_finite(write, value):
    (complaint,) = complaints(write(f"streamer: {{ring_s: {value}}}"))
    assert complaint.startswith("1: streamer.ring_s: expected a finite number, got ")


def test_variable_in_braces_wants_quotes(write):
    (complaint,) = complaints(write("engine: {bundle: ${BUNDLE}}"))
    assert complaint.endswith("inside braces put ${...} in quotes")


def test_aliases_cannot_blow_a_file_up(write):
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12))
    lines = complaints(write(f"l0: &l0 x\n{levels}"))
    assert any("100001st thing" in line for line in lines)


def test_no_file(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing.yaml: expected a configuration file, got: No such file"):
        load_config(tmp_path / "nothing.yaml")
    with pytest.raises(ConfigError, match="got: Is a directory"):
        load_config(tmp_path)


def test_no_text(tmp_path):
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"engine: \xff")
    with pytest.raises(ConfigError, match="expected UTF-8 text, got byte 0xff"):
        load_config(path)


def test_secrets_are_never_quoted(write):
    url = "rtsp://viewer:hunter2@camera/1"
    text = "streams:\n  gate: {source: url, url: '${URL}', timeout_s: '${WORD}', rtsp_transport: 'x://u:hunter2@h'}"
    lines = complaints(write(text), {"URL": url, "WORD": "hunter2"})
    assert len(lines) == 2
    assert not any("hunter2" in line for line in lines)


class TestEnvironment:
    def test_fills_strings(self, write):
        config = load_config(write("engine: {bundle: 'a${B}c', threads: '${N}'}"), {"B": "b", "N": "3"})
        assert (config.engine.bundle, config.engine.threads) == ("abc", 3)

    def test_two_dollars_are_one(self, write):
        assert load_config(write("engine: {bundle: '$${B} $x'}"), {}).engine.bundle == "${B} $x"

    def test_what_comes_from_it_is_not_looked_up_again(self, write):
        assert load_config(write("engine: {bundle: '${A}'}"), {"A": "${B}"}).engine.bundle == "${B}"


class TestYaml:
    def test_empty_file_and_empty_sections_are_the_default(self, write):
        default = load_config(None)
        assert load_config(write("")) == load_config(write("engine:\nstreams:\n")) == default
        assert list(default.streams) == ["microphone"]

    def test_merge_keys(self, write):
        text = "streams:\n  a: &base {source: silence, sample_rate_hz: 8000}\n  b: {<<: *base, sample_rate_hz: 16000}"
        streams = load_config(write(text)).streams
        assert (streams["a"].sample_rate_hz, streams["b"].sample_rate_hz) == (8000, 16000)


@pytest.fixture
def tiny(write, tiny_bundle: Bundle):
    def load(text: str = "", **options: bool):
        return load_service(write(f"engine: {{bundle: {tiny_bundle.folder}}}\n{text}"), {}, **options)

    return load


class TestAgainstTheBundle:
    def complaint(self, tiny, text: str, **options: bool) -> str:
        with pytest.raises(ConfigError) as caught:
            tiny(text, **options)
        (line,) = str(caught.value).splitlines()
        return line.partition("service.yaml:")[2]

    def test_good(self, tiny):
        service = tiny("streams: {gate: {source: silence, labels: {low: {onset_threshold: 0.9}}}}")
        assert service.bundle.spec.name == "tiny"
        assert service.config.overrides == {"gate": {"low": SmoothingOverride(onset_threshold=0.9)}}

    def test_unknown_label(self, tiny):
        line = self.complaint(tiny, "streams:\n  gate:\n    source: silence\n    labels: {hihg: {min_gap_s: 1}}")
        assert line == "5: streams.gate.labels.hihg: model 'tiny' has no such label; did you mean high?"

    @pytest.mark.parametrize(
        ("place", "sinks"),
        [
            ("mqtt.filter.labels", "mqtt: {host: h, filter: {labels: [NAMES]}}"),
            ("mqtt.homeassistant.labels", "mqtt: {host: h, homeassistant: {labels: [NAMES]}}"),
            ("webhooks.a.filter.labels", "webhooks: {a: {url: 'http://127.0.0.1/', filter: {labels: [NAMES]}}}"),
            ("notifications.a.filter.labels", "notifications: {a: {urls: [json://h], filter: {labels: [NAMES]}}}"),
            (
                "notifications.a.quiet_hours.always",
                "notifications: {a: {urls: [json://h], quiet_hours: {from: '22:00', to: '06:00', always: [NAMES]}}}",
            ),
        ],
    )
    def test_sinks_name_labels_and_groups_that_there_are(self, write, tiny_bundle: Bundle, place: str, sinks: str):
        engine = f"engine: {{bundle: {tiny_bundle.folder}, groups: {{emergency: {{labels: [low, top]}}}}}}"

        def load(names: str):
            return load_service(write(f"{engine}\npublishers:\n  {sinks.replace('NAMES', names)}"), {})

        assert load("low, emergency").bundle.spec.event_labels[-1] == "emergency"
        with pytest.raises(ConfigError) as caught:
            load("low, emergncy")
        told = str(caught.value).partition("service.yaml:")[2]
        assert told == f"3: publishers.{place}[1]: model 'tiny' has no such label; did you mean emergency?"

    @pytest.mark.parametrize(
        ("named", "told"),
        [
            ("offset_threshold: 0.7", "0.7 and 0.5; the latter is the bundle's, set onset_threshold as well"),
            (
                "onset_threshold: 0.1, offset_threshold: 0.2",
                "0.2 and 0.1; lower offset_threshold, or leave it out",
            ),
        ],
    )
    def test_thresholds_the_wrong_way_round(self, tiny, named: str, told: str):
        line = self.complaint(tiny, f"streams:\n  gate: {{source: silence, labels: {{low: {{{named}}}}}}}")
        assert line == f"3: streams.gate.labels.low: expected offset_threshold <= onset_threshold, got {told}"

    @pytest.mark.parametrize(
        "named", ["onset_threshold: 0.1", "onset_threshold: 0.1, offset_threshold: 0.1", "offset_threshold: 0.5"]
    )
    def test_thresholds_the_right_way_round(self, tiny, named: str):
        tiny(f"streams: {{gate: {{source: silence, labels: {{low: {{{named}}}}}}}}}")

    def test_rate(self, tiny):
        line = self.complaint(tiny, "streams:\n  gate-3: {source: silence, sample_rate_hz: 44100}")
        assert line == (
            "3: streams.gate-3.sample_rate_hz: model 'tiny' wants 16000 Hz, stream 'gate-3' sends 44100 Hz; "
            "set streams.gate-3.sample_rate_hz: 16000"
        )

    def test_ring(self, tiny):
        least_s = 3 + 1 + 5 + 30
        line = self.complaint(tiny, f"streamer: {{ring_s: {least_s - 0.5}}}")
        assert line.startswith("2: streamer.ring_s: expected at least 39 s, got 38.5 s")
        assert tiny(f"streamer: {{ring_s: {least_s}}}").config.streamer.ring_s == least_s

    def test_a_preset_is_one_of_the_bundles(self, write, tiny_bundle):
        text = f"engine:\n  bundle: {tiny_bundle.folder}\n  preset: quiet"
        with pytest.raises(ConfigError, match=r"yaml:3: engine.preset: expected a bundle with presets, got 'tiny'"):
            load_service(write(text), {})

    def test_bundle(self, write):
        with pytest.raises(ConfigError, match=r"yaml:1: engine.bundle: expected the name of a bundle that ships"):
            load_service(write("engine: {bundle: nowhere}"), {})

    def test_judge(self, write, tiny_bundle, tmp_path):
        judge = write_judge_bundle(tmp_path / "judge")

        def load(confirm: str):
            return load_service(write(f"engine:\n  bundle: {tiny_bundle.folder}\n  confirm:\n    {confirm}"), {})

        service = load(f"{{bundle: {judge}, after_s: 0.2}}")
        assert service.model == service.judging.identity
        assert service.model.startswith(f"{tiny_bundle.identity}/judge@1+")
        write_judge_bundle(tmp_path / "long", hops_per_score=100)
        for confirm, told in (
            ("bundle: nowhere", r"yaml:4: engine.confirm.bundle: expected the name of a bundle that ships"),
            (f"bundle: {tmp_path / 'long'}", r"yaml:4: engine.confirm.bundle: expected a judge that hears the warm-up"),
            (f"{{bundle: {judge}, after_s: 0.2, exempt: [lwo]}}", r"engine.confirm: exempt: .* did you mean low\?"),
            ("after_s: 0.2", r"engine.confirm.bundle: missing; it has no default"),
        ):
            with pytest.raises(ConfigError, match=told) as caught:
                load(confirm)
            assert len(str(caught.value).splitlines()) == 1

    def test_a_judge_whose_model_is_damaged_is_named_by_config_check(self, write, tiny_bundle, tmp_path, capsys):
        judge = write_judge_bundle(tmp_path / "judge")
        path = write(f"engine: {{bundle: {tiny_bundle.folder}, confirm: {{bundle: {judge}, after_s: 0.2}}}}")
        assert run_command(["config", "check", str(path)]) == 0
        assert "/judge@1+" in capsys.readouterr().out
        (judge / "model.onnx").write_bytes(b"damaged")
        assert run_command(["config", "check", str(path)]) == 2
        assert f"{judge}/model.onnx: ONNX Runtime cannot load it" in capsys.readouterr().err

    def test_addresses_of_their_own(self, tiny):
        line = self.complaint(tiny, "telemetry:\n  engine: 127.0.0.1:7702")
        assert line == (
            "3: telemetry.engine: expected an address of its own, got tcp://127.0.0.1:7702, which engine.bind[0] takes"
        )

    def test_streamer_and_engine_must_meet_only_where_they_run_together(self, tiny):
        text = "streamer: {engines: ['tcp://127.0.0.1:9000']}"
        assert tiny(text)
        line = self.complaint(tiny, text, together=True)
        assert line.startswith("2: streamer.engines: expected an address of engine.bind (tcp://127.0.0.1:7701)")

    def test_where_they_run_together_both_have_keys_or_none(self, tiny, tmp_path):
        for name in ("a.key", "b.pub"):
            (tmp_path / name).touch()
        text = f"streamer: {{curve: {{key_file: {tmp_path}/a.key, server_key_file: {tmp_path}/b.pub}}}}"
        assert tiny(text)
        assert "streamer.curve: expected engine.curve too, got none" in self.complaint(tiny, text, together=True)

    def test_clips_that_nobody_would_store(self, tiny):
        text = "streams: {gate: {source: silence, clips: true}}\n"
        line = self.complaint(tiny, text, together=True)
        assert "streams.gate.clips: expected publishers.clips too, got none: nothing would store them" in line

    @pytest.mark.parametrize("option", ["together", "files"])
    def test_files_are_looked_at_only_where_they_are(self, tiny, tmp_path, option):
        text = f"streams:\n  a:\n    source: file\n    path: {tmp_path}/a.wav"
        assert tiny(text)
        line = self.complaint(tiny, text, **{option: True})
        assert line.startswith(f"5: streams.a.path: {tmp_path}/a.wav: expected a sound file, got nothing there")
        (tmp_path / "a.wav").write_bytes(b"RIFF")
        assert "expected WAV data, got a header alone" in self.complaint(tiny, text, **{option: True})

    @pytest.mark.parametrize(
        ("text", "key"),
        [
            ("engine:\n  curve:\n    key_file: HERE\n    allow_file: FILE", "engine.curve.allow_file"),
            ("streamer:\n  curve:\n    key_file: HERE\n    server_key_file: FILE", "streamer.curve.server_key_file"),
            (
                "publishers:\n  mqtt:\n    username: u\n    password_file: FILE\n    host: localhost",
                "publishers.mqtt.password_file",
            ),
            ("publishers:\n  http:\n\n    token_file: FILE", "publishers.http.token_file"),
            (
                "publishers:\n  webhooks:\n    a: {url: 'http://127.0.0.1/',\n        secret_file: FILE}",
                "publishers.webhooks.a.secret_file",
            ),
            (
                "publishers:\n  notifications:\n    a:\n      urls_file: FILE",
                "publishers.notifications.a.urls_file",
            ),
            ("publishers:\n  mqtt: {host: localhost,\n   tls:\n    {ca_file: FILE}}", "publishers.mqtt.tls.ca_file"),
        ],
    )
    def test_a_file_of_keys_or_passwords_must_be_there(self, write, tiny_bundle, tmp_path, text, key):
        (tmp_path / "here").touch()
        wanted = tmp_path / "wanted"
        text = text.replace("HERE", str(tmp_path / "here")).replace("FILE", str(wanted))
        # The bundle's section is the first line of the file, and may be the section that is meant.
        bundle = f"bundle: {tiny_bundle.folder}\n"
        whole = text.replace("engine:\n", f"engine:\n  {bundle}") if "engine:" in text else f"engine:\n  {bundle}{text}"

        def load():
            return load_service(write(whole), {}, files=True)

        assert load_service(write(whole), {})
        line = 1 + whole[: whole.index(str(wanted))].count("\n")
        expected = f"service.yaml:{line}: {key}: expected a file that can be read, got "
        with pytest.raises(ConfigError) as nothing:
            load()
        assert str(nothing.value).endswith(f"{expected}nothing at {wanted}; make it, or correct the path")
        wanted.mkdir()
        with pytest.raises(ConfigError) as folder:
            load()
        assert str(folder.value).endswith(f"{expected}something else at {wanted}; name the file itself")
        wanted.rmdir()
        wanted.touch()
        assert load()

    @pytest.mark.parametrize("odd", ["~nobody-of-that-name/x", '"a\\0b"', "/nowhere/" + 300 * "x"])
    def test_a_path_that_no_file_can_have(self, tiny, odd):
        text = f"publishers: {{http: {{token_file: {odd}}}}}"
        assert "publishers.http.token_file: expected a file that" in self.complaint(tiny, text, files=True)

    def test_a_secret_below_run_is_there_only_while_the_service_runs(self, tiny, tmp_path):
        (tmp_path / "link").symlink_to("/run/secrets/nothing-of-that-name")
        for path in ("/run/credentials/earmark.service/nothing", "/run/x/../secrets/nothing", tmp_path / "link"):
            assert tiny(f"publishers: {{http: {{token_file: {path}}}}}", files=True)


@pytest.mark.parametrize("preset", sorted(shipped("configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_presets_load(preset, tmp_path):
    recordings = {name: str(tmp_path / f"{name}.flac") for name in ("MORNING", "EVENING")}
    for recording in recordings.values():
        Path(recording).touch()
    assert load_service(preset, {**PRESET_ENVIRONMENT, **recordings}, together=True)


def test_what_is_heard_in_recordings_can_be_read_when_the_run_is_over():
    config = load_config(shipped("configs") / "files.yaml", PRESET_ENVIRONMENT)
    assert config.publishers.jsonl is not None
    assert config.publishers.jsonl.path == Path("events.jsonl")


def test_there_are_presets():
    assert {path.stem for path in shipped("configs").glob("*.yaml")} >= {"cameras", "files", "microphone"}


def test_printed_configuration_is_the_same_without_its_secrets():
    config = load_config(shipped("configs") / "cameras.yaml", PRESET_ENVIRONMENT)
    printed = as_yaml(config)
    assert "secret" not in printed
    assert "rtsp://viewer:***@" in printed
    default = load_config(None)
    assert ServiceConfig.model_validate(yaml.safe_load(as_yaml(default))) == default


WITH_VARIABLES = """
streams: {yard: {source: url, url: "rtsp://viewer:${SECRET}@127.0.0.1:9/s?key=${SECRET}"}}
publishers:
  webhooks: {ops: {url: "https://u:${SECRET}@hooks.example:8443/a"}}
  notifications: {phone: {urls: ["json://u:${SECRET}@host/a"]}}
"""


@pytest.mark.parametrize("secret", ["p@ss#1", "a/b?c", "12/zz@q", "sp ace", "100%"])
def test_a_password_from_the_environment_reaches_its_server_and_is_shown_nowhere(tmp_path, secret):
    path = tmp_path / "service.yaml"
    path.write_text(WITH_VARIABLES)
    config = load_config(path, {"SECRET": secret})
    addresses = [
        config.streams["yard"].url,
        config.publishers.webhooks["ops"].url.get_secret_value(),
        config.publishers.notifications["phone"].urls[0].get_secret_value(),
    ]
    assert [unquote(urlsplit(address).password) for address in addresses] == [secret] * 3
    printed = as_yaml(config)
    assert "rtsp://viewer:***@127.0.0.1:9/s?***" in printed
    assert "https://hooks.example:8443/***" in printed
    assert printed == as_yaml(load_config(path, {"SECRET": "another"}))


@pytest.mark.parametrize("address", ["rtsp://viewer:12/SECRET@h/a", "rtsp://v:SECRET#1@h/", "v:SECRET@h/a", "SECRET"])
@pytest.mark.parametrize(
    "place",
    ["streams: {yard: {source: url, url: '%s'}}", "publishers: {webhooks: {ops: {url: '%s'}}}"],
    ids=["camera", "webhook"],
)
def test_an_address_that_cannot_be_used_is_named_and_not_shown(tmp_path, place, address):
    path = tmp_path / "service.yaml"
    path.write_text(place % address)
    with pytest.raises(ConfigError, match=r"service.yaml:1: .*url: expected") as caught:
        load_config(path)
    assert "@" not in address or "SECRET" not in str(caught.value)


def test_a_brokers_host_is_no_place_for_a_password(tmp_path):
    path = tmp_path / "service.yaml"
    path.write_text("publishers: {mqtt: {host: 'user:SECRET@broker'}}")
    with pytest.raises(ConfigError, match=r"publishers\.mqtt\.host: expected the broker's name") as caught:
        load_config(path)
    assert "SECRET" not in str(caught.value)


def test_a_streamer_does_not_see_what_only_others_want_to_know(tiny_bundle, tmp_path):
    path = tmp_path / "service.yaml"
    seen = []
    for more in ("", ", clips: true", ", zone: yard", ", labels: {low: {onset_threshold: 0.9}}"):
        path.write_text(f"engine: {{bundle: {tiny_bundle.folder}}}\nstreams: {{gate: {{source: silence{more}}}}}")
        seen.append(load_config(path).sources["gate"])
    assert all(one == seen[0] for one in seen)


SHARED_PAGE = """
publishers:
  http: {bind: "0.0.0.0:7713", token: 0123456789abcdef0123456789abcdef, insecure: true}
"""


@pytest.mark.parametrize(
    ("stream", "page", "expected"),
    [
        ("{source: silence}", "", "full"),
        ("{source: silence}", "publishers: {http: {hosts: [earmark.example.org]}}", "coarse"),
        ("{source: silence}", "publishers: {http: {password: 0123456789abcdef0123456789abcdef}}", "coarse"),
        ("{source: silence}", SHARED_PAGE, "coarse"),
        ("{source: silence, clips: true}", SHARED_PAGE, "full"),
        ("{source: silence, clips: true, spectrogram: none}", SHARED_PAGE, "none"),
        ("{source: silence, spectrogram: full}", SHARED_PAGE, "full"),
        ("{source: silence, spectrogram: coarse}", "publishers: {http: null}", "coarse"),
    ],
)
def test_a_picture_is_coarse_where_others_may_see_it(write, stream: str, page: str, expected: str):
    config = load_config(write(f"streams: {{gate: {stream}}}\n{page}\n"), {})
    assert config.spectrograms == {"gate": expected}
