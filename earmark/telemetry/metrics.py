"""Every metric of every process, in one place.

Names are ``earmark_*`` in base units; a process exposes what it touches.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

_DELAY_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_STEP_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"earmark_{name}", text, labels, registry=REGISTRY)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"earmark_{name}", text, labels, registry=REGISTRY)


def _histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
    return Histogram(f"earmark_{name}", text, buckets=buckets, registry=REGISTRY)


STREAM_UP = _gauge("stream_up", "Whether the stream's source delivers audio.", "stream")
CAPTURED_SAMPLES = _counter("captured_samples", "Samples that went into the ring, at the model's rate.", "stream")
RING_FILL = _gauge(
    "ring_fill_ratio", "Share of the stream's ring that holds audio which the engine may still need.", "stream"
)
SENT_BLOCKS = _counter("sent_blocks", "Blocks handed to the engine's socket, repeats included.", "stream")
SOURCE_FAILURES = _counter("source_failures", "Times that a source failed and was opened again.", "stream")
SOURCE_NOTICES = _counter(
    "source_notices",
    "Packets that could not be decoded, and whatever else is wrong with a source's audio, by what it is about.",
    "stream",
    "about",
)
CLOCK_JUMPS = _counter("clock_jumps", "Times that the wall clock was set under a stream.", "stream")

GAPS = _counter("gaps", "Gaps, by why their samples will never come.", "stream", "reason")
GAP_SAMPLES = _counter("gap_samples", "Samples that will never come.", "stream", "reason")

RECEIVED_BLOCKS = _counter("received_blocks", "Blocks that the engine took.", "stream")
RECEIVED_SAMPLES = _counter("received_samples", "Samples that the engine took.", "stream")
REFUSED = _counter("refused_records", "Messages, records and requests that were refused.", "reason")
EPOCH_TAKEOVERS = _counter(
    "epoch_takeovers",
    "Times that another run of a streamer ended a stream's epoch: it started again, or two send the same stream.",
    "stream",
)
ANALYSED_SAMPLES = _counter("analysed_samples", "Samples whose scores were decided on.", "stream")
COVERAGE = _gauge(
    "coverage_ratio",
    "Share of the last hour, or of a new stream's time, that was really analysed. Restarts do not reset it.",
    "stream",
)
BATCH_SIZE = _histogram("batch_size", "Rows in one model step.", _BATCH_BUCKETS)
STEP_SECONDS = _histogram("step_seconds", "Time of one model step, features included.", _STEP_BUCKETS)
MODEL_RESTARTS = _counter(
    "model_restarts", "Times that a stream's model began afresh because its scores were no probabilities.", "stream"
)
JUDGED_WINDOWS = _counter("judged_windows", "Windows of audio that the judge of onsets was asked about.")
JUDGE_SECONDS = _histogram(
    "judge_seconds", "Time of the judge's answers about all windows that were due at once.", _STEP_BUCKETS
)
REFUSED_BY_JUDGE = _counter(
    "refused_by_judge", "Onsets that the judge did not confirm when it was first asked.", "stream", "label"
)
COMMIT_SECONDS = _histogram("commit_seconds", "Time of one outbox transaction.", _STEP_BUCKETS)
DELAY_SECONDS = _histogram(
    "delay_seconds", "From the arrival of an event's last needed sample at the engine to the decision.", _DELAY_BUCKETS
)
EVENTS = _counter("events", "Events that began.", "stream", "label")
CHECKPOINTS_REFUSED = _counter("checkpoints_refused", "Commits that another engine's had overtaken.")
OUTBOX_FAILING = _gauge("outbox_failing", "1 while the outbox takes no commits; audio waits in the rings.")

SINK_DEPTH = _gauge("sink_depth_events", "Events in the outbox that the sink has not taken.", "sink")
SINK_EVENTS = _counter(
    "sink_events",
    "Events that the sink is done with: told, filtered out, held back or put aside as dead letters.",
    "sink",
)
SINK_FAILURES = _counter("sink_failures", "Attempts that failed and are tried again.", "sink")
SINK_LOST = _counter(
    "sink_lost_events",
    "Events that retention removed before the sink took them, that another release wrote, or that a sink refuses.",
    "sink",
)
SINK_DEAD_LETTERS = _counter("sink_dead_letters", "Events that the sink gave up and put aside.", "sink")
SINK_DEAD_LETTERS_DROPPED = _counter(
    "sink_dead_letters_dropped", "Dead letters that made room or were too old.", "sink"
)
SINK_HELD_BACK = _counter(
    "sink_held_back_events",
    "Events that the sink told nobody, by why: quiet_hours, cooldown, too_old, disabled.",
    "sink",
    "reason",
)
CLIPS = _counter(
    "clips",
    "Events, by what became of their clip: stored, not_allowed, forbidden, unscored, gone, failed.",
    "outcome",
)
CLIP_BYTES = _gauge("clips_stored_bytes", "Size of the clips and scores that are kept.")
CLIP_FILES_DELETED = _counter("clips_deleted_files", "Clips and scores that retention deleted.")
HISTORY_REQUESTS = _counter("history_requests", "Requests that the history socket answered.")
HTTP_REQUESTS = _counter("http_requests", "HTTP requests, by the status of their answer.", "status")
HTTP_STREAMS = _gauge("http_streams", "Endless HTTP answers under way: events or live.", "kind")
RESTARTS = _counter("process_restarts", "Times that the supervisor started a process again.", "process")
PROCESS_READY = _gauge("process_ready", "Whether a process of `earmark run` is there and ready.", "process")
RELOADS = _counter(
    "reloads", "Times that SIGHUP had the configuration read again, by result: done, refused.", "process", "result"
)
LAST_RELOAD = _gauge("last_reload_timestamp_seconds", "When a changed configuration was last taken over.", "process")
