"""The seed of a run's random numbers, as Temporal Core computes it: SipHash-1-3 of the run's id.

The hash is Jean-Philippe Aumasson's and Daniel J. Bernstein's (https://www.aumasson.jp/siphash/siphash.pdf) with one
compression round, three finalization rounds and a zero key. Core hashes the id as Rust hashes a string: its UTF-8
bytes, then the byte 0xFF.
"""

from __future__ import annotations

__all__ = ["seed_of", "siphash13"]

_MASK = 0xFFFF_FFFF_FFFF_FFFF


def seed_of(run_id: str) -> int:
    """Seed of the run `run_id`, an unsigned 64-bit number."""
    return siphash13(run_id.encode() + b"\xff")


def siphash13(data: bytes) -> int:
    """SipHash-1-3 of `data` under the zero key."""
    state = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
    whole = len(data) & ~7
    last = int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56
    for word in [int.from_bytes(data[i : i + 8], "little") for i in range(0, whole, 8)] + [last]:
        v0, v1, v2, v3 = state
        v0, v1, v2, v3 = _round(v0, v1, v2, v3 ^ word)
        state = (v0 ^ word, v1, v2, v3)
    v0, v1, v2, v3 = state
    v2 ^= 0xFF
    for _ in range(3):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


def _round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    v0 = (v0 + v1) & _MASK
    v1 = _rotate(v1, 13) ^ v0
    v0 = _rotate(v0, 32)
    v2 = (v2 + v3) & _MASK
    v3 = _rotate(v3, 16) ^ v2
    v0 = (v0 + v3) & _MASK
    v3 = _rotate(v3, 21) ^ v0
    v2 = (v2 + v1) & _MASK
    v1 = _rotate(v1, 17) ^ v2
    v2 = _rotate(v2, 32)
    return v0, v1, v2, v3


def _rotate(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & _MASK
