"""What is over in a run: remembered for as long as the run, so in as little space as can be."""

from __future__ import annotations

__all__ = ["Past"]


class Past:
    """A set of small numbers, such as event ids, a bit for each up to the largest."""

    __slots__ = ("_bits",)

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, number: int) -> None:
        """Add a number."""
        place = number >> 3
        bits = self._bits
        if place >= len(bits):
            bits.extend(bytes(place + 1 - len(bits)))
        bits[place] |= 1 << (number & 7)

    def __contains__(self, number: int) -> bool:
        """Whether a number was added."""
        place = number >> 3
        return 0 <= place < len(self._bits) and bool(self._bits[place] >> (number & 7) & 1)
