"""What the core knows of a workflow class: its contract, its handlers, its converters and its hooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protopact import contract
from protopact.failure import FailureConverter
from protopact.interceptor import Interceptor
from protopact.payload import PayloadConverter
from protopact.workflow import Workflow

__all__ = ["Definition"]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Definition:
    """A workflow class, ready to be run.

    Attributes:
        workflow: The class.
        converter: Turns messages into payloads and back.
        failures: Turns exceptions into failures and back.
        failure_exception_types: Exceptions that fail the run instead of its task, beside protopact's failures, the
            builtin `TimeoutError` and what the class lists.
        interceptors: Hooks around the workflow's code, the first one outermost.
    """

    workflow: type[Workflow]
    converter: PayloadConverter
    failures: FailureConverter
    failure_exception_types: Sequence[type[BaseException]] = ()
    interceptors: Sequence[Interceptor] = ()

    @property
    def contract(self) -> contract.Workflow[object, object]:
        """The contract that the class implements."""
        return self.workflow.__protopact__()
