"""Details as history holds them: payloads that are decoded when somebody asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar, overload

from protopact.errors import Details

if TYPE_CHECKING:
    from protopact.payload.converter import PayloadConverter
    from protopact.payload.payload import Payloads

__all__ = ["EncodedDetails"]

T = TypeVar("T")


class EncodedDetails(Details):
    """Details that came from history.

    An index decodes what says itself what it is: JSON values, bytes, and messages of a contract that is imported. What
    cannot be decoded so stays a `Payload`.

    Attributes:
        payloads: The details as they came.
    """

    def __init__(self, payloads: Payloads, converter: PayloadConverter) -> None:
        super().__init__()
        self.payloads = payloads
        self._converter = converter

    @overload
    def __getitem__(self, index: int) -> object: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[object]: ...
    def __getitem__(self, index: int | slice) -> object:
        if isinstance(index, slice):
            return tuple(map(self._converter.from_detail, self.payloads[index]))
        return self._converter.from_detail(self.payloads[index])

    def __len__(self) -> int:
        return len(self.payloads)

    def get(self, index: int, cls: type[T]) -> T:
        """Detail `index` as a `cls`; see `Details.get`."""
        return self._converter.detail_as(self.payloads[index], cls, where=f"detail {index}")
