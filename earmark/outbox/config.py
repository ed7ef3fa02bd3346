"""The configuration's section ``outbox``."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field

from earmark.contracts.config import Section
from earmark.outbox.database import Durability


def _state_folder() -> Path:
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "earmark"


class OutboxConfig(Section):
    """Where events and checkpoints are kept, and for how long."""

    path: Path = Field(default_factory=lambda: _state_folder() / "outbox.db")
    """By default ``$XDG_STATE_HOME/earmark/outbox.db``; its folder is made. Each service has its own."""
    durability: Durability = "normal"
    """``normal`` survives the death of a process, ``full`` that of the machine."""
    max_age_days: Annotated[float, Field(gt=0, le=36_500)] = 30.0
    """Events that were stored this long ago are deleted. Only time that really passed while the machine ran counts, so
    a wrong clock deletes nothing."""
    max_size_mb: Annotated[float, Field(gt=0)] = 1024.0
    """Where the file grows beyond this, the oldest events are deleted."""

    @property
    def cursors_path(self) -> Path:
        """The publishers' file beside it."""
        return self.path.with_name(self.path.name + ".cursors")
