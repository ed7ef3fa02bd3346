"""From a file to a configuration that every process can start with."""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydantic import BaseModel, ValidationError

from earmark.app.config import ServiceConfig
from earmark.app.config_file import Document, Place, Problem, dotted, read_document
from earmark.app.config_problems import find_problems, nearest
from earmark.app.ports import bound_addresses, move_ports
from earmark.app.shards import check_shards
from earmark.contracts.bundle import Bundle, BundleSpec, load_bundle
from earmark.contracts.config import SmoothingOverride
from earmark.contracts.errors import BundleError, ConfigError, SourceError
from engine.groups import with_groups
from engine.judging import Judging, plan_judging
from publishers.config import PublishersConfig
from publishers.filters import EventFilter
from publishers.mqtt.config import HomeAssistantConfig
from streamer.config import FileSource, from_stdin

_RUN = Path("/run")
"""Here service managers put secrets, and only while the service runs."""
RING_RESERVE_S = 30.0
"""What a ring holds beyond what a restarted engine asks for again: the time that the restart may take."""


@dataclass(frozen=True)
class Service:
    """A configuration that was checked against the bundle that it names."""

    config: ServiceConfig
    bundle: Bundle
    judging: Judging | None = None
    """How ``engine.confirm`` has onsets confirmed; None without it."""

    @property
    def model(self) -> str:
        """What events carry as ``model``."""
        return self.judging.identity if self.judging else self.bundle.identity


def load_config(path: Path | None, environment: Mapping[str, str] = os.environ) -> ServiceConfig:
    """The configuration in a file; the default one, which listens to the default microphone, without a file.

    Raises:
        ConfigError: All that is wrong with it, one line each.
    """
    return config_in(open_document(path, environment))


def load_service(
    path: Path | None,
    environment: Mapping[str, str] = os.environ,
    *,
    together: bool = False,
    files: bool = False,
) -> Service:
    """The configuration in a file, checked against its bundle too.

    Args:
        path: The file; None for the default configuration.
        environment: What ``${NAME}`` is looked up in.
        together: Whether its streamer and its engine are to run side by side; so its files are on this machine too.
        files: Whether the files that it names are on this machine: recordings, keys, passwords, certificates.

    Raises:
        ConfigError: All that is wrong with it, one line each.
    """
    document = open_document(path, environment)
    return service_in(document, config_in(document), together=together, files=files)


def service_in(document: Document, config: ServiceConfig, *, together: bool = False, files: bool = False) -> Service:
    """``config``, which stands in ``document``, checked against its bundle; as `load_service`."""
    try:
        bundle = load_bundle(config.engine.bundle)
    except BundleError as error:
        raise document.error([Problem(("engine", "bundle"), str(error))]) from error
    try:
        bundle = bundle.with_preset(config.engine.preset)
    except BundleError as error:
        raise document.error([Problem(("engine", "preset"), str(error))]) from error
    try:
        bundle = with_groups(bundle, config.engine.groups)
    except ConfigError as error:
        raise document.error([Problem(("engine", "groups"), str(error))]) from error
    judging = _judging_in(document, bundle, config)
    problems = [
        *check_service(config, bundle.spec, files=together or files),
        *(check_together(config) if together else ()),
    ]
    if problems:
        raise document.error(problems)
    return Service(config, bundle, judging)


def _judging_in(document: Document, bundle: Bundle, config: ServiceConfig) -> Judging | None:
    if config.engine.confirm is None:
        return None
    try:
        return plan_judging(bundle, config.engine.confirm)
    except BundleError as error:
        raise document.error([Problem(("engine", "confirm", "bundle"), str(error))]) from error
    except ConfigError as error:
        raise document.error([Problem(("engine", "confirm"), str(error))]) from error


def open_document(path: Path | None, environment: Mapping[str, str] = os.environ) -> Document:
    """The file's content; an empty one without a file.

    Raises:
        ConfigError: The file cannot be read.
    """
    return Document("the default configuration") if path is None else read_document(path, environment)


def config_in(document: Document) -> ServiceConfig:
    """The configuration that stands in a document.

    Raises:
        ConfigError: All that is wrong with it, one line each.
    """
    data = {
        key: value for key, value in document.data.items() if value is not None or key not in ServiceConfig.model_fields
    }
    try:
        config = ServiceConfig.model_validate(data)
    except ValidationError as error:
        read_badly = {problem.place for problem in document.problems}
        found = [
            problem
            for problem in find_problems(error, ServiceConfig, document.written)
            if problem.place not in read_badly
        ]
        raise document.error(document.problems + found) from error
    if document.problems:
        raise document.error(document.problems)
    try:
        return move_ports(config)
    except ConfigError as error:
        raise document.error([Problem(("port_base",), str(error))]) from error


