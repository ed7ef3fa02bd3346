"""``compile``: a bundle's engine for a GPU, ahead of time."""

# ruff: noqa: PLC0415 -- a command imports what it needs when it runs

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from engine.runtimes.tensorrt.build import Engine


def add_to(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command("compile")(compile_bundle)


def compile_bundle(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="One that ships, by name, or the folder of one.")],
    precision: Annotated[
        Literal["fp32", "fp16"] | None,
        typer.Option(help="As engine.tensorrt.precision, whose default it has.", show_default=False),
    ] = None,
    max_batch: Annotated[
        int | None, typer.Option(min=1, help="As engine.tensorrt.max_batch, likewise.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where to put the engine; name it in engine.tensorrt.folder.", show_default="the user's cache"
        ),
    ] = None,
) -> None:
    """Compile BUNDLE for a GPU by TensorRT, so that an engine need not when it starts.

    With tensorrt_rtx this needs no GPU. The engine takes its predecessor's place; a JSON file beside it says what it
    was built from and for.
    """
    from earmark.app.extras import load
    from earmark.contracts.bundle import load_bundle
    from earmark.contracts.errors import ConfigError
    from earmark.telemetry.logs import configure_logging
    from engine.config import TensorRtConfig
    from engine.runtimes.tensorrt.flavours import installed_flavour
    from engine.runtimes.tensorrt.store import EngineStore, engine_folder

    configure_logging("compile")
    defaults, loaded = TensorRtConfig(), load_bundle(bundle)
    load("onnx", "tensorrt")
    flavour = installed_flavour()
    store = EngineStore(engine_folder(out), flavour, None if flavour.builds_anywhere else _capability())
    engine = store.build(loaded, precision or defaults.precision, max_batch or defaults.max_batch)
    try:
        path = store.write(loaded, engine)
    except OSError as error:
        raise ConfigError(
            f"--out: expected a folder to write to, got {str(store.folder)!r}: {error.strerror}; name another"
        ) from error
    _tell(engine)
    typer.echo(f"wrote {path}")


def _capability() -> str:
    from engine.runtimes.tensorrt.cuda import Gpu

    return Gpu().capability


def _tell(engine: "Engine") -> None:
    sidecar = engine.sidecar
    typer.echo(f"bundle    {sidecar.bundle}")
    typer.echo(f"built by  {sidecar.flavour} {sidecar.version} in {sidecar.build_s:.1f} s, {sidecar.precision}")
    typer.echo(f"runs on   GPUs of compute capability {sidecar.gpu}")
    for profile in sidecar.profiles:
        typer.echo(f"{profile.name:9} 1 to {profile.batch[2]} rows, {profile.hops[0]} to {profile.hops[2]} hops a step")
    typer.echo(f"size      {sidecar.engine_bytes / 1e6:.1f} MB")
