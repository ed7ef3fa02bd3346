"""Commands beyond the run time: what they need is installed by an extra and imported only when they run."""

from importlib import import_module
from types import ModuleType

from earmark.contracts.errors import ConfigError


def load(module: str, extra: str) -> ModuleType:
    """Import ``module``, which the installation may lack the packages for.

    Args:
        module: Its full name.
        extra: Of the installation; it brings what the module needs.

    Raises:
        ConfigError: A package is missing.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("earmark"):
            raise
        raise ConfigError(
            f"expected the package {error.name!r}, which this command needs, found none; "
            f"install it with: pip install 'earmark[{extra}]'"
        ) from error
