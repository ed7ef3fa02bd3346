"""One of the configuration's ``publishers.notifications``."""

import difflib
import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Annotated, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from earmark.contracts.config import Section
from earmark.contracts.errors import ConfigError
from earmark.contracts.events import Phase
from publishers.filters import Begin, EventFilter
from publishers.notify.template import check_template

_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


def _check_clock(text: object) -> object:
    # YAML takes 22:00 without quotes for the number 1320.
    if not isinstance(text, str) or not _CLOCK.fullmatch(text):
        raise ConfigError(f'expected a time of day in quotes, like "22:00", got {text!r}')
    return text


def _check_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        near = difflib.get_close_matches(name, available_timezones(), n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"expected a time zone like Europe/Berlin, got {name!r}{hint}") from error
    return name


ClockTime = Annotated[str, BeforeValidator(_check_clock)]
ZoneName = Annotated[str, AfterValidator(_check_zone)]
Template = Annotated[str, AfterValidator(check_template)]


class QuietHours(Section):
    """When nobody is to be told."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    from_: Annotated[ClockTime, Field(alias="from")]
    """Their begin, like ``"22:00"``."""
    to: ClockTime
    """Their end, on the next day where it is earlier."""
    timezone: ZoneName | None = None
    """Whose clock this is, like ``Europe/Berlin``; null: the notification's."""
    always: tuple[str, ...] = ()
    """Labels that are told all the same."""
    summary: bool = False
    """Whether their end is told of with one count of what was held back."""

    @model_validator(mode="after")
    def _last(self) -> Self:
        if self.from_ == self.to:
            raise ValueError(f"expected two times, got {self.to} for from and for to")
        return self

    def hold_back(self, now: datetime) -> bool:
        """Whether ``now``, in the right zone, lies in them.

        Where clocks go back, they last from the first time that it is ``from`` to the last time that it is ``to``.
        """
        begin, end, clock = time.fromisoformat(self.from_), time.fromisoformat(self.to), now.time()
        if begin <= clock < end if begin < end else clock >= begin or clock < end:
            return True
        length = timedelta(days=0 if begin < end else 1)
        return any(
            _instant(day, begin, now, fold=0) <= now.astimezone(UTC) < _instant(day + length, end, now, fold=1)
            for day in (now.date(), now.date() - timedelta(days=1))
        )


def _instant(day: date, clock: time, now: datetime, *, fold: int) -> datetime:
    """When it is ``clock`` on a day in the zone of ``now``: the first (0) or last (1) time that it is."""
    is_offset = isinstance(now.tzinfo, timezone) and now.tzinfo is not UTC
    zone = None if is_offset else now.tzinfo  # an offset is all that is known of the machine's own zone
    return datetime.combine(day, clock.replace(fold=fold), zone).astimezone(UTC)


class OnsetFilter(EventFilter):
    """Which events are told: those that fit everything that is set here."""

    phases: Annotated[tuple[Phase, ...], Field(min_length=1)] = ("onset",)
    """Whether onsets, offsets or both are told."""


class NotifyConfig(Section):
    """Somebody who is told in a sentence, through any service that Apprise knows (needs ``earmark[notify]``)."""

    urls: tuple[SecretStr, ...] = ()
    """Apprise's addresses of the services, such as ``ntfy://ntfy.sh/TOPIC``; never shown. Each is told on its own."""
    urls_file: Path | None = None
    """The same in a file, one a line; lines that begin with ``#`` are left out."""
    filter: OnsetFilter = OnsetFilter()
    """Which events are told; all onsets without it."""
    begin: Begin = "now"
    """Where it begins when it is added to a service that has run before: with what happens from ``now`` on, or with the
    ``oldest`` event that the outbox keeps."""
    title: Template = "{sound} at {stream}"
    """May name ``{sound}``, ``{label}``, ``{stream}``, ``{phase}``, ``{time}``, ``{score}``, ``{score_mean}``,
    ``{level_db}``, ``{duration_s}``, ``{reason}``, ``{model}``, ``{event_id}`` and ``{heard_by}``, each with Python's
    formats."""
    body: Template = "{sound} at {stream}, {time:%H:%M:%S}, score {score:.2f}"
    """So may this."""
    timezone: ZoneName | None = None
    """Whose clock ``{time}`` tells, like ``Europe/Berlin``; null: the machine's."""
    quiet_hours: QuietHours | None = None
    """When only chosen labels are told."""
    cooldown_s: Annotated[float, Field(ge=0)] = 0.0
    """After an event is told, no other of its stream, label and phase that lies within this time is."""
    max_age_s: Annotated[float, Field(gt=0)] = 300.0
    """An event that was decided longer ago is not told any more: an old siren must not ring."""

    @model_validator(mode="after")
    def _reaches_somebody(self) -> Self:
        if bool(self.urls) == (self.urls_file is not None):
            got = "both" if self.urls else "neither"
            raise ValueError(f"expected one of urls and urls_file, got {got}")
        return self

    @property
    def zone(self) -> tzinfo | None:
        """Of ``{time}``; None for the machine's."""
        return None if self.timezone is None else ZoneInfo(self.timezone)

    @property
    def quiet_zone(self) -> tzinfo | None:
        """Of the quiet hours; None for the machine's."""
        quiet = self.quiet_hours
        return self.zone if quiet is None or quiet.timezone is None else ZoneInfo(quiet.timezone)
