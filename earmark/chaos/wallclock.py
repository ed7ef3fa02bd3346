"""A wall clock that steps for some processes alone: a library that they load before libc, and an offset in a file."""

import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path

_VARIABLE = "EARMARK_CHAOS_CLOCK"
_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static int64_t *offset_s;
static int (*real_clock)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    real_clock = (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
    int file = open(getenv("EARMARK_CHAOS_CLOCK"), O_RDONLY | O_CLOEXEC);
    void *mapped = mmap(0, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    offset_s = mapped == MAP_FAILED ? 0 : mapped;
}

int clock_gettime(clockid_t which, struct timespec *now) {
    int failed = real_clock(which, now);
    if (!failed && offset_s && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE))
        now->tv_sec += *(volatile int64_t *) offset_s;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    int failed = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
"""


class WallClock:
    """Compiles the library; needs ``gcc``.

    Args:
        folder: Where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self._library, offset = folder / "clock.so", folder / "clock.offset"
        command = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(self._library), "-ldl"]
        subprocess.run(command, input=_SOURCE, text=True, check=True)  # noqa: S603 -- our own source
        offset.write_bytes(bytes(8))
        self._file = offset
        with offset.open("r+b") as file:
            self._offset = mmap.mmap(file.fileno(), 8)

    @staticmethod
    def is_possible() -> bool:
        """Whether there is a compiler."""
        return shutil.which("gcc") is not None

    @property
    def environment(self) -> dict[str, str]:
        """Of the processes whose clock it is."""
        return {**os.environ, "LD_PRELOAD": str(self._library), _VARIABLE: str(self._file)}

    def set(self, offset_s: int) -> None:
        """Step it: so far from the machine's."""
        self._offset[:] = struct.pack("<q", offset_s)

    def close(self) -> None:
        """Give the file back."""
        self._offset.close()
