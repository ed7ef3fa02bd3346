"""What a run-time install weighs: a wheel of this checkout and what it depends on, in a fresh virtual environment."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path

from benchmarks.measuring import print_table

CHECKOUT = Path(__file__).parents[1]
TOOLS = frozenset({"pip", "setuptools", "wheel"})
UNWANTED = ("torch", "librosa")
_N_LARGEST = 5


def install(folder: Path) -> Path:
    """Make a virtual environment with Earmark in it; its site-packages."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)  # noqa: S603
    pip = [folder / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--constraint", CHECKOUT / "constraints.txt", CHECKOUT], check=True)  # noqa: S603
    (site,) = folder.glob("lib/python*/site-packages")
    return site


def on_disk_mb(files: Iterable[Path]) -> float:
    """What files take on disk, as `du` counts, in MB."""
    return sum(path.stat().st_blocks for path in files if path.is_file()) * 512 / 1e6


def files_of(distribution: Distribution) -> Iterable[Path]:
    """The files of a distribution, compiled ones included."""
    return (Path(str(file.locate())) for file in distribution.files or ())


def main() -> None:
    """Run it and print what was seen."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="earmark-install-") as folder:
        site = install(Path(folder) / "venv")
        sizes = {found.name: on_disk_mb(files_of(found)) for found in distributions(path=[str(site)])}
        all_mb = on_disk_mb(site.rglob("*")) - sum(sizes.pop(tool, 0) for tool in TOOLS)
    largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:_N_LARGEST]
    unwanted = [name for name in UNWANTED if name in sizes]
    rows = [
        ("all", f"{all_mb:.0f} MB in {len(sizes)} packages"),
        *((name, f"{sizes[name]:.0f} MB") for name in largest),
        (" and ".join(UNWANTED), f"installed: {', '.join(unwanted)}" if unwanted else "absent"),
    ]
    print_table(("run-time install", "on disk"), rows)


if __name__ == "__main__":
    main()
