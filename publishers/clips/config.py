"""The configuration's ``publishers.clips``."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from earmark.contracts.config import Section


class ClipsConfig(Section):
    """The scores around every event, and its sound on streams with ``clips: true``, in files."""

    folder: Path
    """Where they are kept, a folder for each stream and day; nobody else should read it."""
    before_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    """How much is kept from before the onset."""
    after_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    """How much is kept from after the offset."""
    max_s: Annotated[float, Field(gt=0, le=300)] = 30.0
    """A clip and its scores are cut at this length."""
    max_age_days: Annotated[float, Field(gt=0, le=36_500)] = 7.0
    """Clips that were stored this long ago are deleted. Time counts as for ``outbox.max_age_days``."""
    max_size_mb: Annotated[float, Field(gt=0)] = 1000.0
    """Above this the oldest are deleted."""
    forbid_labels: tuple[str, ...] = ("speech",)
    """A clip in which one of these may be heard is not stored. A group stands for its labels."""

    @model_validator(mode="after")
    def _reaches_the_onset(self) -> Self:
        if self.max_s <= self.before_s:
            raise ValueError(f"expected max_s above before_s ({self.before_s:g}), got {self.max_s:g}; raise it")
        return self
