"""One service that Apprise reaches. Apprise is imported when there is one: not every installation has it."""

import logging
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import SecretStr

from earmark.contracts.errors import ConfigError
from publishers.notify.config import NotifyConfig

TIMEOUT_S = 15.0


class Messenger:
    """Tells one service, and says nothing of its address.

    Args:
        url: Apprise's address of it.
        where: Its name in the configuration, for messages.

    Raises:
        ConfigError: Apprise is missing, or knows no such address.
    """

    def __init__(self, url: SecretStr, where: str) -> None:
        apprise = _import_apprise(where)
        asset = apprise.AppriseAsset(app_id="Earmark", app_desc="Earmark", async_mode=False)
        self._apprise: Any = apprise.Apprise(asset=asset)
        self._text: Any = apprise.NotifyFormat.TEXT
        if not self._apprise.add(url.get_secret_value()) or len(self._apprise) != 1:
            raise ConfigError(
                f"{where}: expected an address that Apprise knows, got another, which is not shown; "
                "see https://appriseit.com for what there is"
            )

    def send(self, title: str, body: str) -> bool:
        """Whether the service took it, within 15 s."""
        return bool(self._apprise.notify(body=body, title=title, body_format=self._text, timeout=TIMEOUT_S))


def _import_apprise(where: str) -> ModuleType:
    try:
        import apprise  # noqa: PLC0415 -- an extra
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{where}: expected the package {error.name!r}, found none; install it with: pip install 'earmark[notify]'"
        ) from error
    logging.getLogger("apprise").disabled = True  # it may quote addresses
    return apprise


def read_urls(config: NotifyConfig, where: str) -> list[tuple[SecretStr, str]]:
    """Every address, with its name for messages.

    Raises:
        ConfigError: The file cannot be read or names none.
    """
    if config.urls_file is None:
        return [(url, f"{where}.urls[{index}]") for index, url in enumerate(config.urls)]
    place = f"{where}.urls_file"
    lines = enumerate(_read(config.urls_file.expanduser(), place).splitlines(), 1)
    found = [
        (SecretStr(line.strip()), f"{place}, line {number}")
        for number, line in lines
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not found:
        raise ConfigError(f"{place}: expected an address on each line of {config.urls_file}, got none")
    return found


def notify_sink_names(name: str, n_urls: int) -> list[str]:
    """What the sinks of a notification with so many addresses are called."""
    return [f"notify.{name}"] if n_urls == 1 else [f"notify.{name}.{number}" for number in range(1, n_urls + 1)]


def _read(path: Path, place: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        raise ConfigError(f"{place}: expected addresses in {path}, got: {reason}") from error
