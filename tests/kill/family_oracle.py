"""Temporal's own Replayer over the histories of a family, with its workflows written on temporalio by hand."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue, SearchAttributeKey
from temporalio.workflow import ParentClosePolicy

SERVICE = "lab.v1.LabService"
_NOTHING = RawValue(Payload())


async def _local(activity: str) -> None:
    await workflow.execute_local_activity(
        activity, _NOTHING, result_type=RawValue, start_to_close_timeout=timedelta(seconds=10)
    )


async def _start(
    workflow_id: str, policy: ParentClosePolicy = ParentClosePolicy.TERMINATE
) -> workflow.ChildWorkflowHandle[RawValue, RawValue]:
    return await workflow.start_child_workflow(
        f"{SERVICE}.Free", _NOTHING, id=workflow_id, result_type=RawValue, parent_close_policy=policy
    )


async def _signal(workflow_id: str) -> None:
    await workflow.get_external_workflow_handle(workflow_id).signal(f"{SERVICE}.Go", _NOTHING)


@workflow.defn(name=f"{SERVICE}.Other")
class OracleParent:
    @workflow.run
    async def run(self, request: RawValue) -> RawValue:
        if b'"parent"' in request.payload.data:
            await self._first()
        return await self._second()

    async def _first(self) -> None:
        await _local("protopact.side_effect")
        workflow.upsert_memo({"stage": "first"})
        await _local(f"{SERVICE}.Echo")
        if workflow.patched("family"):
            workflow.upsert_search_attributes(  # pyright: ignore[reportUnknownMemberType] # an overload of theirs
                [SearchAttributeKey.for_int("Round").value_set(1)]
            )
        await _start("kept", ParentClosePolicy.ABANDON)
        child = await _start("child")
        await child.signal(f"{SERVICE}.Go", _NOTHING)
        await _signal("sink")
        await child
        await workflow.sleep(0.001)
        workflow.continue_as_new(_NOTHING)

    async def _second(self) -> RawValue:
        workflow.upsert_memo({"stage": "second"})
        await _start("stays")
        await workflow.get_external_workflow_handle("kept").cancel()
        await workflow.sleep(0.001)
        await _signal("sink")
        return _NOTHING


@workflow.defn(name=f"{SERVICE}.Free")
class OracleMember:
    def __init__(self) -> None:
        self._got: list[bytes] = []

    @workflow.run
    async def run(self, request: RawValue) -> RawValue:
        data = request.payload.data
        if b'"sink"' in data:
            await workflow.wait_condition(lambda: any(b'"end' in each for each in self._got))
        elif b'"child"' in data:
            await workflow.wait_condition(lambda: bool(self._got))
            await _local(f"{SERVICE}.Echo")
            await _signal("sink")
        else:
            await workflow.sleep(3600)
        return _NOTHING

    @workflow.signal(name=f"{SERVICE}.Go")
    async def go(self, word: RawValue) -> None:
        self._got.append(word.payload.data)


WORKFLOWS = (OracleParent, OracleMember)
