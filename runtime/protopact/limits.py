"""What the engines' numbers can hold."""

from __future__ import annotations

from datetime import timedelta

__all__ = ["LONGEST"]

LONGEST = timedelta(days=36_525)
"""Longest time-out, delay or interval: 100 years. Times of a history are 64-bit nanoseconds, which end in 2262."""
