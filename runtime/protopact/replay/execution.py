"""One run in memory."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Generator, Sequence

from protopact.errors import WorkflowTaskError
from protopact.history.event import (
    ActivityTaskCanceled,
    Event,
    UpdateRequest,
    WorkflowTaskCompleted,
    WorkflowTaskStarted,
)
from protopact.history.failure import Failure
from protopact.payload.payload import Payloads
from protopact.replay.activation import COMMAND_EVENTS, group_ends
from protopact.replay.activity import activity_cancelled
from protopact.replay.advance import Advance, QueryRequest
from protopact.replay.command import LocalActivityOutcome
from protopact.replay.comparison import Comparer
from protopact.replay.definition import Definition
from protopact.replay.entries import CalledActivity
from protopact.replay.handlers import Handlers
from protopact.replay.instance import Instance
from protopact.replay.ledger import Ledger
from protopact.replay.machines import Machines
from protopact.replay.report import Stack
from protopact.replay.trace import Trace, TracedLedger, waiting

__all__ = ["Execution"]

_CORE_FLAGS = (1, 2, 3, 4)
"""Flags of Temporal Core whose rules hold here."""

_ANSWERS = COMMAND_EVENTS | {WorkflowTaskCompleted}
"""Events with which the answer of a task stands in history."""


class Execution:
    """One run in memory: the workflow's coroutines, and how far they have come.

    It does no I/O, reads no clock and starts no thread. Call it from a plain callback, never from inside an asyncio
    task, and from one thread at a time. After any `WorkflowTaskError` the run in memory is of no use: `unwind` it, and
    make a new one from the whole history when the task is tried again.
    """

    __slots__ = (
        "_context",
        "_handlers",
        "_instance",
        "_ledger",
        "_machines",
        "_rest",
        "_rest_done",
        "_trace",
    )

    def __init__(
        self,
        definition: Definition,
        *,
        workflow_id: str,
        run_id: str,
        comparer: Comparer | None = None,
        trace: Trace | None = None,
    ) -> None:
        """A run of which nothing has happened yet.

        Args:
            definition: The workflow class and what goes with it.
            workflow_id: Id of the workflow.
            run_id: Id of the run.
            comparer: Compares commands with their events in full: strict mode.
            trace: Notes where commands come from; a traced run is for looking at: all of it counts as replay.
        """
        name = definition.contract.name
        self._ledger = (
            Ledger(name, workflow_id, run_id) if trace is None else TracedLedger(name, workflow_id, run_id, trace)
        )
        self._ledger.comparer = comparer
        self._instance = Instance(definition, workflow_id=workflow_id, run_id=run_id, ledger=self._ledger)
        self._instance.encodes_at_once = comparer is not None or trace is not None
        self._trace = trace
        self._handlers = Handlers(definition, self._instance)
        self._machines = Machines(workflow_id, self._ledger, self._instance, self._handlers)
        # The code sees none of the context variables of whoever calls: on replay they would be others.
        self._context = contextvars.Context()
        self._rest: Sequence[Event] = ()
        self._rest_done = 0

    def advance(self, events: Sequence[Event], *, updates: Sequence[UpdateRequest] = ()) -> Advance:
        """Tell the run what has happened, and take what it asks for.

        Args:
            events: The events since the last call, all of them the first time. They end with the `WorkflowTaskStarted`
                of the task to answer; without it nothing is answered, and what came after the last completed task is
                kept until a task starts.
            updates: Updates that arrived with the open task and are in no event yet. They run after the signals among
                `events`, in this order; their validators run. Each is answered by `AcceptUpdate` or `RejectUpdate`.

        Returns:
            Commands for the open task. They are not remembered as done: they count when they come back as events.

        Raises:
            NondeterminismError: The code does not produce the commands that the history holds.
            ContractMismatchError: The run was started under a contract that is not known here, if that is checked.
            HistoryError: The events cannot be: a gap, an event that fits no command.
            WorkflowTaskError: The code raised an exception that fails the task; it is the cause.
        """
        events, ends = self._gather(events, updates)
        return self._go(events, ends, range(len(ends)), updates)

    def advance_in_steps(
        self, events: Sequence[Event], *, updates: Sequence[UpdateRequest] = (), groups: int
    ) -> Generator[None, None, Advance]:
        """`advance`, which yields each time it has come a bit further: for those who must not be busy for long.

        Args:
            events: As for `advance`.
            updates: As for `advance`.
            groups: How many activations are one step; most are one workflow task.

        Raises:
            WorkflowTaskError: As `advance`.
        """
        events, ends = self._gather(events, updates)
        for begin in range(0, len(ends) - groups, groups):
            self._go(events, ends, range(begin, begin + groups), updates)
            yield
        last = max(len(ends) - 1, 0) // groups * groups
        return self._go(events, ends, range(last, len(ends)), updates)

    def _gather(self, events: Sequence[Event], updates: Sequence[UpdateRequest]) -> tuple[list[Event], list[int]]:
        """All events that the code has not answered, and where their groups end."""
        self._machines.check_ids(events)
        waiting = [*self._rest, *events]  # a list, which is read many times, at the speed of C
        return waiting, group_ends(waiting, has_updates=bool(updates))

    def _go(
        self, events: Sequence[Event], ends: Sequence[int], groups: range, updates: Sequence[UpdateRequest]
    ) -> Advance:
        with self._instance.loop:
            is_open = self._context.run(self._replay, events, ends, groups, updates)
        return self._answer() if is_open else Advance(is_closed=self._machines.has_ended)

    def resolve(self, outcome: LocalActivityOutcome) -> Advance:
        """Tell the run, whose task is open, what became of a local activity, and take what it asks for then.

        Raises:
            WorkflowTaskError: As `advance`.
        """
        self._instance.local_activities.resolve(outcome)
        with self._instance.loop:
            self._context.run(self._attempt, self._go_on, is_open=True)
        return self._answer()

    def _answer(self) -> Advance:
        instance, ledger = self._instance, self._ledger
        local_activities = instance.local_activities
        if local_activities.is_waiting and not ledger.is_closed:
            return Advance(
                local_activities=local_activities.take_requests(),
                cancelled_local_activities=local_activities.take_cancelled(),
                is_waiting=True,
            )
        return Advance(
            commands=ledger.outgoing(),
            cancelled_local_activities=local_activities.open,
            core_used_flags=tuple(flag for flag in _CORE_FLAGS if flag not in self._machines.core_flags),
            lang_used_flags=tuple(sorted(instance.used_flags - instance.flags)),
            is_closed=ledger.is_closed,
            unfinished_handlers=instance.unfinished_handlers() if ledger.is_closed else (),
            unread_signals=self._handlers.unread_signals() if ledger.is_closed else (),
        )

    def drop_task(self) -> None:
        """Forget that the last task ever was, because nothing of it goes into history.

        For a task whose only events are its own `WorkflowTaskScheduled` and `WorkflowTaskStarted`, and that answered
        nothing but rejections of updates: the next events begin again at the id of that `WorkflowTaskScheduled`.
        """
        self._machines.drop_task()

    def query(self, request: QueryRequest) -> Payloads | Failure:
        """Ask the run, in the state after its last activation. Open and closed runs answer; an unwound one does not.

        Returns:
            The encoded answer, or why there is none: unknown name, undecodable request, or what the method raised.
        """
        with self._instance.loop:
            return self._context.run(self._handlers.query, request.name, request.args, request.header)

    def waiting(self) -> list[Stack]:
        """Where the run's coroutines wait, the first one first."""
        return list(waiting(self._instance.loop))

    def unwind(self) -> None:
        """Let go of the run: its coroutines are closed at once, and whatever they do on their way out has no effect.

        `finally` blocks run; an API of `protopact.workflow` that they call ends them. Idempotent.
        """
        self._instance.unwind()

    # -- groups of events

    def _replay(
        self, events: Sequence[Event], ends: Sequence[int], groups: range, updates: Sequence[UpdateRequest]
    ) -> bool:
        """Apply groups of events, one activation each, and keep the rest; whether a task is open now."""
        machines, ledger = self._machines, self._ledger
        count, is_open, done = len(events), False, self._rest_done
        begin = ends[groups.start - 1] + 1 if groups.start else 0
        for index in groups:
            end = ends[index]
            last, following = events[end], end + 1
            if following < count and type(answer := events[following].attributes) is WorkflowTaskCompleted:
                machines.read_flags(answer)  # they are in force while the answer is worked out again
            ledger.checks_ids = following == count or machines.checks_ids
            machines.apply(events, max(begin, done), following)
            if type(last.attributes) is WorkflowTaskStarted:
                is_open = following == count
                self._start_task_of_code(last, is_open=is_open)
                if not is_open:
                    answer_end = ends[index + 1] + 1 if index + 1 < len(ends) else count
                    self._activate(last, machines.look_ahead(events, following, answer_end), is_open=False)
                elif self._trace is not None and self._trace.foreseen:
                    foreseen, self._trace.foreseen = self._trace.foreseen, ()
                    self._activate(last, machines.look_ahead(foreseen, 0, len(foreseen)), is_open=True)
                else:
                    self._activate(last, [*machines.admitted.values(), *updates], is_open=True)
            elif machines.awaits_start:
                self._begin_ended(events[begin:following])
            machines.admitted.clear()
            begin = following
        if groups.stop < len(ends):
            return False
        if machines.has_ended:
            machines.check_rest(events[begin:])
            self._rest = ()
            return is_open
        # What the code has already answered is compared now, and stays with what comes for the next task.
        ledger.checks_ids = True
        answered = begin
        while answered < count and type(events[answered].attributes) in _ANSWERS:
            answered += 1
        machines.apply(events, max(begin, done), answered)
        self._rest, self._rest_done = events[begin:], answered - begin
        return is_open

    def _begin_ended(self, events: Sequence[Event]) -> None:
        """The run has ended before any of its tasks was answered: as in Temporal Core, its code begins even so."""
        last, started = events[0], WorkflowTaskStarted()
        self._handlers.answers_queries = False  # as on Temporal's server, until a task has started
        for event in events:
            if isinstance(event.attributes, WorkflowTaskStarted):
                last, started = event, event.attributes
                self._handlers.answers_queries = True
        self._start_task_of_code(last, is_open=True)
        self._instance.begin_task(events[-1].event_id, started)
        self._activate(last, tuple(self._machines.admitted.values()), is_open=True)

    def _start_task_of_code(self, started: Event, *, is_open: bool) -> None:
        is_open = is_open and self._trace is None  # nothing of a traced run is new
        instance = self._instance
        if type(started.attributes) is WorkflowTaskStarted:
            instance.begin_task(started.event_id, started.attributes)
        loop = instance.loop
        loop.time_ns = max(loop.time_ns, started.event_time)
        loop.is_replaying = not is_open
        instance.local_activities.begin_task(is_open=is_open)

    def _activate(self, started: Event, updates: Sequence[UpdateRequest], *, is_open: bool) -> None:
        """Tell the code what has happened: signals and updates first, then everything else."""
        is_open = is_open and self._trace is None
        instance, machines = self._instance, self._machines
        local_activities = instance.local_activities
        # A rejected update leaves nothing in history, so what it let through could not be repeated.
        told_first = bool(machines.signals or machines.jobs or machines.has_patches)
        if local_activities.foreseen or local_activities.ended:
            local_activities.release(is_idle=not (told_first or updates or local_activities.ended))
            machines.jobs += [(instance.activities.end_local, ended) for ended in local_activities.take_ended()]
        instance.tests_conditions = told_first or bool(machines.jobs)
        if instance.tests_conditions or updates:
            local_activities.count_activation()
        instance.patches.lists_patches = is_open or machines.lists_patches
        try:
            self._attempt(self._step, updates, started.event_id - 1, is_open=is_open)
        finally:
            machines.forget_jobs()

    def _step(self, updates: Sequence[UpdateRequest], sequencing_event_id: int, *, is_open: bool) -> None:
        self._run_jobs(updates, sequencing_event_id, is_open=is_open)
        self._settle(is_open=is_open)
        if not self._machines.has_ended:  # Core does not wake what has ended
            self._go_on(is_open=is_open)

    def _go_on(self, *, is_open: bool) -> None:
        """Tell the code, in activations of their own, what follows from what it has asked for."""
        instance, ledger = self._instance, self._ledger
        local_activities = instance.local_activities
        while local_activities.foreseen or local_activities.ended or ledger.cancelled:
            local_activities.release()
            local_activities.release(is_idle=not (ledger.cancelled or local_activities.ended))
            cancelled, ended = ledger.cancelled, local_activities.take_ended()
            if not (cancelled or ended):
                return
            ledger.cancelled = []
            local_activities.count_activation()
            instance.tests_conditions = True
            for each in cancelled:
                if isinstance(each, CalledActivity):
                    instance.activities.fail(each, activity_cancelled(each, ActivityTaskCanceled()))
                else:
                    each.tell_cancelled()
            for called, end in ended:
                instance.activities.end_local(called, end)
            instance.run()
            self._settle(is_open=is_open)

    def _attempt(self, step: Callable[..., None], *arguments: object, is_open: bool) -> None:
        """Let the code run; what it raises fails the run or the task."""
        instance = self._instance
        try:
            step(*arguments, is_open=is_open)
        except WorkflowTaskError:
            raise
        except (Exception, SystemExit) as error:  # of the constructor, of a condition, or of what cannot be decoded
            if not instance.is_failure(error):
                # It is told before its marker comes, so that the code may fail to read what is another one's.
                mistaken = instance.local_activities.mistaken()
                if mistaken is not None:
                    raise mistaken from error
                raise WorkflowTaskError(f"{type(error).__name__}: {error}") from error
            instance.fail(error)
            self._settle(is_open=is_open)

    def _run_jobs(self, updates: Sequence[UpdateRequest], sequencing_event_id: int, *, is_open: bool) -> None:
        handlers, machines, run = self._handlers, self._machines, self._instance.run
        if machines.has_patches:
            handlers.instantiate()
            run(tests_conditions=False)
        if machines.signals or updates:
            for signal in machines.signals:
                handlers.signal(signal)
            for update in updates:
                handlers.update(update, sequencing_event_id=sequencing_event_id, validate=is_open)
            handlers.instantiate()
            run()
        if machines.jobs:
            for job, arguments in machines.jobs:
                job(*arguments)
            handlers.instantiate()
            run()

    def _settle(self, *, is_open: bool) -> None:
        if self._ledger.is_closed:
            self._ledger.settle(is_cut=not (is_open or self._machines.closes_last))
