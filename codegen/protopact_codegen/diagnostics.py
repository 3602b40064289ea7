"""Diagnostics: what is wrong with a contract, where, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from protopact_codegen.source import Position

__all__ = ["Diagnostic"]


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding.

    Attributes:
        position: Where it is.
        code: Its stable code, for example `PP101`.
        message: What is wrong; names the contract element and the option field.
        hint: What to do.
    """

    position: Position
    code: str
    message: str
    hint: str
