"""Where the audio of a file lies by the times of its container, as a player shows it.

A recorder that lost fragments leaves a hole in the times, an edit list moves the sound, and a sound track may start
after the pictures do. Samples that were merely counted would lie too early from there on.
"""

from earmark.contracts.clock import NS

_HOLE_NS = NS // 20
"""Less is rounding, or Vorbis' blocks of two lengths; smaller losses add up until they are a hole."""
_BACK_NS = NS
"""Times that go back by so much begin anew: files were joined."""
_LEAP_NS = 60 * NS
"""A hole may be as long as this, or as the container is, whichever is more."""
_LONGEST_NS = 24 * 3_600 * NS


class Placement:
    """Follows the times of a file's audio.

    Args:
        start_ns: The container's time that a player shows as 0; None where the first sample is.
        duration_ns: How long the container says that it is; None where it does not.
    """

    def __init__(self, start_ns: int | None, duration_ns: int | None) -> None:
        self._next_ns = start_ns
        self._longest_ns = min(max(_LEAP_NS, duration_ns or 0), _LONGEST_NS)

    def hole_ns(self, length_ns: int, time_ns: int | None) -> int:
        """Nanoseconds without audio before a piece.

        Args:
            length_ns: Length of the piece.
            time_ns: The container's time of its first sample; None where it has none.
        """
        hole_ns = 0
        if time_ns is not None and self._next_ns is not None:
            late_ns = time_ns - self._next_ns
            if _HOLE_NS < late_ns <= self._longest_ns:
                hole_ns = late_ns
            elif late_ns <= -_BACK_NS or late_ns > self._longest_ns:
                self._next_ns = time_ns
        if self._next_ns is None:
            self._next_ns = time_ns
        if self._next_ns is not None:
            self._next_ns += hole_ns + length_ns
        return hole_ns


def start_of(format_name: str, start_ns: int | None, duration_ns: int | None) -> int | None:
    """The time in a container that a player shows as 0.

    It is where the first track starts, but MP4 counts from 0: there an edit list says by how much the sound is late.
    Fragments of a live stream carry that stream's times, and start where they start.
    """
    is_mp4 = "mp4" in format_name.split(",")
    if start_ns is not None and is_mp4 and start_ns < (duration_ns or 0):
        return min(0, start_ns)
    return start_ns
