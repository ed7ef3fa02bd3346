"""What every section of the configuration has in common. Defaults live in the sections' classes and nowhere else."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from earmark.contracts.bundle import Probability, Smoothing


class Section(BaseModel):
    """Typed, unchangeable, and it refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class SmoothingOverride(Section):
    """What a stream changes of its bundle's smoothing for one label; None leaves it as the bundle says."""

    onset_threshold: Probability | None = None
    """An event is where the score reaches this; ``1.0`` silences the label, but for a score of exactly 1."""
    offset_threshold: Probability | None = None
    """It is from where the score came to this, at most 1 s before, until it falls below; up to ``onset_threshold``.
    Null: the bundle's, or ``onset_threshold`` where that is below it."""
    min_duration_s: Annotated[float, Field(ge=0)] | None = None
    """What is shorter than this is no event."""
    min_gap_s: Annotated[float, Field(ge=0)] | None = None
    """What begins again within this time of its end is the same event still."""
    max_unproven_s: Annotated[float, Field(ge=0)] | None = None
    """How long an event goes on after the score last reached ``onset_threshold``. A score that stays between the two
    thresholds for longer ends the event. To remove the bundle's limit, set ``1e9``."""

    def apply(self, smoothing: Smoothing) -> Smoothing:
        """``smoothing`` with these changes.

        Raises:
            ValidationError: The thresholds would be the wrong way round.
        """
        changes = self.model_dump(exclude_none=True)
        if self.onset_threshold is not None and self.offset_threshold is None:
            changes["offset_threshold"] = min(self.onset_threshold, smoothing.offset_threshold)
        return Smoothing.model_validate({**smoothing.model_dump(), **changes})
