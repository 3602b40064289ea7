"""The version of the distribution, once more: looking it up in the metadata would cost a tenth of a run."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
