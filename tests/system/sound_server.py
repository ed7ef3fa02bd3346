"""A PulseAudio with a null sink: what is played into it is what its default microphone hears."""

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

TOOLS = ("pulseaudio", "pactl", "paplay")


class SoundServer:
    """A sound server of the test's own.

    Args:
        folder: For its socket and for the home of programs that use it.
    """

    def __init__(self, folder: Path) -> None:
        missing = [tool for tool in TOOLS if shutil.which(tool) is None]
        if missing:
            assert "CI" not in os.environ, f"{missing} must be installed in CI"
            pytest.skip(f"needs {', '.join(missing)}")
        self._log = (folder / "pulseaudio.log").open("wb")
        socket = folder / "pulse.sock"
        # PortAudio reaches PulseAudio through ALSA's plugin.
        (folder / ".asoundrc").write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
        self.environment = {
            "PULSE_SERVER": f"unix:{socket}",
            "PULSE_RUNTIME_PATH": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "HOME": str(folder),
        }
        self._process = subprocess.Popen(
            [
                "pulseaudio",
                "-n",
                "--daemonize=no",
                "--exit-idle-time=-1",
                "--use-pid-file=no",
                "-L",
                f"module-native-protocol-unix socket={socket} auth-anonymous=1",
                "-L",
                "module-null-sink sink_name=vmic rate=16000 channels=1",
            ],
            env={**os.environ, **self.environment},
            stdout=self._log,
            stderr=self._log,
        )
        tick = threading.Event()
        for _ in range(200):
            if self._run("pactl", "set-default-source", "vmic.monitor").returncode == 0:
                break
            tick.wait(0.1)
        else:
            raise AssertionError((folder / "pulseaudio.log").read_text())

    def play(self, wav: Path) -> None:
        """Play a file to its end."""
        assert self._run("paplay", "--device=vmic", str(wav)).returncode == 0

    def _run(self, *command: str) -> "subprocess.CompletedProcess[bytes]":
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(20)
        self._log.close()
