"""``run``, ``stream``, ``engine``, ``publish``: the service and its three kinds of process."""

# ruff: noqa: PLC0415 -- a command imports what it needs when it runs

import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from earmark.contracts.errors import ConfigError

ConfigPath = Annotated[
    Path | None,
    typer.Argument(
        metavar="CONFIG", help="The service's YAML file; without it, the default microphone.", show_default=False
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.command()(run)
    app.command()(stream)
    app.command()(engine)
    app.command()(publish)


def run(
    config: ConfigPath = None,
    port_base: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1024, max=65_000, help="Move every port by N - 7700, for a second service on this machine."
        ),
    ] = None,
) -> None:
    """Run the whole service: start streamer, engine and publishers, and keep them alive."""
    import structlog

    from earmark.app.config_file import dotted
    from earmark.app.load import remarks
    from earmark.app.process import follow_signals
    from earmark.app.service import read_service, supervise
    from earmark.telemetry.logs import configure_logging

    signals = follow_signals(dies_of_second=False)
    live = read_service(config, port_base=port_base)
    live.check_addresses()
    configure_logging("supervisor", live.config.telemetry.log_level)
    for remark in remarks(live.config):
        structlog.get_logger().warning(
            "a setting is seldom meant so", setting=dotted(remark.place), remark=remark.message
        )
    heard = ", ".join(live.config.streams)

    def tell() -> None:
        publishers = live.config.publishers
        sinks = publishers.model_dump(mode="json", exclude_none=True)
        page = {"page": publishers.http.url} if publishers.http else {}
        structlog.get_logger().info("ready; `earmark subscribe` tells what happens", streams=heard, sinks=sinks, **page)

    raise typer.Exit(supervise(live, signals, on_ready=tell))


def stream(
    config: ConfigPath = None,
    epoch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STREAM=HEX", help="Name a stream's epoch instead of drawing one; for tests.", show_default=False
        ),
    ] = None,
) -> None:
    """Run the streamer: capture every stream and send it to the engine."""
    from earmark.app.live_config import LiveConfig
    from earmark.app.process import run_process
    from streamer.service import Streamer

    live = LiveConfig.read(config)
    epochs = dict(_epoch(text, live.config.streams) for text in epoch or [])
    run_process(
        "streamer",
        live,
        lambda service: Streamer(service.streamer, service.sources, epochs=epochs),
        lambda streamer, service: streamer.reload(service.sources),
    )


def engine(
    config: ConfigPath = None,
    shard: Annotated[
        int | None,
        typer.Option(help="With engine.shards: which address of engine.bind to serve, from 0.", show_default=False),
    ] = None,
) -> None:
    """Run the engine: turn sound into events in the outbox."""
    from earmark.app.live_config import LiveConfig
    from earmark.app.load import service_in
    from earmark.app.process import run_process
    from earmark.app.shards import shard_of
    from engine.service import EngineService

    live = LiveConfig.read(config, service_in, lambda whole: whole if shard is None else shard_of(whole, shard))
    run_process(
        "engine",
        live,
        lambda service: EngineService(
            service.engine,
            service.outbox,
            ring_s=service.streamer.ring_s,
            streams=service.streams,
            overrides=service.overrides,
            zones=live.zones,
            clips=service.clips,
        ),
        lambda engine, service: engine.reload(service.streams, service.overrides, service.clips),
    )


def publish(config: ConfigPath = None) -> None:
    """Run the publishers: tell every sink about the events in the outbox."""
    from earmark.app.config import ServiceConfig
    from earmark.app.live_config import LiveConfig
    from earmark.app.load import service_in
    from earmark.app.process import run_process
    from earmark.app.show import as_data
    from earmark.contracts.bundle import load_bundle
    from engine.groups import with_groups
    from engine.judging import plan_judging
    from publishers.http.about import About
    from publishers.service import Publishers

    live = LiveConfig.read(config, service_in)
    bundle = with_groups(load_bundle(live.config.engine.bundle, live.config.engine.preset), live.config.engine.groups)
    confirm = live.config.engine.confirm
    model = plan_judging(bundle, confirm).identity if confirm else bundle.identity

    def about(service: ServiceConfig) -> About:
        return About(
            tuple(service.streams),
            model,
            bundle.spec,
            service.overrides,
            as_data(service),
            service.zones,
            service.clips,
            service.spectrograms,
            service.default_spectrogram,
        )

    run_process(
        "publishers",
        live,
        lambda service: Publishers(service.publishers, service.outbox, about(service)),
        lambda publishers, service: publishers.reload(service.publishers, about(service)),
    )


def _epoch(text: str, streams: Collection[str]) -> tuple[str, int]:
    name, _, digits = text.partition("=")
    if name not in streams:
        raise ConfigError(f"--epoch: expected STREAM=HEX with a stream of the configuration, got {text!r}")
    if not re.fullmatch(r"[0-9a-f]{1,16}", digits) or int(digits, 16) == 0:
        raise ConfigError(
            f"--epoch: expected 1 to 16 hexadecimal digits that are not all 0, got {digits!r} in {text!r}"
        )
    return name, int(digits, 16)
