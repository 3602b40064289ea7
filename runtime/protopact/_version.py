"""The version of the distribution: the package metadata is read from here."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
