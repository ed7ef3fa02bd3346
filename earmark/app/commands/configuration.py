"""``config check|print|schema``."""

# ruff: noqa: PLC0415 -- a command imports what it needs when it runs

import typer

from earmark.app.commands.service import ConfigPath


def add_to(app: typer.Typer) -> None:
    """Add these commands to the program, as a group."""
    group = typer.Typer(rich_markup_mode=None)
    group.callback(invoke_without_command=True)(show_help)
    group.command()(check)
    group.command("print")(print_config)
    group.command()(schema)
    app.add_typer(group, name="config")


def show_help(context: typer.Context) -> None:
    """Check, print and describe configurations."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def check(config: ConfigPath = None) -> None:
    """Look whether a service can start with CONFIG; tell what is wrong, each with its line.

    Ends with 1 where CONFIG is good for `earmark stream`, `engine` and `publish` alone, not for `earmark run`.

    Addresses, devices, cameras, and what secrets and certificates hold, are tried at the start alone.
    """
    from earmark.app.load import check_together, config_in, open_document, remarks, service_in
    from engine.runtimes.judge import Judge
    from engine.runtimes.onnxruntime import OnnxRuntime

    document = open_document(config)
    service = service_in(document, config_in(document), files=True)
    OnnxRuntime(service.bundle)  # refuses a model that is not what its bundle.json says
    if service.judging is not None:
        Judge(service.judging.bundle, service.judging.window)  # likewise
    for line in document.told(remarks(service.config)):
        typer.echo(f"note: {line}")
    refusals = document.told(check_together(service.config))
    for line in refusals:
        typer.echo(f"note: `earmark run` refuses this: {line}")
    commands = "earmark stream, engine and publish, not for earmark run" if refusals else "earmark run"
    names = ", ".join(service.config.streams)
    typer.echo(f"{config or 'the default configuration'}: good for {commands}; streams {names}; bundle {service.model}")
    raise typer.Exit(1 if refusals else 0)


def print_config(config: ConfigPath = None) -> None:
    """Print CONFIG with every default filled in and without secrets."""
    from earmark.app.load import load_config
    from earmark.app.show import as_yaml

    typer.echo(as_yaml(load_config(config)), nl=False)


def schema() -> None:
    """Print the JSON Schema of the configuration."""
    import json

    from earmark.app.config import ServiceConfig

    typer.echo(json.dumps(ServiceConfig.model_json_schema(), indent=2))
