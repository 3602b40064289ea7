"""Histories: their events, in Temporal's vocabulary, and what is made of them."""

from protopact.history.history import History

__all__ = ["History"]
