"""What a client of any SDK does to workflows, in one form for all: google's messages, failures as links of a chain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

__all__ = ["Caller", "Element", "FailedError", "Link", "Run"]

M = TypeVar("M", bound=Message | None)


@dataclass(frozen=True)
class Element(Generic[M]):
    """A signal, query or update of a contract: full name of its rpc, and class of its response.

    `NoneType` stands for `google.protobuf.Empty`, and None for a request of it.
    """

    name: str
    response: type[M]

    @property
    def rpc(self) -> str:
        return self.name.rpartition(".")[2]


@dataclass(frozen=True)
class Run:
    """A run that is, or is to be: full name of the workflow's rpc, its id, and where it is served."""

    workflow: str
    id: str
    task_queue: str


@dataclass(frozen=True)
class Link:
    """One failure of a chain of causes, as far as every SDK tells it.

    `kind` is `application`, `activity` or `child`; `type` that of an application failure, or the registered name.
    """

    kind: str
    type: str = ""
    message: str = ""
    non_retryable: bool = False
    details: tuple[Message, ...] = ()


class FailedError(Exception):
    """What was called failed. Of a query that failed there is a text, and no link."""

    def __init__(self, text: str, links: tuple[Link, ...] = ()) -> None:
        super().__init__(text)
        self.links = links


class Caller(ABC):
    """A client of the open workflows; each method raises FailedError when what it calls fails.

    Args:
        detail: Class of the details that failures have.
    """

    def __init__(self, detail: type[Message]) -> None:
        self.detail = detail

    @abstractmethod
    async def start(self, run: Run, request: Message | None) -> None: ...

    @abstractmethod
    async def signal_with_start(
        self, run: Run, request: Message, signal: Element[None], told: Message | None
    ) -> None: ...

    @abstractmethod
    async def update_with_start(self, run: Run, request: Message, update: Element[M], asked: Message) -> M: ...

    @abstractmethod
    async def result(self, run: Run, response: type[M]) -> M: ...

    @abstractmethod
    async def signal(self, run: Run, signal: Element[None], request: Message | None) -> None: ...

    @abstractmethod
    async def query(self, run: Run, query: Element[M], request: Message | None) -> M: ...

    @abstractmethod
    async def update(self, run: Run, update: Element[M], request: Message | None) -> M: ...
