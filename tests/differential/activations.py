"""What both SDKs are told in each activation, and the commands that they answer it with, in the same words.

Temporal's are read from the messages between Core and the SDK, ours from the calls between the rooms of `replay`. Both
leave out what Core makes by itself: markers, the search attribute that lists the patches, and what cancels something
that was never sent or is over.
"""

# What happens between the rooms of `replay` is told to nobody else, and is of any type.
# ruff: noqa: ANN401, SLF001
# pyright: reportPrivateUsage=false

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from temporalio.bridge.proto.workflow_activation import WorkflowActivation, WorkflowActivationJob
from temporalio.bridge.proto.workflow_commands import WorkflowCommand
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.worker import UnsandboxedWorkflowRunner, WorkflowRunner
from temporalio.worker._workflow_instance import WorkflowInstance, WorkflowInstanceDetails
from temporalio.workflow import _Definition

from protopact.contract import CHANGE_VERSION
from protopact.errors import NondeterminismError, WorkflowTaskError
from protopact.history.event import (
    UpdateRequest,
    WorkflowExecutionCanceled,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
)
from protopact.replay import command as cmd
from protopact.replay.activities import Activities
from protopact.replay.child import Child
from protopact.replay.entries import AcceptedUpdate, CalledActivity, Closing, CompletedUpdate, Entry, StartedTimer
from protopact.replay.execution import Execution
from protopact.replay.external import Externals, RequestedCancellation, SentSignal
from protopact.replay.handlers import Handlers
from protopact.replay.instance import Instance
from protopact.replay.ledger import Ledger
from protopact.replay.local import CalledLocalActivity, End, LocalActivities
from protopact.replay.loop import Loop
from protopact.replay.machines import Machines
from protopact.replay.marker import MarkedPatch
from protopact.replay.upsert import UpsertedMemo, UpsertedSearchAttributes


@dataclass
class Activation:
    """One activation: what the code is told, in the order in which it is, and what it asks for."""

    is_replaying: bool
    time_ns: int
    jobs: list[str]
    commands: list[str] = field(default_factory=list[str])


ACTIVATIONS: dict[tuple[str, str], list[Activation]] = {}
"""Temporal's, by workflow and run."""


class RecordingRunner(WorkflowRunner):
    """Runs workflows as Temporal does, and keeps their activations."""

    def __init__(self) -> None:
        self._runner = UnsandboxedWorkflowRunner()

    def prepare_workflow(self, defn: _Definition) -> None:
        self._runner.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        instance = self._runner.create_instance(det)
        activate = instance.activate
        activations = ACTIVATIONS[det.info.workflow_id, det.info.run_id] = []
        seen = _Theirs()

        def record(act: WorkflowActivation) -> WorkflowActivationCompletion:
            completion = activate(act)
            if not any(job.HasField("remove_from_cache") for job in act.jobs):
                activations.append(seen.activation(act, completion))
            return completion

        setattr(instance, "activate", record)  # noqa: B010 - of this one object
        return instance


