"""What zones cost streams that are in none, and what the index of times costs and saves.

    .venv/bin/python -m benchmarks.bench_outbox [EVENTS]

Figures are ratios within one run: commits of ten streams with and without zones in the configuration, with and without
the index; one hour of a month in an outbox of a million events, by pages of the REST API, with and without skipping.
"""

import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from earmark.contracts.events import SoundEvent, event_id
from earmark.outbox import EventQuery, Outbox, OutboxReader, StreamCommit
from publishers.http.reading import read_page
from tests.support.events import EPOCH, make_event

N_COMMITS = 1500
N_ROUNDS = 9
MONTH = timedelta(days=30)
BEGIN = datetime(2026, 10, 1, tzinfo=UTC)
_MAKE = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)
INSERT INTO events (event_id, phase, stream, label, created_ns, body)
SELECT printf('%032x', n), 'onset', 'gate', 'dog', 1,
    replace(?, 'TIME', strftime('%Y-%m-%dT%H:%M:%fZ', ?, printf('+%f seconds', n * ?))) FROM numbers
"""


def main() -> None:
    """Print the figures."""
    n_events = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        print_commits(Path(folder))
        print_pages(Path(folder) / "month.db", n_events)


def print_commits(folder: Path) -> None:
    """Rounds take turns, so that what else the machine does hits all alike; medians over rounds."""
    zones = {"yard": [f"other-{i}" for i in range(100)]}
    outboxes = {
        "neither": Outbox(folder / "neither.db"),
        "index": Outbox(folder / "index.db"),
        "index, 100 other streams in a zone": Outbox(folder / "zones.db", zones=zones, fusion_ms=1000),
    }
    outboxes["neither"]._connection.execute("DROP INDEX events_began")  # noqa: SLF001 -- what is compared with
    times: dict[str, list[float]] = {name: [] for name in outboxes}
    for round_ in range(N_ROUNDS):
        for name, outbox in outboxes.items():
            times[name].append(_commit(outbox, round_))
    base = statistics.median(times["neither"])
    for name, seconds in times.items():
        each = statistics.median(seconds)
        print(f"a commit of one event, {name}: {1e6 * each / N_COMMITS:.0f} us, {each / base:.2f} of the first")


def _commit(outbox: Outbox, round_: int) -> float:
    first = round_ * N_COMMITS
    commits = [
        StreamCommit(f"s{n % 10}", outbox.load(f"s{n % 10}").revision + n // 10, None, [_event(first + n, n % 10)])
        for n in range(N_COMMITS)
    ]
    began_s = time.process_time()
    for commit in commits:
        if outbox.commit([commit]):
            raise RuntimeError(f"expected a commit of {commit.stream}, got a refusal")
    return time.process_time() - began_s


def _event(number: int, stream: int) -> SoundEvent:
    name = f"s{stream}"
    return make_event(number, name).model_copy(update={"event_id": event_id(name, EPOCH, "dog", number)})


def print_pages(path: Path, n_events: int) -> None:
    """One hour, late in the month."""
    outbox = Outbox(path)
    body = make_event(1).model_copy(update={"onset_time": BEGIN}).model_dump_json(exclude={"seq"})
    body = body.replace('"onset_time":"2026-10-01T00:00:00Z"', '"onset_time":"TIME"')
    step_s = MONTH.total_seconds() / n_events
    outbox._connection.execute(_MAKE, (n_events, body, BEGIN.strftime("%Y-%m-%d %H:%M:%S"), step_s))  # noqa: SLF001
    from_time = BEGIN + timedelta(days=25)
    query = EventQuery(from_time=from_time, to_time=from_time + timedelta(hours=1))
    reader = OutboxReader(path)
    skipped = _read(reader, query)
    nearest, OutboxReader.nearest = OutboxReader.nearest, _next
    scanned = _read(reader, query)
    OutboxReader.nearest = nearest
    print(f"one hour of {n_events} events in a month, {skipped[0]} of them: {skipped[1]} page and {skipped[2]:.4f} s; ")
    print(f"without the index {scanned[1]} pages, {scanned[2]:.2f} s, {scanned[2] / skipped[2]:.0f} times that")
    began_s = time.perf_counter()
    outbox._connection.execute("REINDEX events_began")  # noqa: SLF001
    print(f"making the index of {n_events} events: {time.perf_counter() - began_s:.1f} s")


def _next(
    _reader: OutboxReader, _query: EventQuery, *, after: int, through: int, newest_first: bool = False
) -> int | None:
    """Skips nothing: a page looks at the next 50,000 events, as it did before there was an index."""
    if after >= through:
        return None
    return through if newest_first else after + 1


def _read(reader: OutboxReader, query: EventQuery) -> tuple[int, int, float]:
    """Events, pages and seconds."""
    n_found, n_pages, cursor = 0, 0, None
    began_s = time.perf_counter()
    while n_pages == 0 or cursor is not None:
        page = read_page(reader, query, 1000, since=0, cursor=cursor, newest_first=False)
        n_found += page.count('"seq":')
        n_pages += 1
        tail = page.split('"cursor":', 1)[1].split(",", 1)[0]
        cursor = None if tail == "null" else int(tail)
    return n_found, n_pages, time.perf_counter() - began_s


if __name__ == "__main__":
    main()