def check_service(config: ServiceConfig, spec: BundleSpec, *, files: bool = False) -> Iterator[Problem]:
    """What no section can see alone: what does not fit the bundle, another section or, with ``files``, this machine."""
    yield from _check_stdin(config)
    yield from _check_ring(config, spec)
    yield from _check_rates(config, spec)
    yield from _check_labels(config, spec)
    yield from _check_zones(config)
    yield from _check_filters(config, spec)
    yield from _check_addresses(config)
    yield from check_shards(config)
    if files:
        yield from _check_files(config)


def remarks(config: ServiceConfig) -> Iterator[Problem]:
    """What is allowed and yet seldom meant: a filter for streams that are not listed, though others may send them."""
    known = {*config.streams, *config.zones}
    for place, chosen in _filters(config.publishers):
        for index, name in enumerate(chosen.streams):
            if name not in known:
                what = f"no stream or zone here is {name!r}{nearest(name, known)}"
                yield Problem(("publishers", *place, "streams", index), what)


def _check_stdin(config: ServiceConfig) -> Iterator[Problem]:
    names = from_stdin(config.streams)
    for name in names[1:]:
        yield Problem(("streams", name, "source"), f"expected one source stdin at most, got streams.{names[0]} too")


def _check_ring(config: ServiceConfig, spec: BundleSpec) -> Iterator[Problem]:
    least_s = spec.window_s + spec.warmup_s + config.engine.checkpoint_s + RING_RESERVE_S
    if config.streamer.ring_s < least_s:
        yield Problem(
            ("streamer", "ring_s"),
            f"expected at least {least_s:g} s, got {config.streamer.ring_s:g} s; an engine that starts again needs "
            f"the window ({spec.window_s:g} s) and warm-up ({spec.warmup_s:g} s) of {spec.name!r}, checkpoint_s "
            f"({config.engine.checkpoint_s:g} s) and {RING_RESERVE_S:g} s to start in",
        )


def _check_rates(config: ServiceConfig, spec: BundleSpec) -> Iterator[Problem]:
    for name, stream in config.streams.items():
        if stream.sample_rate_hz != spec.sample_rate_hz:
            yield Problem(
                ("streams", name, "sample_rate_hz"),
                f"model {spec.name!r} wants {spec.sample_rate_hz} Hz, "
                f"stream {name!r} sends {stream.sample_rate_hz} Hz; "
                f"set streams.{name}.sample_rate_hz: {spec.sample_rate_hz}",
            )


def _check_labels(config: ServiceConfig, spec: BundleSpec) -> Iterator[Problem]:
    for name, overrides in config.overrides.items():
        for label, override in overrides.items():
            place = ("streams", name, "labels", label)
            if label not in spec.event_labels:
                yield Problem(place, f"model {spec.name!r} has no such label{nearest(label, spec.event_labels)}")
            else:
                yield from _check_thresholds(place, override, spec)


def _check_zones(config: ServiceConfig) -> Iterator[Problem]:
    """A zone has events under its name as a stream has."""
    for name, stream in config.streams.items():
        if stream.zone in config.streams:
            yield Problem(
                ("streams", name, "zone"),
                f"expected a name that no stream has, got {stream.zone!r}, which is a stream; rename the zone",
            )


def _check_filters(config: ServiceConfig, spec: BundleSpec) -> Iterator[Problem]:
    """A filter with a label that there is not would hold everything back, and nobody would notice."""
    for place, labels in _named_labels(config.publishers):
        for index, label in enumerate(labels):
            if label not in spec.event_labels:
                what = f"model {spec.name!r} has no such label{nearest(label, spec.event_labels)}"
                yield Problem(("publishers", *place, index), what)


def _named_labels(publishers: PublishersConfig) -> Iterator[tuple[Place, tuple[str, ...]]]:
    for place, chosen in _filters(publishers):
        yield (*place, "labels"), chosen.labels
    for name, notification in publishers.notifications.items():
        if notification.quiet_hours is not None:
            yield ("notifications", name, "quiet_hours", "always"), notification.quiet_hours.always
    if clips := publishers.clips:
        yield ("clips", "forbid_labels"), clips.forbid_labels


