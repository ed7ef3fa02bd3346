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


@pytest.mark.parametrize("found", [0, 2, "1"])
def test_another_format_says_what_to_do(tmp_path, found):
    with pytest.raises(BundleError, match=f"expected bundle format 1, got {found}; run the release that it was made"):
        load_bundle(write(tmp_path, format=found, what_is_new=True))
