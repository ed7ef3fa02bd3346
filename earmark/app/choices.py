"""What the command line lets one choose from."""

from enum import StrEnum


class FileFormat(StrEnum):
    """How ``earmark detect`` tells what is in a file."""

    TEXT = "text"
    JSONL = "jsonl"
    TSV = "tsv"
    CSV = "csv"
    RAVEN = "raven"
    AUDACITY = "audacity"


class LiveFormat(StrEnum):
    """How ``earmark subscribe`` tells what it hears."""

    TEXT = "text"
    JSONL = "jsonl"


class DemoSource(StrEnum):
    """What ``earmark demo`` hears."""

    SYNTHETIC = "synthetic"
    MICROPHONE = "microphone"


class Pace(StrEnum):
    """How fast the demo's scene goes by."""

    FAST = "fast"
    REALTIME = "realtime"
