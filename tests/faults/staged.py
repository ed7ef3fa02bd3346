"""What schedules hit in tests: the documented configuration with the small bundle."""

from pathlib import Path

import yaml

from earmark.contracts.bundle import Bundle

STAGING = Path(__file__).with_name("staging.yaml")


def write_staging(folder: Path, bundle: Bundle, judge: Path | None = None) -> Path:
    """The configuration's path; onsets are confirmed by ``judge`` where there is one."""
    document = yaml.safe_load(STAGING.read_text("utf-8"))
    document["engine"]["bundle"] = str(bundle.folder)
    document["streamer"]["ring_s"] = 60
    if judge is not None:
        document["engine"]["confirm"] = {"bundle": str(judge), "after_s": 0.2, "again_s": 0.4}
    path = folder / "staging.yaml"
    path.write_text(yaml.safe_dump(document), "utf-8")
    return path
