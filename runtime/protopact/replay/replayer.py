"""Histories replayed by hand: does this code still do what it once did?"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Collection, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from protopact.errors import NondeterminismError, OptionError, PayloadError, RegistrationError, WorkflowTaskError
from protopact.failure import FailureConverter
from protopact.history import History
from protopact.history.event import WorkflowExecutionStarted
from protopact.interceptor import Interceptor
from protopact.payload import CodecChain, Encoding, PayloadCodec, PayloadConverter
from protopact.replay.activation import TERMINAL_EVENTS
from protopact.replay.advance import Advance
from protopact.replay.command import Command
from protopact.replay.comparison import Comparer, Difference
from protopact.replay.definition import Definition
from protopact.replay.diagnosis import explain
from protopact.replay.execution import Execution
from protopact.worker import registered_workflows
from protopact.workflow import Workflow

__all__ = ["ReplayResult", "Replayer"]

_logger = logging.getLogger("protopact.replay")

_ENCODINGS: tuple[Encoding, ...] = ("json/protobuf", "binary/protobuf")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """What became of a replay.

    Attributes:
        history: The history that was replayed.
        error: Why the code cannot go on with it: a `NondeterminismError`, a `HistoryError`, or what the code raised;
            None when it can.
        commands: What the code asks for, when the history ends with the start of a workflow task: the answer to that
            task, in order.
        is_closed: Whether the run has ended: with the history, or by one of `commands`.
        warnings: Differences between commands and events that do open runs no harm: options of calls, and how long
            timers last. Only in strict mode.
    """

    history: History
    error: WorkflowTaskError | None = None
    commands: tuple[Command, ...] = ()
    is_closed: bool = False
    warnings: tuple[Difference, ...] = ()


class Replayer:
    """Replays histories on workflow classes.

    ::

        Replayer(workflows=[AddNode]).replay(History.from_json(path.read_text()))

    Give it what the worker was given that wrote the histories.

    Args:
        workflows: Subclasses of generated workflow classes.
        codecs: Codecs of payloads, as given to `protopact.connect`.
        interceptors: Hooks around the workflow's code, the first one outermost.
        workflow_failure_exception_types: Exceptions that fail a run instead of its task, as given to the worker.
        strict: Compare each command with its event in full: input, target, headers and, as warnings, options. Otherwise
            kinds, types and ids are compared, as workers do. Of a local activity only type and order can be compared:
            its marker holds no input.
        relax: Names of comparisons that strict mode does not make, for example `{"retry_policy", "header"}`.

    Raises:
        RegistrationError: The classes cannot be served; the message names everything that is wrong.
        OptionError: `relax` names what is no comparison.
    """

    def __init__(
        self,
        *,
        workflows: Sequence[type[Workflow]],
        codecs: Sequence[PayloadCodec] = (),
        interceptors: Sequence[Interceptor] = (),
        workflow_failure_exception_types: Sequence[type[BaseException]] = (),
        strict: bool = True,
        relax: Collection[str] = (),
    ) -> None:
        Comparer(PayloadConverter(), relax)
        self._codecs = CodecChain(codecs)
        self._relax = frozenset(relax) if strict else None
        self._definitions: dict[tuple[str, Encoding], Definition] = {}
        self._workflows = registered_workflows(workflows)
        for encoding in _ENCODINGS:
            converter = PayloadConverter(encoding)
            failures = FailureConverter(converter)
            for name, registered in self._workflows.items():
                self._definitions[name, encoding] = Definition(
                    workflow=registered.cls,
                    converter=converter,
                    failures=failures,
                    failure_exception_types=workflow_failure_exception_types,
                    interceptors=interceptors,
                )

    def replay(self, history: History, *, raise_on_failure: bool = True) -> ReplayResult:
        """Replay a history: of a closed run, of an open one, or the beginning of either.

        It may be called from anywhere but workflow code, inside of asyncio tasks too.

        Args:
            history: The history.
            raise_on_failure: Whether to raise the result's `error`.

        Raises:
            NondeterminismError: The code does not do what the history holds.
            HistoryError: The history is damaged.
            WorkflowTaskError: The code raises an exception that fails the task.
            RegistrationError: No class given to the replayer is the history's workflow.
            PayloadError: A codec cannot read the payloads.
            OptionError: There are codecs, and an event loop runs: use `replay_async`.
        """
        if self._codecs:
            if asyncio._get_running_loop() is not None:  # noqa: SLF001 - the public one raises
                raise OptionError("codecs are asynchronous, and an event loop runs here: await replay_async(history)")
            history = asyncio.run(self._decode(history))
        return self._replay(history, raise_on_failure=raise_on_failure)

    async def replay_async(self, history: History, *, raise_on_failure: bool = True) -> ReplayResult:
        """`replay` for a replayer with codecs where an event loop runs: it waits for the codecs."""
        return self._replay(await self._decode(history), raise_on_failure=raise_on_failure)

    def replay_all(self, histories: Iterable[History], *, raise_on_failure: bool = True) -> list[ReplayResult]:
        """Replay histories, one after the other.

        Args:
            histories: The histories.
            raise_on_failure: Whether to raise the first `error` at once; otherwise all are replayed.

        Returns:
            A result for each, in their order.

        Raises:
            ProtopactError: As `replay`.
        """
        return [self.replay(history, raise_on_failure=raise_on_failure) for history in histories]

    async def _decode(self, history: History) -> History:
        return history.replace(await self._codecs.decode_structs(history))

    def _replay(self, history: History, *, raise_on_failure: bool) -> ReplayResult:
        definition = self._definitions.get((history.workflow_type, _encoding_of(history)))
        if definition is None:
            raise RegistrationError(
                f"the history of workflow {history.workflow_id!r} is of the type {history.workflow_type}, which is "
                f"none of the workflows given to the replayer: {', '.join(self._workflows)}"
            )
        advance, error = Advance(), None
        comparer = None if self._relax is None else Comparer(definition.converter, self._relax)
        with _outside_of_tasks(), _uncollected():
            run = Execution(definition, workflow_id=history.workflow_id, run_id=history.run_id, comparer=comparer)
            try:
                advance = run.advance(history)
            except WorkflowTaskError as failed:
                error = failed
            except PayloadError as failed:  # of a command that cannot be written
                error = WorkflowTaskError(f"{type(failed).__name__}: {failed}")
                error.__cause__ = failed
            finally:
                run.unwind()
            if isinstance(error, NondeterminismError):
                explain(error, definition, history, relax=self._relax)
        warnings = () if comparer is None else tuple(comparer.warnings)
        for each in warnings:
            _logger.warning("workflow %s %r: %s", history.workflow_type, history.workflow_id, each)
        if error is not None and raise_on_failure:
            raise error
        return ReplayResult(
            history=history,
            error=error,
            commands=advance.commands,
            is_closed=advance.is_closed or type(history[-1].attributes) in TERMINAL_EVENTS,
            warnings=warnings,
        )


def _encoding_of(history: History) -> Encoding:
    """How the worker wrote its messages: commands that are written alike need not be read to be compared."""
    started = history[0].attributes if history else None
    payloads = started.input if isinstance(started, WorkflowExecutionStarted) else ()
    is_binary = any(payload.metadata.get("encoding") == b"binary/protobuf" for payload in payloads)
    return "binary/protobuf" if is_binary else "json/protobuf"


@contextmanager
def _uncollected() -> Generator[None]:
    """Let Python's collector rest: what it calls is not the workflow's, and it would take a third of the time.

    Of threads that overlap here, the first one that ends wakes it.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _outside_of_tasks() -> AbstractContextManager[None]:
    """Step out of the asyncio task that calls, if any: workflow code never runs inside of one."""
    loop = asyncio._get_running_loop()  # noqa: SLF001 - the public one raises
    task = None if loop is None else asyncio.current_task(loop)
    return nullcontext() if loop is None or task is None else _outside_of(loop, task)


@contextmanager
def _outside_of(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> Generator[None]:
    asyncio._leave_task(loop, task)  # noqa: SLF001 - documented, for whoever runs tasks
    try:
        yield
    finally:
        asyncio._enter_task(loop, task)  # noqa: SLF001 - as above
