"""Where engines are kept between two starts, and which of them are refused.

An engine runs what it was built from, whatever the bundle beside it says by now. So it is used only where its sidecar
agrees with everything that is asked for, and its bytes with its sidecar; else it is told why, once, and built again.
Names hold no versions, so that a new engine takes the old one's place and nothing piles up.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import ValidationError

from earmark.contracts.bundle import Bundle
from engine.config import Precision
from engine.runtimes.tensorrt.build import Engine, build_engine
from engine.runtimes.tensorrt.flavours import Flavour
from engine.runtimes.tensorrt.graph import GRAPH_VERSION
from engine.runtimes.tensorrt.sidecar import PORTABLE, Sidecar, digest

_log = structlog.get_logger()


def engine_folder(configured: Path | None, environment: Mapping[str, str] = os.environ) -> Path:
    """Where engines are kept: the folder that the user names, else the user's cache.

    Not beside the bundle, which is often a read-only part of the installation.
    """
    if configured is not None:
        return configured
    cache = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME", "/")) / ".cache"
    return Path(cache) / "earmark" / "engines"


@dataclass(frozen=True)
class Refusal:
    """Why an engine on disk is not used.

    Attributes:
        reason: For people.
        is_missing: There is none, which is no surprise.
    """

    reason: str
    is_missing: bool = False


@dataclass(frozen=True)
class EngineStore:
    """The engines of one folder.

    Attributes:
        folder: Made when the first is kept.
        flavour: What builds and runs them.
        gpu: Compute capability of the GPU that is here, None without one.
    """

    folder: Path
    flavour: Flavour
    gpu: str | None = None

    def path(self, bundle: Bundle, precision: Precision) -> Path:
        """The engine's file; its sidecar ends in ``.json`` instead."""
        return self.folder / f"{bundle.spec.name}-{precision}-{self.flavour.name}.engine"

    def get(self, bundle: Bundle, precision: Precision, max_batch: int) -> Engine:
        """The engine on disk if it is the right one, else a new one, kept for the next time if that can be.

        Raises:
            BundleError: See `build_engine`.
            GpuError: See `build_engine`.
        """
        found = self.read(bundle, precision, max_batch)
        if isinstance(found, Engine):
            return found
        tell = _log.info if found.is_missing else _log.warning
        tell("the engine is compiled now", engine=str(self.path(bundle, precision)), reason=found.reason)
        return self.renew(bundle, precision, max_batch)

    def renew(self, bundle: Bundle, precision: Precision, max_batch: int) -> Engine:
        """A new engine, kept for the next time if that can be; see `build`."""
        engine = self.build(bundle, precision, max_batch)
        try:
            self.write(bundle, engine)
        except OSError as error:
            _log.warning(
                "the engine cannot be kept, so every start compiles it; set engine.tensorrt.folder",
                folder=str(self.folder),
                reason=error.strerror,
            )
        return engine

    def build(self, bundle: Bundle, precision: Precision, max_batch: int) -> Engine:
        """A new engine, built with what earlier builds measured; see `build_engine`."""
        try:
            timing = self._timing_path().read_bytes()
        except OSError:
            timing = b""
        return build_engine(bundle, self.flavour, precision=precision, max_batch=max_batch, gpu=self.gpu, timing=timing)

    def read(self, bundle: Bundle, precision: Precision, max_batch: int = 1) -> Engine | Refusal:
        """The engine on disk, or why it is not used. One for larger steps than asked for is as good."""
        path = self.path(bundle, precision)
        try:
            sidecar = Sidecar.model_validate_json(path.with_suffix(".json").read_bytes())
            plan = path.read_bytes()
        except FileNotFoundError as error:
            lonely = path.exists() or path.with_suffix(".json").exists()
            return Refusal(f"{error.filename} is missing", is_missing=not lonely)
        except OSError as error:
            return Refusal(f"it cannot be read: {error.strerror}")
        except ValidationError as error:
            return Refusal(f"its sidecar is damaged: {error.errors()[0]['msg']}")
        problem = next(self._problems(bundle, precision, max_batch, Engine(plan, sidecar)), None)
        return Engine(plan, sidecar) if problem is None else Refusal(problem)

    def _problems(self, bundle: Bundle, precision: Precision, max_batch: int, engine: Engine) -> Iterator[str]:
        found = engine.sidecar
        for what, expected, got in (
            ("bundle", bundle.identity, found.bundle),
            ("graph", GRAPH_VERSION, found.graph),
            ("TensorRT", f"{self.flavour.name} {self.flavour.version}", f"{found.flavour} {found.version}"),
            ("precision", precision, found.precision),
            ("GPU", PORTABLE if self.flavour.builds_anywhere else self.gpu, found.gpu),
        ):
            if expected != got:
                yield f"it is stale: expected {what} {expected}, got {got}"
        if found.max_batch < max_batch:
            yield f"it is small: expected steps of {max_batch} rows, got {found.max_batch}"
        if found.engine_blake2b != digest(engine.plan):
            yield f"it is damaged: expected the {found.engine_bytes} bytes it had, got {len(engine.plan)} others"

    def write(self, bundle: Bundle, engine: Engine) -> Path:
        """Keep an engine, in its predecessor's place.

        Returns:
            Its file.

        Raises:
            OSError: The folder cannot be written to.
        """
        path = self.path(bundle, engine.sidecar.precision)
        self.folder.mkdir(parents=True, exist_ok=True)
        _replace(path, engine.plan)
        _replace(path.with_suffix(".json"), engine.sidecar.model_dump_json(indent=2).encode() + b"\n")
        if engine.timing:
            _replace(self._timing_path(), engine.timing)
        return path

    def _timing_path(self) -> Path:
        return self.folder / f"{self.flavour.name}.timing"


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. Between an engine and its sidecar a crash is noticed by the digest."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
