"""The configuration's section ``telemetry``: where each process tells about itself."""

from typing import Literal, Self, TypeAlias

from pydantic import model_validator

from earmark.contracts.addresses import check_bind
from earmark.contracts.config import Section
from earmark.contracts.errors import ConfigError

_SHARD_PORTS = 10
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error", "critical"]


class TelemetryConfig(Section):
    """``host:port`` of each process's metrics and health; empty turns it off."""

    streamer: str = "127.0.0.1:7721"
    engine: str = "127.0.0.1:7722"
    """With ``engine.shards`` that of the first; each further one takes a port that is 10 higher."""
    publishers: str = "127.0.0.1:7723"
    supervisor: str = "127.0.0.1:7720"
    """Of ``earmark run`` itself: how its processes are. Not named here, a port that is taken only leaves it out."""
    insecure: bool = False
    """Whether other machines may read it, without authentication."""
    log_level: LogLevel = "info"
    """Least level that is logged; ``EARMARK_LOG_LEVEL`` in the environment wins."""

    def of_shard(self, shard: int) -> str:
        """Where the engine process number ``shard`` tells about itself."""
        host, _, port = self.engine.rpartition(":")
        return f"{host}:{int(port) + _SHARD_PORTS * shard}" if self.engine and shard else self.engine

    @model_validator(mode="after")
    def _may_be_bound(self) -> Self:
        for process in ("streamer", "engine", "publishers", "supervisor"):
            bind: str = getattr(self, process)
            if not bind:
                continue
            if "://" in bind:
                raise ValueError(f"telemetry.{process} wants host:port like 127.0.0.1:7721, got {bind!r}")
            try:
                check_bind(f"tcp://{bind}", insecure=self.insecure, where=f"telemetry.{process}")
            except ConfigError as error:
                raise ValueError(str(error).replace("tcp://", "")) from error
        return self
