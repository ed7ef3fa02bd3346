"""Whether 64-bit ARM has wheels of all that Earmark needs to run, as ``constraints.txt`` pins it. Asks PyPI.

``python arm_wheels.py`` in an environment where Earmark is installed.
"""

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import requires, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("microphone", "notify")
FROM_SOURCE = {"pyaudio"}
"""What the Dockerfile has a compiler for."""
_PLATFORMS = ("--platform", "manylinux2014_aarch64", "--platform", "manylinux_2_28_aarch64")
"""Debian 12 and Raspberry Pi OS 12 take both."""


def needed(name: str, extras: tuple[str, ...], seen: set[str]) -> Iterator[str]:
    """The packages that ``name`` needs, each once."""
    for text in requires(name) or []:
        requirement = Requirement(text)
        package = canonicalize_name(requirement.name)
        environments = [{"extra": extra, "platform_machine": "aarch64"} for extra in ("", *extras)]
        wanted = requirement.marker is None or any(map(requirement.marker.evaluate, environments))
        if wanted and package not in seen:
            seen.add(package)
            yield package
            yield from needed(package, tuple(requirement.extras), seen)


def has_wheel(package: str) -> bool:
    """Whether pip finds a wheel of the installed version."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps", "--ignore-installed"]
    command += ["--target", "nowhere", "--only-binary=:all:", "--python-version", "3.11", *_PLATFORMS]
    asked = subprocess.run([*command, f"{package}=={version(package)}"], check=False, capture_output=True)  # noqa: S603 -- our own
    return asked.returncode == 0


def main() -> int:
    """Tell of every package; 1 where one has no wheel and ought to."""
    missing: set[str] = set()
    for package in sorted(needed("earmark", EXTRAS, set())):
        found = has_wheel(package)
        print(f"{package:<28}{version(package):<14}{'wheel' if found else 'source only'}")
        missing |= set() if found else {package}
    return int(bool(missing - FROM_SOURCE))


if __name__ == "__main__":
    sys.exit(main())
