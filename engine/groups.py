"""Groups of labels that have events of their own, with thresholds of their own.

The classes of a group have thresholds of their own as well, tuned to scores that mean different things. So a group's
score is the largest of its members', each stretched so that its onset threshold lies at `ONSET`: whatever a group's
own threshold is, members count alike, and at `ONSET` the group begins when the first of them does.
"""

import difflib
from collections.abc import Mapping

import numpy as np
from pydantic import Field, ValidationError

from earmark.contracts.bundle import Bundle, BundleSpec, Smoothing
from earmark.contracts.config import SmoothingOverride
from earmark.contracts.errors import ConfigError
from engine.runtimes import Scores

ONSET, OFFSET = 0.5, 0.3


class GroupConfig(SmoothingOverride):
    """A group that has events. Thresholds are in members' thresholds: 0.5 is where the first member would begin."""

    labels: tuple[str, ...] = Field(default=())
    """Its labels; without any, those of the bundle's group of that name."""


def with_groups(bundle: Bundle, groups: Mapping[str, GroupConfig]) -> Bundle:
    """A bundle that also decides on ``groups``; without any, the bundle as it is.

    A group's median is as long as the longest of its members', and so are the gap that it bridges and the time that it
    goes on without proof.

    Raises:
        ConfigError: A group has no labels, unknown ones, or the name of a label.
    """
    labels = {name: _labels_of(name, group, bundle.spec) for name, group in groups.items()}
    smoothing = {name: _smoothing_of(name, group, _usual(bundle.spec, labels[name])) for name, group in groups.items()}
    return bundle.deciding(labels, smoothing) if groups else bundle


def _labels_of(name: str, group: GroupConfig, spec: BundleSpec) -> tuple[str, ...]:
    labels = group.labels or spec.groups.get(name, ())
    where = f"engine.groups.{name}"
    if name in spec.labels:
        raise ConfigError(f"{where}: expected a name that is no label of {spec.name!r}; choose another one")
    if not labels:
        known = ", ".join(spec.groups) or "none"
        raise ConfigError(f"{where}: expected labels, or one of the groups of {spec.name!r} ({known}); name its labels")
    if unknown := sorted(set(labels) - set(spec.labels)):
        near = difflib.get_close_matches(unknown[0], spec.labels, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(spec.labels)}"
        raise ConfigError(f"{where}.labels: model {spec.name!r} has no label {', '.join(unknown)}; {hint}")
    return labels


def _smoothing_of(name: str, group: GroupConfig, usual: Smoothing) -> Smoothing:
    try:
        return SmoothingOverride.model_validate(group.model_dump(exclude={"labels"})).apply(usual)
    except ValidationError as error:
        raise ConfigError(f"engine.groups.{name}: expected {error.errors()[0]['msg']}") from error


def _usual(spec: BundleSpec, labels: tuple[str, ...]) -> Smoothing:
    members = [spec.smoothing_of(label) for label in labels]
    limits_s = [member.max_unproven_s for member in members if member.max_unproven_s is not None]
    return Smoothing(
        onset_threshold=ONSET,
        offset_threshold=OFFSET,
        median_frames=max(member.median_frames for member in members),
        min_duration_s=min(member.min_duration_s for member in members),
        min_gap_s=max(member.min_gap_s for member in members),
        max_unproven_s=max(limits_s) if len(limits_s) == len(members) else None,
    )


class Groups:
    """Adds the groups' scores behind the labels'.

    Args:
        spec: Says which groups are decided on, and the members' thresholds.
    """

    def __init__(self, spec: BundleSpec) -> None:
        self._members: list[np.ndarray[tuple[int], np.dtype[np.intp]]] = []
        self._thresholds: list[np.ndarray[tuple[int], np.dtype[np.float32]]] = []
        for group in spec.decided_groups:
            labels = spec.groups[group]
            self._members.append(np.array([spec.labels.index(label) for label in labels]))
            self._thresholds.append(np.array([spec.smoothing_of(each).onset_threshold for each in labels], np.float32))

    def __call__(self, scores: Scores) -> Scores:
        """``scores [B, T, C]`` with those of G groups behind, float32 ``[B, T, C + G]``; the same without groups."""
        if not self._members:
            return scores
        of_groups = [
            _stretched(scores[..., members], thresholds).max(axis=-1, keepdims=True)
            for members, thresholds in zip(self._members, self._thresholds, strict=True)
        ]
        return np.concatenate([scores, *of_groups], axis=-1)


def _stretched(scores: Scores, thresholds: np.ndarray[tuple[int], np.dtype[np.float32]]) -> Scores:
    """Scores on two straight lines, from 0 over the threshold at `ONSET` to 1."""
    above = np.maximum(1 - thresholds, np.float32(1e-6))
    return np.where(
        scores < thresholds,
        scores * (np.float32(ONSET) / thresholds),
        np.float32(ONSET) + (scores - thresholds) * (np.float32(1 - ONSET) / above),
    )
