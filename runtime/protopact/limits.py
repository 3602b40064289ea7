"""What the engines' numbers can hold, and how long names may be."""

from __future__ import annotations

from datetime import timedelta

__all__ = [
    "LONGEST",
    "LONGEST_FAIRNESS_KEY",
    "LONGEST_ID",
    "LONGEST_SEARCH_ATTRIBUTE",
    "MOST_IN_32_BITS",
    "MOST_IN_64_BITS",
]

LONGEST = timedelta(days=36_525)
"""Longest time-out, delay or interval: 100 years. Times of a history are 64-bit nanoseconds, which end in 2262."""

LONGEST_ID = 1000
"""Bytes of an id or a task queue: a server's `limit.maxIDLength`."""

LONGEST_FAIRNESS_KEY = 64
"""Bytes of the fairness key of a priority, on a server."""

LONGEST_SEARCH_ATTRIBUTE = 2048
"""Bytes of a search attribute's value, as JSON: a server's `limit.searchAttributesSizeOfValue`."""

MOST_IN_32_BITS = 2**31 - 1
"""Largest number of attempts, and key of a priority."""

MOST_IN_64_BITS = 2**63 - 1
"""Largest search attribute that is an integer."""