_ENDED = {
    "fire_timer": "timer",
    "resolve_activity": "activity",
    "resolve_child_workflow_execution": "child",
}
_JOBS: dict[str, Callable[[Any], str]] = {  # each takes the message of its kind
    "initialize_workflow": lambda _: "start",
    "fire_timer": lambda fired: f"timer {fired.seq} fires",
    "resolve_activity": lambda end: f"activity {end.seq} {_how(end.result.WhichOneof('status'))}",
    "signal_workflow": lambda signal: f"signal {signal.signal_name} {_data(signal.input)!r}",
    "do_update": lambda update: f"update {update.id}{' is validated' if update.run_validator else ''}",
    "resolve_child_workflow_execution_start": lambda start: (
        f"child {start.seq} {'starts' if start.HasField('succeeded') else 'ends'}"
    ),
    "resolve_child_workflow_execution": lambda end: f"child {end.seq} ends",
    "resolve_signal_external_workflow": lambda end: f"signal {end.seq} {_whether(end)}",
    "resolve_request_cancel_external_workflow": lambda end: f"request {end.seq} {_whether(end)}",
    "cancel_workflow": lambda _: "cancel",
    "update_random_seed": lambda _: "reseed",
}
_COMMANDS: dict[str, Callable[[Any], str | None]] = {  # the same
    "schedule_activity": lambda call: f"activity {call.seq} {call.activity_type}",
    "schedule_local_activity": lambda call: f"local activity {call.seq} {call.activity_type}",
    "start_timer": lambda timer: f"timer {timer.seq} {timer.start_to_fire_timeout.ToMilliseconds()} ms",
    "start_child_workflow_execution": lambda child: f"child {child.workflow_id} {child.workflow_type}",
    "signal_external_workflow_execution": lambda signal: (
        f"signal {signal.child_workflow_id or signal.workflow_execution.workflow_id} {signal.signal_name}"
    ),
    "request_cancel_external_workflow_execution": lambda request: f"request {request.workflow_execution.workflow_id}",
    "cancel_signal_workflow": lambda _: None,
    "set_patch_marker": lambda patch: f"patch {patch.patch_id}{' is deprecated' if patch.deprecated else ''}",
    "upsert_workflow_search_attributes": lambda _: "search attributes",
    "modify_workflow_properties": lambda _: "memo",
    "update_response": lambda answer: f"update {answer.protocol_instance_id} {answer.WhichOneof('response')}",
}
_CANCELLATIONS = {
    "cancel_timer": "timer",
    "request_cancel_activity": "activity",
    "request_cancel_local_activity": "activity",
    "cancel_child_workflow_execution": "child",
}


def _how(status: str) -> str:
    return "fails" if status in {"failed", "cancelled"} else status


def _whether(end: Any) -> str:
    return "fails" if end.HasField("failure") else "arrives"


class _Theirs:
    """Reads the messages of one run."""

    def __init__(self) -> None:
        self._is_closed = False
        self._cancelled: set[tuple[str, int]] = set()
        self._ended: set[tuple[str, int]] = set()

    def activation(self, act: WorkflowActivation, completion: WorkflowActivationCompletion) -> Activation:
        # The SDK takes patches first, then signals and updates, then everything else.
        jobs = sorted(act.jobs, key=lambda job: not (job.HasField("signal_workflow") or job.HasField("do_update")))
        return Activation(
            act.is_replaying,
            act.timestamp.ToNanoseconds(),
            ["patches"] * any(job.HasField("notify_has_patch") for job in jobs)
            + [self._job(job) for job in jobs if not job.HasField("notify_has_patch")],
            [told for command in completion.successful.commands if (told := self._command(command)) is not None],
        )

    def _job(self, job: WorkflowActivationJob) -> str:
        kind = job.WhichOneof("variant") or ""
        body: Any = getattr(job, kind)
        if kind == "resolve_child_workflow_execution_start" and not body.HasField("succeeded"):
            self._ended.add(("child", body.seq))
        elif ended := _ENDED.get(kind):
            self._ended.add((ended, body.seq))
        return _JOBS[kind](body)

    def _command(self, command: WorkflowCommand) -> str | None:
        kind = command.WhichOneof("variant") or ""
        body: Any = getattr(command, kind)
        if kind in _CANCELLATIONS:
            return self._cancel(_CANCELLATIONS[kind], getattr(body, "seq", 0) or body.child_workflow_seq)
        if kind in _COMMANDS:
            return _COMMANDS[kind](body)
        is_closed, self._is_closed = self._is_closed, True
        return None if is_closed else kind

    def _cancel(self, what: str, seq: int) -> str | None:
        if (what, seq) in self._ended or (what, seq) in self._cancelled:
            return None
        self._cancelled.add((what, seq))
        return f"cancel {what} {seq}"


def _data(payloads: Iterable[Any]) -> bytes:
    return b"".join(payload.data for payload in payloads)


