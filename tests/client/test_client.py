"""Clients and handles, on a real engine in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from tests.client.service import Client, Free, Run, Scalars

import protopact
from protopact import testing
from protopact.engine import WorkflowStatus
from protopact.history.event import WorkflowExecutionSignaled, WorkflowExecutionStarted
from protopact.policy import WaitForStage, WorkflowIdConflictPolicy


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with testing.Environment() as engine, engine.worker(workflows=[Run, Free]):
        yield Client(engine)


async def test_a_workflow_from_start_to_result(client: Client) -> None:
    handle = await client.start_run(Scalars(string="a", int32=1))
    assert handle.id == "run/a"
    assert handle.run_id
    await handle.engine(Scalars(int32=10))
    await handle.clear()
    await handle.engine(Scalars(int32=5, string="end"))
    assert await handle.result() == Scalars(int32=5, string="end")


async def test_execute_waits_for_the_result(client: Client) -> None:
    handle = await client.start_run_with_engine(Scalars(string="a"), Scalars(string="end", int32=3))
    assert (await handle.result()).int32 == 3
    await client.execute_free()


async def test_names_of_rpcs_collide_with_nothing(client: Client) -> None:
    handle = await client.start_run(Scalars(string="a", int32=1))
    assert (await handle.target()).int32 == 1
    assert (await handle.workflow(Scalars(int32=2))).int32 == 3
    update = await handle.start_workflow(Scalars(int32=3))
    assert (await update.result()).int32 == 6


async def test_a_handle_by_id_means_the_latest_run(client: Client) -> None:
    first = await client.start_run(Scalars(string="a", int32=1))
    handle = client.run_handle("run/a")
    assert handle.run_id is None
    await handle.engine(Scalars(string="end"))
    assert (await first.result()).int32 == 1
    second = await client.start_run(Scalars(string="a", int32=7))
    assert (await handle.target()).int32 == 7
    assert first.run_id is not None
    assert (await client.run_handle("run/a", run_id=first.run_id).result()).int32 == 1
    assert second.run_id != first.run_id
    with pytest.raises(protopact.NotFoundError):
        await client.run_handle("run/b").describe()


async def test_a_handle_of_a_start_ends_no_run_of_another_chain(client: Client) -> None:
    first = await client.start_run(Scalars(string="a"))
    await first.terminate(reason="enough")
    second = await client.start_run(Scalars(string="a"))
    with pytest.raises((protopact.NotFoundError, protopact.AlreadyClosedError)):
        await first.cancel()
    assert (await second.describe()).status is WorkflowStatus.RUNNING


async def test_cancel_and_terminate(client: Client) -> None:
    handle = await client.start_run(Scalars(string="a"))
    await handle.cancel(reason="enough")
    with pytest.raises(protopact.WorkflowFailedError) as cancelled:
        await handle.result()
    assert isinstance(cancelled.value.cause, protopact.CancelledError)
    handle = await client.start_run(Scalars(string="a"))
    await handle.terminate(reason="enough")
    with pytest.raises(protopact.WorkflowFailedError) as terminated:
        await handle.result()
    assert isinstance(terminated.value.cause, protopact.TerminatedError)


async def test_describe_and_history(client: Client) -> None:
    handle = await client.start_run(Scalars(string="a", int32=4), memo={"why": "test"})
    description = await handle.describe()
    assert (description.workflow_id, description.run_id) == ("run/a", handle.run_id)
    assert description.search_attributes == {"Owner": "a", "Size": 4}
    assert description.memo == {"why": "test"}
    await handle.engine(Scalars(string="end"))
    await handle.result()
    events = [event.attributes for event in await handle.history()]
    assert isinstance(events[0], WorkflowExecutionStarted)
    assert any(isinstance(each, WorkflowExecutionSignaled) for each in events)


async def test_the_call_overrides_search_attributes_one_by_one(client: Client) -> None:
    handle = await client.start_run(Scalars(string="a", int32=4), search_attributes={"Size": 9, "More": ["x"]})
    assert (await handle.describe()).search_attributes == {"Owner": "a", "Size": 9, "More": ["x"]}


async def test_ids(client: Client) -> None:
    assert (await client.start_run(Scalars(string="a/b%"))).id == "run/a%2Fb%25"
    assert (await client.start_run(Scalars(), id="mine")).id == "mine"
    with pytest.raises(
        protopact.TemplateError, match=r"^workflow id of acme.v1.S.Run: .* needs string, which is empty$"
    ):
        await client.start_run(Scalars())
    first, second = await client.start_free(), await client.start_free()
    assert first.id != second.id
    assert len(first.id) == 36


async def test_an_id_that_is_taken(client: Client) -> None:
    handle = await client.start_run(Scalars(string="a"))
    with pytest.raises(protopact.AlreadyStartedError) as taken:
        await client.start_run(Scalars(string="a"))
    assert (taken.value.workflow_id, taken.value.run_id) == ("run/a", handle.run_id)
    same = await client.start_run(Scalars(string="a"), id_conflict_policy=WorkflowIdConflictPolicy.USE_EXISTING)
    assert same.run_id == handle.run_id


async def test_the_id_of_an_update_is_the_contracts_unless_the_call_says_another(client: Client) -> None:
    handle = await client.start_run(Scalars(string="a"))
    update = await handle.start_workflow(Scalars(int32=5))
    assert (update.id, update.workflow_id) == ("change-5", "run/a")
    again = await handle.start_workflow(Scalars(int32=5))
    assert ((await again.result()).int32, (await handle.target()).int32) == (5, 5)
    other = await handle.start_workflow(Scalars(int32=5), id="other")
    assert other.id == "other"
    assert (await other.result()).int32 == 10


async def test_the_stage_that_an_update_waits_for(client: Client) -> None:
    handle = await client.start_run(Scalars(string="a"))
    accepted = await handle.start_slow(wait_for_stage=WaitForStage.ACCEPTED)
    assert (await handle.describe()).status is WorkflowStatus.RUNNING
    await handle.terminate()
    with pytest.raises(protopact.UpdateFailedError):
        await accepted.result()


async def test_update_with_start(client: Client) -> None:
    handle, update = await client.start_run_with_workflow(
        Scalars(string="a"), Scalars(int32=2), wait_for_stage=WaitForStage.COMPLETED, memo={"a": "b"}
    )
    assert (await update.result()).int32 == 2
    same, update = await client.start_run_with_workflow(Scalars(string="a"), Scalars(int32=4), update_id="u")
    assert (same.run_id, update.id, (await update.result()).int32) == (handle.run_id, "u", 6)
    assert (await handle.describe()).memo == {"a": "b"}


WRONG_OPTIONS: list[tuple[dict[str, Any], str]] = [
    (
        {"task_que": "q"},
        "unknown option task_que; it takes execution_timeout, id, id_conflict_policy, id_reuse_policy, memo",
    ),
    ({"execution_timeout": 5}, "option execution_timeout: expected timedelta or None, found int 5"),
    ({"execution_timeout": timedelta(0)}, "option execution_timeout: expected a positive time, or None for no limit"),
    (
        {"run_timeout": timedelta(40_000)},
        "option run_timeout: expected at most 36525 days",
    ),
    ({"start_delay": timedelta(-1)}, "option start_delay: expected a time that is not negative"),
    ({"id": ""}, "option id: expected a text that is not empty"),
    ({"id": None}, "option id: expected str, found NoneType None"),
    ({"id_reuse_policy": "reject"}, "option id_reuse_policy: expected WorkflowIdReusePolicy, found str 'reject'"),
    ({"memo": {"a": 1}}, "option memo: expected a mapping of str to str, found dict"),
    (
        {"search_attributes": {"a": None}},
        "option search_attributes: expected a mapping of str to str or int or float or bool",
    ),
    ({"search_attributes": {"a": ["x", 1]}}, "a sequence of str, found dict"),
]


@pytest.mark.parametrize(("options", "says"), WRONG_OPTIONS)
async def test_wrong_options_are_refused(client: Client, options: dict[str, Any], says: str) -> None:
    with pytest.raises(protopact.OptionError, match=f"^start of acme.v1.S.Run: .*{says}"):
        await client.start_run(Scalars(string="a"), **options)


async def test_right_options_are_taken(client: Client) -> None:
    await client.start_run(
        Scalars(string="a"),
        execution_timeout=timedelta(hours=1),
        run_timeout=None,
        retry_policy=protopact.RetryPolicy(),
    )


async def test_wrong_messages_are_refused_before_anything_is_sent(client: Client) -> None:
    wrong: Any = "text"
    with pytest.raises(
        protopact.MessageMismatchError, match=r"^request of acme.v1.S.Run: expected payload_test.v1.Scalars"
    ):
        await client.start_run(wrong)
    handle = await client.start_run(Scalars(string="a"))
    with pytest.raises(protopact.MessageMismatchError, match=r"^request of acme.v1.S.Engine: "):
        await handle.engine(wrong)
    with pytest.raises(protopact.MessageMismatchError, match=r"^request of acme.v1.S.Workflow: "):
        await handle.workflow(wrong)
    with pytest.raises(protopact.OptionError, match=r"^update acme.v1.S.Workflow: unknown option timeout"):
        await handle.workflow(Scalars(), timeout=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    assert [event for event in await handle.history() if isinstance(event.attributes, WorkflowExecutionSignaled)] == []


async def test_a_handle_says_what_it_is(client: Client) -> None:
    assert repr(client.run_handle("run/a")) == "<RunHandle of acme.v1.S.Run: 'run/a'>"
    handle = await client.start_run(Scalars(string="a"))
    assert repr(handle) == f"<RunHandle of acme.v1.S.Run: 'run/a', run_id='{handle.run_id}'>"
