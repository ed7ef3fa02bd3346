"""Ends a process with its supervisor, also where it is stopped or its supervisor is killed.

The supervisor holds the writing end of a pipe and never writes, so reading returns when it is dead. A process that is
stopped reads nothing. So the kernel is asked to continue it when its parent dies: it then finds the pipe closed, also
where the supervisor died before the kernel was asked.
"""

import ctypes
import os
import signal
import threading
import time
from contextlib import suppress

LIFELINE_VARIABLE = "EARMARK_LIFELINE"
"""Names the inherited descriptor of a pipe whose other end the supervisor holds."""
_ORPHAN_STOPS_WITHIN_S = 5.0
_PR_SET_PDEATHSIG = 1


def wake_with_parent() -> None:
    """Have the kernel continue this process when its parent dies. Linux only; elsewhere nothing happens."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGCONT), 0, 0, 0)


def follow_supervisor() -> None:
    """End this process when its supervisor is gone, however that died: first by SIGTERM, then for sure."""
    lifeline = os.environ.pop(LIFELINE_VARIABLE, None)
    if lifeline is None:
        return
    wake_with_parent()

    def follow() -> None:
        os.read(int(lifeline), 1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_ORPHAN_STOPS_WITHIN_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=follow, name="lifeline", daemon=True).start()