@contextmanager
def recording() -> Generator[list[Activation]]:
    """Record the activations of a run that is replayed here."""
    ours = _Ours()
    with pytest.MonkeyPatch.context() as patch:
        for cls, name, told in (
            (Execution, "_run_jobs", ours.begin),
            (Execution, "_settle", ours.settle),
            (Externals, "answer", ours.answer),
            (Activities, "fail", ours.go_on),
            (Activities, "end_local", ours.go_on),
            (Child, "tell_cancelled", ours.go_on),
            (SentSignal, "tell_cancelled", ours.go_on),
            (Ledger, "add", ours.add),
            (Ledger, "notice", ours.call_locally),
            (Ledger, "close", ours.close),
            (Ledger, "cancel_activity", ours.cancel_activity),
            (Ledger, "cancel_timer", ours.cancel_timer),
            (LocalActivities, "cancel", ours.cancel_activity),
            (Child, "cancel", ours.cancel_child),
        ):
            patch.setattr(cls, name, _around(getattr(cls, name), told))
        patch.setattr(Execution, "_attempt", _failing(Execution._attempt, ours.fail))
        yield ours.activations


def _around(original: Callable[..., Any], told: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def around(self: object, *arguments: object, **options: object) -> object:
        told(self, *arguments, **options)
        result = original(self, *arguments, **options)
        if callable(result):
            told(result)
        return result

    return around


def _failing(original: Callable[..., Any], told: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def failing(run: object, *arguments: object, **options: object) -> None:
        try:
            original(run, *arguments, **options)
        except NondeterminismError:
            raise
        except WorkflowTaskError:
            told(run)
            raise

    return failing


_CLOSING: dict[type[object], str] = {
    WorkflowExecutionCompleted: "complete_workflow_execution",
    WorkflowExecutionFailed: "fail_workflow_execution",
    WorkflowExecutionCanceled: "cancel_workflow_execution",
    WorkflowExecutionContinuedAsNew: "continue_as_new_workflow_execution",
}


def _signalled(signal: cmd.SignalExternalWorkflowExecution) -> str:
    return f"signal {signal.workflow_id} {signal.signal_name}"


def _completed(update: cmd.CompleteUpdate) -> str:
    return f"update {update.update_id} {'completed' if update.failure is None else 'rejected'}"


def _end(end: End) -> str:
    return "backoff" if end.backoff is not None else "completed" if end.failure is None else "fails"


_ASKED: dict[type[Entry], Callable[[Any], str | None]] = {  # each takes its own entry
    CalledActivity: lambda call: f"activity {call.activity_id} {call.activity.name}",
    StartedTimer: lambda timer: f"timer {timer.timer_id} {timer.command().start_to_fire_timeout // 1_000_000} ms",
    Child: lambda child: f"child {child.workflow_id} {child.workflow.name}",
    SentSignal: lambda signal: _signalled(signal.command()),
    RequestedCancellation: lambda request: f"request {request.command().workflow_id}",
    MarkedPatch: lambda patch: f"patch {patch.patch_id}{' is deprecated' if patch._deprecated else ''}",
    UpsertedMemo: lambda _: "memo",
    UpsertedSearchAttributes: lambda upsert: (
        None if CHANGE_VERSION in upsert.command().search_attributes else "search attributes"
    ),
    AcceptedUpdate: lambda update: f"update {update.command().request.update_id} accepted",
    CompletedUpdate: lambda update: _completed(update.command()),
}


class _Ours:
    """Hears of the calls within one run."""

    def __init__(self) -> None:
        self.activations: list[Activation] = []
        self._run: object = None
        self._jobs: list[str] = []
        self._commands: list[str] = []
        self._seqs: dict[str, list[Any]] = defaultdict(list)
        self._answers: list[tuple[object, str]] = []
        self._is_listed = False
        self._cancelled: set[str] = set()

    # What the code is told.

    def begin(self, run: Any, updates: Iterable[UpdateRequest], _: int, *, is_open: bool) -> None:
        machines: Machines = run._machines
        if machines.has_patches:
            self._jobs.append("patches")
        self._jobs += [f"signal {signal.signal_name} {_data(signal.input)!r}" for signal in machines.signals]
        self._jobs += [f"update {update.update_id}{' is validated' if is_open else ''}" for update in updates]
        self._jobs += [self._job(job, arguments) for job, arguments in machines.jobs]
        self._is_listed = True

    def settle(self, run: Any, **_: object) -> None:
        loop: Loop = run._instance.loop
        self._run = self._run or run  # those that follow look for the cause of a disagreement
        if run is self._run and (self._jobs or self._commands):  # neither Core nor we wake the code for nothing
            self.activations.append(Activation(loop.is_replaying, loop.time_ns, self._jobs, self._commands))
        self._jobs, self._commands, self._is_listed = [], [], False

    def fail(self, run: Any) -> None:
        """The code fails its task, and asks for nothing."""
        self._commands = []
        self.settle(run)

    def go_on(self, subject: object, *arguments: object) -> None:
        if not self._is_listed:
            name = "tell_cancelled" if not arguments else "fail" if isinstance(arguments[0], CalledActivity) else "end"
            self._jobs.append(self._told(subject, name, arguments))

    def answer(self, subject: Any, *arguments: Any) -> None:
        if arguments:
            _, initiated_event_id, failure = arguments
            outcome: Any = subject._instance.ledger.external.get(initiated_event_id)
            if outcome is None:
                return  # of the cancellation of a child, for which nobody waits
            kind = "request" if outcome in self._seqs["request"] else "signal"
            how = "fails" if failure is not None else "arrives"
            self._answer = f"{kind} {self._seq(kind, outcome)} {how}"
        else:
            self._answers.append((subject, self._answer))

    def _job(self, job: Any, arguments: tuple[Any, ...]) -> str:
        for known, told in self._answers:
            if known is job:
                return told
        return self._told(job.__self__, job.__name__, arguments)

    def _told(self, subject: Any, name: str, arguments: tuple[Any, ...]) -> str:
        match subject:
            case Handlers():
                return "start"
            case Instance():
                words = {"request_cancel": "cancel", "reseed": "reseed"}
                return words.get(name) or f"timer {arguments[0].timer_id} fires"
            case Activities():
                how = {"complete": "completed", "fail": "fails"}.get(name) or _end(arguments[1])
                return f"activity {arguments[0].activity_id} {how}"
            case Child():
                return f"child {self._seq('child', subject)} ends"
            case SentSignal():
                return f"signal {self._seq('signal', subject.outcome)} fails"
            case _:
                starts: list[Any] = [child.start for child in self._seqs["child"]]
                return f"child {starts.index(subject) + 1} starts"

    def _seq(self, kind: str, what: object) -> int:
        return next(index for index, each in enumerate(self._seqs[kind], 1) if each is what)

    # What the code asks for.

    def add(self, _: Ledger, entry: Entry) -> None:
        match entry:
            case Child():
                self._seqs["child"].append(entry)
            case SentSignal():
                self._seqs["signal"].append(entry.outcome)
            case RequestedCancellation():
                self._seqs["request"].append(entry._outcome)
            case _:
                pass
        told = _ASKED[type(entry)](entry) if type(entry) in _ASKED else None
        if told is not None:
            self._commands.append(told)

    def call_locally(self, _: Ledger, called: object) -> None:
        if isinstance(called, CalledLocalActivity):
            self._commands.append(f"local activity {called.seq} {called.activity.name}")

    def close(self, ledger: Ledger, closing: Closing) -> None:
        if not ledger.is_closed:
            self._commands.append(_CLOSING[closing.becomes])

    def cancel_activity(self, _: object, called: CalledActivity | CalledLocalActivity) -> None:
        if not called.is_resolved:
            self._cancel(f"cancel activity {called.activity_id}")

    def cancel_timer(self, _: Ledger, timer: StartedTimer) -> None:
        if not timer.is_fired:
            self._cancel(f"cancel timer {timer.timer_id}")

    def cancel_child(self, child: Any, _: object) -> None:
        if child._state.name != "ENDED":
            self._cancel(f"cancel child {self._seq('child', child)}")

    def _cancel(self, command: str) -> None:
        if command not in self._cancelled:
            self._cancelled.add(command)
            self._commands.append(command)
