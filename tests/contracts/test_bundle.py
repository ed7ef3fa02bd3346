"""``bundle.json``: what is wrong with it is said, whatever it is."""

import json

import pytest

from earmark.contracts.bundle import load_bundle
from earmark.contracts.errors import BundleError
from tests.support.tiny_bundle import write_tiny_bundle


def write(folder, **changes):
    """The tiny bundle with other fields; a key like ``front_end.n_fft`` goes down."""
    path = write_tiny_bundle(folder) / "bundle.json"
    document = json.loads(path.read_text())
    for key, value in changes.items():
        *down, last = key.split("__")
        node = document
        for name in down:
            node = node[name]
        node[last] = value
    path.write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("front_end__sample_rate_hz", 10**400),
        ("front_end__n_fft", 2**40),
        ("front_end__n_mels", 2**40),
        ("hops_per_score", 2**40),
        ("window_s", float("inf")),
        ("smoothing__min_gap_s", float("nan")),
    ],
)
def test_numbers_without_end_are_refused(tmp_path, key, value):
    with pytest.raises(BundleError, match=f"{key.replace('__', '.')}: Input should be .*; export the bundle again"):
        load_bundle(write(tmp_path, **{key: value}))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("labels", ["low", "mid", "high", "x" * 100_000], "labels.3: String should have at most 64 characters"),
        ("labels", ["low", "mid", "high", "to\np"], r"labels.3: .* got 'to\\np'"),
        ("labels", ["low", "mid", "high", " top"], "labels.3: .* printable characters without spaces around them"),
        ("labels", ["low", "mid", "high", ""], "labels.3: String should have at least 1 character"),
        ("groups", {"\x00": ["low"]}, r"groups\..*printable"),
        ("version", "1\r\n", "version: .* printable"),
        (
            "states",
            [{"name": "integral", "shape": [1_000_000, 1_000]}],
            "expected states of 67108864 bytes a row at most",
        ),
        ("states", [{"name": "integral", "shape": [2**40]}], "states.0.shape.0: Input should be less than"),
        ("window_s", 1e9, "window_s: Input should be less than"),
    ],
)
def test_what_no_event_can_carry_and_no_machine_can_hold_is_refused(tmp_path, key, value, message):
    with pytest.raises(BundleError, match=message):
        load_bundle(write(tmp_path, **{key: value}))


def test_labels_of_any_script_are_fine(tmp_path):
    labels = ("犬", "собака", "chien \N{PILE OF POO}", "top")
    assert load_bundle(write(tmp_path, labels=labels)).spec.labels == labels


@pytest.mark.parametrize("found", [0, 2, "1"])
def test_another_format_says_what_to_do(tmp_path, found):
    with pytest.raises(BundleError, match=f"expected bundle format 1, got {found}; run the release that it was made"):
        load_bundle(write(tmp_path, format=found, what_is_new=True))


PRESETS = {
    "quiet": {"low": {"onset_threshold": 0.9}},
    "balanced": {"low": {"onset_threshold": 0.7}},
    "keen": {"low": {"onset_threshold": 0.4}},
}


def test_a_preset_decides_and_is_part_of_the_identity(tmp_path):
    plain = load_bundle(write_tiny_bundle(tmp_path / "plain"))
    folder = write(tmp_path / "presets", presets=PRESETS)
    assert load_bundle(folder).identity == plain.identity
    chosen = {preset: load_bundle(folder, preset) for preset in PRESETS}
    assert [bundle.spec.smoothing_of("low").onset_threshold for bundle in chosen.values()] == [0.9, 0.7, 0.4]
    assert {bundle.spec.smoothing_of("mid") for bundle in chosen.values()} == {plain.spec.smoothing}
    assert len({plain.identity, *(bundle.identity for bundle in chosen.values())}) == 4


def test_a_bundle_without_presets_says_what_to_do(tmp_path):
    with pytest.raises(BundleError, match="got 'tiny' without any; leave the preset out, or make presets with"):
        load_bundle(write_tiny_bundle(tmp_path), "quiet")


@pytest.mark.parametrize(
    ("presets", "message"),
    [
        ({"quiet": {}}, "expected quiet, balanced, keen or none, got quiet"),
        ({**PRESETS, "keen": {"loud": {}}}, "presets.keen names .*loud"),
        ({**PRESETS, "deaf": {}}, "presets.deaf"),
    ],
)
def test_presets_are_complete_and_of_known_labels(tmp_path, presets, message):
    with pytest.raises(BundleError, match=message):
        load_bundle(write(tmp_path, presets=presets))


def test_a_limit_that_is_not_set_is_not_written(tmp_path):
    """Older bundles keep their fingerprints, and older readers their bundles."""
    spec = load_bundle(write_tiny_bundle(tmp_path)).spec
    assert "max_unproven_s" not in spec.model_dump_json()
    limited = spec.model_copy(update={"smoothing": spec.smoothing.model_copy(update={"max_unproven_s": 2.0})})
    assert type(spec).model_validate_json(limited.model_dump_json()) == limited
