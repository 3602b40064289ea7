"""Priorities of tasks: what they inherit, and the place among the tasks of a queue that they give."""

from __future__ import annotations

from typing import NamedTuple

from protopact.history.policy import Priority

__all__ = ["LEVELS", "Place", "inherited", "place_of"]

LEVELS = 5
"""Levels of priority, as Temporal's server has them by default; a key beyond is the last one."""

_DEFAULT_LEVEL = 3
_LEAST_WEIGHT, _MOST_WEIGHT = 0.001, 1000.0


class Place(NamedTuple):
    """Where a task stands among those that wait for the same worker.

    Attributes:
        level: From 1, which is served first, to `LEVELS`.
        key: Tasks of one level and different keys take turns.
        weight: Turns that the key gets, for each one of a key of weight 1.
    """

    level: int
    key: str
    weight: float


_DEFAULT = Place(_DEFAULT_LEVEL, "", 1.0)


def inherited(outer: Priority | None, own: Priority | None) -> Priority | None:
    """The priority of what a run asks for: field by field its own, or else the run's, as Temporal's server has it."""
    if outer is None or own is None:
        return own or outer
    return Priority(
        priority_key=own.priority_key or outer.priority_key,
        fairness_key=own.fairness_key or outer.fairness_key,
        fairness_weight=own.fairness_weight or outer.fairness_weight,
    )


def place_of(priority: Priority | None) -> Place:
    """The place that a priority gives."""
    if priority is None:
        return _DEFAULT
    weight = priority.fairness_weight or 1.0
    return Place(
        min(priority.priority_key or _DEFAULT_LEVEL, LEVELS),
        priority.fairness_key,
        min(max(weight, _LEAST_WEIGHT), _MOST_WEIGHT),
    )
