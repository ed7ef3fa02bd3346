"""A server that has run out of descriptors."""

import asyncio
import errno

from structlog.testing import capture_logs

from publishers.http.server import _FailedAccepts


def test_a_flood_of_failed_accepts_is_one_line_a_second():
    now_s = [10.0]
    accepts = _FailedAccepts(lambda: now_s[0])
    loop = asyncio.new_event_loop()
    with capture_logs() as logs:
        for _ in range(500):
            accepts.note(
                loop, {"message": "socket.accept()", "exception": OSError(errno.EMFILE, "Too many open files")}
            )
            now_s[0] += 0.005
    loop.close()
    assert [log["event"] for log in logs] == ["no connection can be taken"] * 3


def test_other_complaints_are_asyncios_own(caplog):
    loop = asyncio.new_event_loop()
    _FailedAccepts().note(loop, {"message": "something else", "exception": ValueError("x")})
    loop.close()
    assert "something else" in caplog.text
