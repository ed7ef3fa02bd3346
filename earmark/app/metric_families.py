"""The metrics as Prometheus sees them: what the reference page, the dashboard and the alerts are made from."""

from dataclasses import dataclass
from typing import Any

from earmark.telemetry.metrics import REGISTRY


@dataclass(frozen=True)
class Family:
    """A metric.

    Attributes:
        name: As it is scraped; a histogram's is without ``_bucket``, ``_sum`` and ``_count``.
        kind: ``counter``, ``gauge`` or ``histogram``.
        labels: Names of its labels.
        text: What it counts.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def families() -> list[Family]:
    """Every metric of the registry, by name."""
    collectors: list[Any] = list(REGISTRY._collector_to_names)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] -- the library has no other way
    return sorted(map(family_of, collectors), key=lambda family: family.name)


def family_of(collector: Any) -> Family:
    """The metric that a constant of `earmark.telemetry.metrics` stands for."""
    metric = collector.describe()[0]
    name = metric.name + ("_total" if metric.type == "counter" else "")
    return Family(name, metric.type, tuple(collector._labelnames), metric.documentation)  # noqa: SLF001 -- as above
