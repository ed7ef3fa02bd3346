"""The length of an MPEG audio frame of layer III: nothing else in an MP3 says that its end is missing."""

_RATES_HZ = (44_100, 48_000, 32_000)
_KBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""By whether the version is MPEG-1."""


def is_torn_frame(frame: bytes) -> bool:
    """Whether ``frame`` is shorter than its own header says; False where the header is of another kind."""
    if len(frame) < 4 or frame[0] != 0xFF or frame[1] & 0xE6 != 0xE2:
        return False
    version = frame[1] >> 3 & 3  # 0: MPEG-2.5, 2: MPEG-2, 3: MPEG-1
    bitrate, rate, padding = frame[2] >> 4, frame[2] >> 2 & 3, frame[2] >> 1 & 1
    if version == 1 or bitrate in {0, 15} or rate == 3:
        return False
    is_first = version == 3
    rate_hz = _RATES_HZ[rate] >> (3 - version if version else 2)
    return len(frame) < (144 if is_first else 72) * _KBITS[is_first][bitrate] * 1_000 // rate_hz + padding
