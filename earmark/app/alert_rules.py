"""Prometheus' alerts: what a person should look at, and what to do then.

They want a scrape job that is called ``earmark``. A counter that is first seen above 0 has grown too: `_grew` sees
that, ``increase`` does not.
"""

from dataclasses import dataclass
from typing import Any

from earmark.app.metric_families import family_of
from earmark.telemetry import metrics


@dataclass(frozen=True)
class Alert:
    """One rule.

    Attributes:
        name: As Prometheus lists it.
        expression: What must hold.
        hold: For how long, in Prometheus' words.
        severity: ``critical`` where sound goes unheard or events are lost, else ``warning``.
        summary: One line, with the labels of ``expression``.
        description: What it means.
        action: What to do.
    """

    name: str
    expression: str
    hold: str
    severity: str
    summary: str
    description: str
    action: str


def alert_rules() -> dict[str, Any]:
    """The content of a rule file."""
    return {"groups": [{"name": "earmark", "rules": [_rule(alert) for alert in _alerts()]}]}


def _rule(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expression,
        "for": alert.hold,
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "description": alert.description, "action": alert.action},
    }


def _name(metric: Any) -> str:
    return family_of(metric).name


def _grew(series: str, within: str) -> str:
    return f"increase({series}[{within}]) > 0 or ({series} > 0 unless {series} offset {within})"


def _alerts() -> list[Alert]:
    depth, taken = _name(metrics.SINK_DEPTH), _name(metrics.SINK_EVENTS)
    shed = f'{_name(metrics.GAPS)}{{reason="shed"}}'
    return [
        Alert(
            "EarmarkNotScraped",
            'up{job="earmark"} == 0 or absent(up{job="earmark"})',
            "2m",
            "critical",
            "{{ with $labels.instance }}{{ . }}{{ else }}Every process of Earmark{{ end }} does not answer Prometheus",
            "The process is down, hangs or cannot be reached; nothing is known of what it does.",
            "Look at the process and its log. If it runs, compare its address in the section telemetry with the "
            "scrape job earmark.",
        ),
        Alert(
            "EarmarkStreamDown",
            f"{_name(metrics.STREAM_UP)} == 0",
            "5m",
            "critical",
            "Stream {{ $labels.stream }} delivers no audio",
            "Its source is gone and is opened again and again; what sounds there is not heard.",
            "Look for the cable, the camera or its password; the streamer's log says what opening it answers.",
        ),
        Alert(
            "EarmarkStreamNotListening",
            f"{_name(metrics.COVERAGE)} < 0.9",
            "15m",
            "critical",
            "Only {{ $value | humanizePercentage }} of the last hour of stream {{ $labels.stream }} was analysed",
            "Quiet there means little: audio did not come, was lost on the way, or was skipped.",
            "Compare captured, received and analysed samples of the stream on the dashboard: the first that is short "
            "names the process. After an outage the figure takes up to an hour to recover.",
        ),
        Alert(
            "EarmarkOutboxFailing",
            f"{_name(metrics.OUTBOX_FAILING)} == 1",
            "1m",
            "critical",
            "The outbox on {{ $labels.instance }} takes no commits",
            "Its disk is full or fails. Audio waits in the streamers' rings; when they are full it is lost.",
            "Free space on the outbox's disk, or lower outbox.max_size_mb. Nothing has to be restarted.",
        ),
        Alert(
            "EarmarkSinkBehind",
            f"{depth} > 1000 or ({depth} > 0 unless increase({taken}[10m]) > 0)",
            "10m",
            "warning",
            "Sink {{ $labels.sink }} is {{ $value }} events behind",
            "The other end is away, refuses or is too slow. Events wait in the outbox until retention deletes them.",
            "The publishers' log says what the other end answers. Once it takes events again, nothing else is to do.",
        ),
        Alert(
            "EarmarkSinkLosesEvents",
            _grew(_name(metrics.SINK_LOST), "1h"),
            "0m",
            "critical",
            "Sink {{ $labels.sink }} has lost events",
            "Retention deleted events that the sink had not taken, or another release wrote them.",
            "Bring its other end back, or remove the sink; raise outbox.max_age_days and outbox.max_size_mb for longer "
            "outages.",
        ),
        Alert(
            "EarmarkDeadLetters",
            _grew(_name(metrics.SINK_DEAD_LETTERS), "1h"),
            "0m",
            "warning",
            "Sink {{ $labels.sink }} has put events aside",
            "Its other end refused them for good, or for longer than they are tried.",
            "`earmark dead-letters list` tells them and why; mend the other end, then `earmark dead-letters resend`. "
            "Under systemd: `sudo XDG_STATE_HOME=/var/lib /opt/earmark/bin/earmark dead-letters list --config "
            "/etc/earmark/earmark.yaml`.",
        ),
        Alert(
            "EarmarkSheds",
            _grew(shed, "15m"),
            "0m",
            "critical",
            "The engine skipped audio of stream {{ $labels.stream }}",
            "The engine cannot keep up; whole stretches go unheard.",
            "Look at step_seconds and batch_size: give the engine a faster machine or a GPU, or fewer streams.",
        ),
        Alert(
            "EarmarkCheckpointsRefused",
            f"increase({_name(metrics.CHECKPOINTS_REFUSED)}[5m]) > 0",
            "10m",
            "warning",
            "Two engines decide on the same streams, says {{ $labels.instance }}",
            "Each drops what the other has committed and reads the stream again. After a restart that happens once; it "
            "must not go on.",
            "Stop one of the engines, or let each stream be sent to one of them only.",
        ),
        Alert(
            "EarmarkProcessDown",
            f"{_name(metrics.PROCESS_READY)} == 0",
            "2m",
            "critical",
            "The {{ $labels.process }} has not worked for 2 minutes",
            "It dies, hangs or does not get ready. After supervisor.restart_limit ends in a row the service itself "
            "ends with exit code 3, for whatever started it to start it again.",
            "The log has the reason beside 'a child has ended'.",
        ),
        Alert(
            "EarmarkReloadRefused",
            _grew(f'{_name(metrics.RELOADS)}{{result="refused"}}', "1h"),
            "0m",
            "warning",
            "The {{ $labels.process }} has refused a changed configuration",
            "What ran before goes on; the file on the disk is not what runs.",
            "The log has the lines that are wrong beside 'configuration refused'; mend them, then "
            "`systemctl reload earmark`.",
        ),
        Alert(
            "EarmarkRestarts",
            f"increase({_name(metrics.RESTARTS)}[30m]) > 3",
            "0m",
            "warning",
            "The {{ $labels.process }} was started again {{ $value | humanize }} times in half an hour",
            "It dies or hangs again and again; nothing is lost as long as the streamers live, but delays grow.",
            "The log has the reason beside 'a child has ended'; look there for the traceback or for memory.",
        ),
    ]
