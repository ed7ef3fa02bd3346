"""``devices``, ``models``: what there is on this machine."""

# ruff: noqa: PLC0415 -- a command imports what it needs when it runs

import typer


def add_to(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.command()(devices)
    app.command()(models)


def devices() -> None:
    """List the microphones that PortAudio sees."""
    from streamer.sources.microphone import list_devices

    found = list_devices()
    if not found:
        typer.echo("no input devices; plug a microphone in, or start the sound server", err=True)
    for device in found:
        mark = "*" if device.is_default else " "
        typer.echo(f"{mark} {device.index:3}  {device.channels:2} ch  {device.sample_rate_hz:6} Hz  {device.name}")


def models() -> None:
    """List the bundles that ship, with their size and quality."""
    from earmark.contracts.bundle import shipped_bundles

    for bundle in shipped_bundles():
        spec = bundle.spec
        size_mb = bundle.model_path.stat().st_size / 1e6
        typer.echo(f"{spec.name} {spec.version}: {spec.description}")
        typer.echo(
            f"  {len(spec.labels)} labels, {size_mb:.1f} MB, {spec.sample_rate_hz} Hz, "
            f"a score every {1000 * spec.output_hop / spec.sample_rate_hz:g} ms"
        )
        for name, value in sorted(spec.quality.items()):
            typer.echo(f"  {name}: {value:g}")
        typer.echo(f"  {', '.join(spec.labels)}")