def _filters(publishers: PublishersConfig) -> Iterator[tuple[Place, EventFilter | HomeAssistantConfig]]:
    """What names the streams and labels that a sink is for."""
    for name, webhook in publishers.webhooks.items():
        yield ("webhooks", name, "filter"), webhook.filter
    for name, notification in publishers.notifications.items():
        yield ("notifications", name, "filter"), notification.filter
    if mqtt := publishers.mqtt:
        yield ("mqtt", "filter"), mqtt.filter
        if mqtt.homeassistant is not None:
            yield ("mqtt", "homeassistant"), mqtt.homeassistant


def _check_thresholds(place: Place, override: SmoothingOverride, spec: BundleSpec) -> Iterator[Problem]:
    onset, offset = override.onset_threshold, override.offset_threshold
    what_to_do = "lower offset_threshold, or leave it out"
    if onset is None:
        onset = spec.smoothing_of(str(place[-1])).onset_threshold
        what_to_do = "the latter is the bundle's, set onset_threshold as well"
    if offset is not None and offset > onset:
        yield Problem(
            place, f"expected offset_threshold <= onset_threshold, got {offset:g} and {onset:g}; {what_to_do}"
        )


def _check_addresses(config: ServiceConfig) -> Iterator[Problem]:
    bound: dict[str, Place] = {}
    for place, address in bound_addresses(config):
        if address in bound:
            yield Problem(place, f"expected an address of its own, got {address}, which {dotted(bound[address])} takes")
        bound.setdefault(address, place)


def _check_files(config: ServiceConfig) -> Iterator[Problem]:
    from streamer.sources.file import check_file  # noqa: PLC0415 -- an engine needs no decoder

    for name, stream in config.streams.items():
        if isinstance(stream, FileSource):
            try:
                check_file(stream.path)
            except SourceError as error:
                yield Problem(("streams", name, "path"), str(error))
    for place, path in _named_files(config, ()):
        if what := _unreadable(path):
            yield Problem(place, f"expected a file that can be read, got {what}")


def _named_files(value: object, place: Place) -> Iterator[tuple[Place, Path]]:
    """Every path whose key ends in ``_file``, in any section, with the place that it stands in."""
    if isinstance(value, BaseModel):
        inner = {name: cast("object", getattr(value, name)) for name in type(value).model_fields}
    elif isinstance(value, Mapping):
        inner = cast("Mapping[str, object]", value)
    else:
        return
    for key, item in inner.items():
        if key.endswith("_file") and isinstance(item, Path):
            yield (*place, key), item
        else:
            yield from _named_files(item, (*place, key))


def _unreadable(path: Path) -> str | None:
    """What is there instead of a file that can be read, and what to do; None where it can be, or nobody can know."""
    try:
        found = path.expanduser()
        if Path(os.path.realpath(found)).is_relative_to(_RUN):
            return None
        if not stat.S_ISREG(found.stat().st_mode):
            return f"something else at {path}; name the file itself"
        found.open("rb").close()
    except (FileNotFoundError, NotADirectoryError):
        return f"nothing at {path}; make it, or correct the path"
    except (OSError, RuntimeError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        return f"{reason} at {path}; let this user read it, or correct the path"
    return None


def check_together(config: ServiceConfig) -> Iterator[Problem]:
    """What holds only where streamer and engine run side by side, as `earmark run` has them."""
    reaches_all = any(re.match(r"tcp://(0\.0\.0\.0|\[::\]|\*):", address) for address in config.engine.bind)
    if not reaches_all and not set(config.streamer.engines) & set(config.engine.bind):
        yield Problem(
            ("streamer", "engines"),
            f"expected an address of engine.bind ({', '.join(config.engine.bind)}), got "
            f"{', '.join(config.streamer.engines)}: no engine of this service would listen there",
        )
    if (config.engine.curve is None) != (config.streamer.curve is None):
        one, other = ("engine", "streamer") if config.streamer.curve is None else ("streamer", "engine")
        yield Problem((one, "curve"), f"expected {other}.curve too, got none: its streams would be refused; set both")
    if config.clips and config.publishers.clips is None:
        yield Problem(
            ("streams", config.clips[0], "clips"), "expected publishers.clips too, got none: nothing would store them"
        )
