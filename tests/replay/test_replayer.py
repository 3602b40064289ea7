"""`Replayer`: histories replayed by hand."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

import pytest
from tests.replay import workflows
from tests.replay.bench import HISTORIES, tasks
from tests.replay.histories.v1.histories_pb2 import Job, Outcome

from protopact.errors import NondeterminismError, OptionError, RegistrationError, WorkflowTaskError
from protopact.history import History
from protopact.history import event as ev
from protopact.payload import CodecChain, Payload, PayloadCodec
from protopact.replay import Replayer
from protopact.replay.command import CompleteWorkflowExecution
from protopact.workflow import Workflow

EVERY: list[type[Workflow]] = [
    workflows.Cancellable,
    workflows.Chatty,
    workflows.Deterministic,
    workflows.Doomed,
    workflows.Fanout,
    workflows.Saga,
    workflows.Sequence,
    workflows.Tasks,
]
NAMES = ["cancellable", "chatty_full", "chatty_open", "deterministic", "doomed", "fanout", "reset", "saga", "sequence"]


def history(name: str) -> History:
    return History.from_json((HISTORIES / f"{name}.json").read_text())


class Longer(workflows.Sequence):
    async def run(self, request: Job) -> Outcome:
        await asyncio.sleep(1)
        return await super().run(request)


class Raises(workflows.Sequence):
    async def run(self, request: Job) -> Outcome:
        raise ZeroDivisionError("oh")


def test_histories_that_the_code_wrote_replay() -> None:
    results = Replayer(workflows=EVERY).replay_all(map(history, NAMES))
    assert [result.error for result in results] == [None] * len(NAMES)
    assert [result.is_closed for result in results] == [name != "chatty_open" for name in NAMES]
    assert results[-1].history == history("sequence")


def test_pythons_collector_rests_while_code_is_replayed() -> None:
    awake = list[bool]()

    class Watching(workflows.Sequence):
        async def run(self, request: Job) -> Outcome:
            awake.append(gc.isenabled())
            return await super().run(request)

    for code in (Watching, Raises):
        Replayer(workflows=[code]).replay(history("sequence"), raise_on_failure=False)
        assert gc.isenabled()
    gc.disable()
    try:
        Replayer(workflows=[Watching]).replay(history("sequence"))
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert awake == [False, False]


@pytest.mark.parametrize("name", NAMES)
def test_the_beginning_of_a_history_replays_wherever_it_ends(name: str) -> None:
    whole, replayer = history(name), Replayer(workflows=EVERY)
    for end in range(1, len(whole) + 1):
        replayer.replay(History(whole[:end]))


def test_an_open_task_is_answered() -> None:
    whole = history("sequence")
    *_, last = tasks(list(whole))
    result = Replayer(workflows=EVERY).replay(History(last.before))
    closing = whole[-1].attributes
    assert isinstance(closing, ev.WorkflowExecutionCompleted)
    assert result.commands == (CompleteWorkflowExecution(result=closing.result),)
    assert result.is_closed


def test_other_code_is_refused() -> None:
    with pytest.raises(NondeterminismError, match="ActivityTaskScheduled"):
        Replayer(workflows=[Longer]).replay(history("sequence"))


def test_a_failure_is_reported_on_demand() -> None:
    replayer = Replayer(workflows=[Raises, workflows.Saga])
    wrong, right = replayer.replay_all([history("sequence"), history("saga")], raise_on_failure=False)
    assert isinstance(wrong.error, WorkflowTaskError)
    assert isinstance(wrong.error.__cause__, ZeroDivisionError)
    assert right.error is None
    with pytest.raises(WorkflowTaskError, match="ZeroDivisionError: oh"):
        replayer.replay_all([history("saga"), history("sequence")])


def test_exceptions_that_fail_a_run_are_as_the_worker_has_them() -> None:
    replayer = Replayer(workflows=[Raises], workflow_failure_exception_types=[ArithmeticError])
    with pytest.raises(NondeterminismError, match="FailWorkflowExecution"):
        replayer.replay(history("sequence"))


def test_a_workflow_that_was_not_given_is_named() -> None:
    with pytest.raises(
        RegistrationError, match=r"of the type histories.v1.Histories.Sequence, which is none of .*Saga"
    ):
        Replayer(workflows=[workflows.Saga]).replay(history("sequence"))


def test_what_is_given_is_checked() -> None:
    with pytest.raises(RegistrationError, match="give the class itself"):
        Replayer(workflows=[workflows.Saga()])  # type: ignore[list-item]
    with pytest.raises(RegistrationError, match="nothing to run"):
        Replayer(workflows=[])
    with pytest.raises(RegistrationError, match="claimed twice"):
        Replayer(workflows=[workflows.Sequence, Longer])


async def test_it_replays_inside_of_a_task() -> None:
    task = asyncio.current_task()
    Replayer(workflows=EVERY).replay(history("sequence"))
    assert asyncio.current_task() is task
    with pytest.raises(NondeterminismError):
        Replayer(workflows=[Longer]).replay(history("sequence"))
    assert asyncio.current_task() is task
    await asyncio.sleep(0)


class Reversed(PayloadCodec):
    async def encode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        return [Payload(metadata={"encoding": b"reversed"}, data=each.data[::-1]) for each in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        await asyncio.sleep(0)
        return [
            Payload(metadata={"encoding": b"json/protobuf"}, data=each.data[::-1])
            if each.metadata["encoding"] == b"reversed"
            else each
            for each in payloads
        ]


def encoded(name: str) -> History:
    return History(asyncio.run(CodecChain([Reversed()]).encode_structs(history(name))))


def test_codecs_read_the_payloads() -> None:
    secret = encoded("sequence")
    replayer = Replayer(workflows=EVERY, codecs=[Reversed()])
    assert replayer.replay(secret).is_closed
    with pytest.raises(WorkflowTaskError, match="reversed"):
        Replayer(workflows=EVERY).replay(secret)

    async def inside() -> None:
        with pytest.raises(OptionError, match="await replay_async"):
            replayer.replay(secret)
        assert (await replayer.replay_async(secret)).is_closed

    asyncio.run(inside())
