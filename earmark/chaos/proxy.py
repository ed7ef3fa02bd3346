"""The network between streamer and engine: a TCP proxy that can be cut, stuck, slow, and reset.

TCP delivers every byte or breaks, so a lossy network shows to ZeroMQ as resets: what was under way on the connection is
gone, and what was not is sent on the next one.
"""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any

_CHUNK = 16_384
_TICK_S = 0.02
_WITHIN_S = 10.0


class Proxy:
    """Passes an engine's two ports on, in a thread of its own.

    Args:
        port: Where it listens, and at the port behind.
        engine_port: Where the engine takes blocks; its acknowledgements are at the port behind.
        bytes_s: What it lets through towards the engine; None for all.
    """

    def __init__(self, port: int, engine_port: int, bytes_s: float | None = None) -> None:
        self.port = port
        self.bytes_s = bytes_s
        self.delay_s = 0.0
        """How long each piece of 16 KiB waits, both ways."""
        self.is_stuck = False
        """Nothing is passed on and nothing breaks."""
        self.is_cut = False
        """Nobody is let in; see `reset`."""
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._servers = self._do(self._listen(engine_port))

    @property
    def address(self) -> str:
        """As ``streamer.engines`` takes it."""
        return f"tcp://127.0.0.1:{self.port}"

    def reset(self) -> None:
        """Break every connection."""
        self._do(self._reset())

    def close(self) -> None:
        """Stop."""
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_WITHIN_S)
        self._loop.close()

    def _do(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(_WITHIN_S)

    async def _listen(self, engine_port: int) -> list[asyncio.Server]:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, offset: int) -> None:
            self._writers.add(writer)
            if not self.is_cut:
                with contextlib.suppress(OSError):
                    await self._pass_on(reader, writer, engine_port + offset, is_paced=offset == 0)
            self._abort(writer)

        return [
            await asyncio.start_server(
                lambda r, w, offset=offset: accept(r, w, offset), "127.0.0.1", self.port + offset
            )
            for offset in (0, 1)
        ]

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, *, is_paced: bool
    ) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        self._writers.add(back)
        ways = [
            asyncio.create_task(self._pump(reader, back, is_paced=is_paced)),
            asyncio.create_task(self._pump(there, writer, is_paced=False)),
        ]
        self._tasks.update(ways)
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._tasks.difference_update(ways)
            self._abort(back)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_paced: bool) -> None:
        while data := await reader.read(_CHUNK):
            while self.is_stuck:
                await asyncio.sleep(_TICK_S)
            pace_s = len(data) / self.bytes_s if is_paced and self.bytes_s else 0.0
            if self.delay_s + pace_s:
                await asyncio.sleep(self.delay_s + pace_s)
            writer.write(data)
            await writer.drain()

    def _abort(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.transport.abort()

    async def _reset(self) -> None:
        for writer in list(self._writers):
            self._abort(writer)

    async def _end(self) -> None:
        self.is_cut, self.is_stuck = True, False
        for server in self._servers:
            server.close()
        await self._reset()
        for task in list(self._tasks):
            task.cancel()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.wait(rest, timeout=_WITHIN_S) if rest else None
