"""`earmark detect` on one core: its real-time factor over made scenes, start included.

How good the bundle is tells `earmark evaluate`.
"""

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measuring import print_table
from earmark.app.child import earmark_command
from earmark.contracts.bundle import load_bundle
from earmark.synthesis.scene import make_scene, write_wav

_N_SCENES = 20
_SCENE_S = 30.0


def make_scenes(folder: Path) -> list[Path]:
    """Scenes of made sounds, as WAV files."""
    paths = [folder / f"{seed}.wav" for seed in range(_N_SCENES)]
    for seed, path in enumerate(paths):
        write_wav(path, make_scene(seed, _SCENE_S))
    return paths


def time_detect(paths: Sequence[Path]) -> float:
    """Wall seconds of `earmark detect` on one core, start included."""
    command = earmark_command("detect", "--format", "tsv", *map(str, paths))
    core = min(os.sched_getaffinity(0))
    began_s = time.monotonic()
    subprocess.run(  # noqa: S603
        command, check=True, stdout=subprocess.DEVNULL, preexec_fn=lambda: os.sched_setaffinity(0, {core})
    )
    return time.monotonic() - began_s


def main() -> None:
    """Run it and print what was seen."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="earmark-detect-") as folder:
        wall_s = time_detect(make_scenes(Path(folder)))
    audio_s = _N_SCENES * _SCENE_S
    rows = [("real_time_factor", f"{audio_s / wall_s:.0f}"), ("audio", f"{audio_s:.0f} s in {wall_s:.1f} s")]
    print_table((f"`earmark detect`, {load_bundle('urban').identity}", ""), rows)


if __name__ == "__main__":
    main()
