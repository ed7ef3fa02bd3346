"""``bundle.json``, which anybody may have written."""

import tempfile
from pathlib import Path

from earmark.contracts.bundle import MODEL_FILE, SPEC_FILE, BundleSpec, load_bundle, shipped_bundles
from earmark.contracts.errors import BundleError
from engine.frontend import LogMel

_folder = Path(tempfile.mkdtemp(prefix="earmark-fuzz-"))
(_folder / MODEL_FILE).write_bytes(b"")
SEEDS = [(bundle.folder / SPEC_FILE).read_bytes() for bundle in shipped_bundles()]


def check(data: bytes) -> None:
    (_folder / SPEC_FILE).write_bytes(data)
    try:
        bundle = load_bundle(_folder)
    except BundleError:
        return
    spec = bundle.spec
    assert BundleSpec.model_validate_json(spec.model_dump_json()) == spec
    assert bundle.identity.startswith(f"{spec.name}@")
    assert spec.output_hop > 0
    assert {spec.smoothing_of(label).median_frames % 2 for label in spec.event_labels} == {1}
    LogMel(spec.front_end)
