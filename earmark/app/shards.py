"""One engine process for each address: what each of them is told of the whole service's configuration."""

from collections.abc import Iterator

from earmark.app.config import ServiceConfig
from earmark.app.config_file import Problem
from earmark.contracts.errors import ConfigError
from streamer.sender import find_engine


def shard_of(config: ServiceConfig, shard: int) -> ServiceConfig:
    """The configuration of one engine process: its address, the streams that find it, and its telemetry.

    Raises:
        ConfigError: There is no such process.
    """
    engine, addresses = config.engine, config.streamer.engines
    if not engine.shards or not 0 <= shard < len(engine.bind):
        there_are = f"0 to {len(engine.bind) - 1}" if engine.shards else "none, for engine.shards is false"
        raise ConfigError(f"--shard: expected one that engine.bind names, got {shard}; there are {there_are}")
    streams = {
        name: stream
        for name, stream in config.streams.items()
        if addresses.index(find_engine(name, addresses)) == shard
    }
    return config.model_copy(
        update={
            "engine": engine.model_copy(update={"bind": (engine.bind[shard],)}),
            "telemetry": config.telemetry.model_copy(update={"engine": config.telemetry.of_shard(shard)}),
            "streams": streams,
        }
    )


def check_shards(config: ServiceConfig) -> Iterator[Problem]:
    """What keeps the processes from finding their streams."""
    n_bound, n_named = len(config.engine.bind), len(config.streamer.engines)
    if config.engine.shards and n_bound != n_named:
        yield Problem(
            ("streamer", "engines"),
            f"expected the {n_bound} addresses of engine.bind in their order, for each is a process, got {n_named}",
        )
