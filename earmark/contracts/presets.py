"""The names of a bundle's presets; a module without imports of ours, so that the command line starts fast."""

from typing import Literal, TypeAlias, get_args

Preset: TypeAlias = Literal["quiet", "balanced", "keen"]
"""How wrong a bundle may be: from few wrong events and fewer sounds found to many of both."""
PRESETS: tuple[Preset, ...] = get_args(Preset)
DEFAULT_PRESET: Preset = "balanced"
