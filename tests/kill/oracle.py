"""Temporal's own Replayer over our histories, with the node provisioner's workflows written on temporalio by hand.

Only what decides commands is written: Temporal compares which activities are called and in which order, not with what.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import timedelta
from typing import Any

import msgspec
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowHistory
from temporalio.common import RawValue
from temporalio.exceptions import FailureError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from protopact.history.event import Event, WorkflowExecutionStarted
from protopact.history.time import to_datetime

SERVICE = "nodes.provisioning.v1.NodeProvisionerService"


async def _call(activity: str) -> None:
    await workflow.execute_activity(
        f"{SERVICE}.{activity}",
        RawValue(Payload()),
        result_type=RawValue,
        start_to_close_timeout=timedelta(seconds=60),
    )


@workflow.defn(name=f"{SERVICE}.AddNode")
class OracleAddNode:
    def __init__(self) -> None:
        self._paused = False

    @workflow.run
    async def run(self, _: RawValue) -> RawValue:
        try:
            for activity in ("CreateVm", "WaitForVmReady", "WaitForNodeToJoinCluster"):
                await workflow.wait_condition(lambda: not self._paused)
                await _call(activity)
            await _call("PublishVmJoined")
        except (FailureError, asyncio.CancelledError):
            await _call("DeleteVm")
            raise
        return RawValue(Payload())

    @workflow.signal(name=f"{SERVICE}.Pause")
    async def pause(self, _: RawValue) -> None:
        self._paused = True

    @workflow.signal(name=f"{SERVICE}.Resume")
    async def resume(self, _: RawValue) -> None:
        self._paused = False

    @workflow.update(name=f"{SERVICE}.Resize")
    async def resize(self, _: RawValue) -> RawValue:
        return RawValue(Payload())


@workflow.defn(name=f"{SERVICE}.DeleteNode")
class OracleDeleteNode:
    @workflow.run
    async def run(self, _: RawValue) -> RawValue:
        await _call("DeleteVm")
        return RawValue(Payload())


def replay(histories: Iterable[Sequence[Event]]) -> list[str]:
    """Replay histories; what Temporal says against each that it refuses."""
    return asyncio.run(_replay([_to_temporal(history) for history in histories]))


async def _replay(histories: Iterable[WorkflowHistory]) -> list[str]:
    async def each() -> AsyncGenerator[WorkflowHistory]:
        for history in histories:
            yield history

    replayer = Replayer(workflows=[OracleAddNode, OracleDeleteNode], workflow_runner=UnsandboxedWorkflowRunner())
    results = await replayer.replay_workflows(each(), raise_on_replay_failure=False)
    return [f"{run_id}: {failure}" for run_id, failure in results.replay_failures.items()]


def _to_temporal(history: Sequence[Event]) -> WorkflowHistory:
    started = history[0].attributes
    assert isinstance(started, WorkflowExecutionStarted)
    return WorkflowHistory.from_json(started.workflow_id, {"events": [_event(event) for event in history]})


# Temporal's JSON of a history, under the field names of the protobuf messages. Untyped, as JSON is.


def _event(event: Event) -> dict[str, Any]:
    attributes: dict[str, Any] = msgspec.to_builtins(event.attributes)
    kind = _snake(attributes.pop("type"))
    if "build_id" in attributes:
        attributes["worker_version"] = {"build_id": attributes.pop("build_id")}
    sdk = {name: attributes.pop(name) for name in _SDK_METADATA & attributes.keys()}
    if sdk:
        attributes["sdk_metadata"] = sdk
    if request := attributes.get("accepted_request"):
        meta = {name: request.pop(name) for name in ("update_id", "identity") & request.keys()}
        attributes["accepted_request"] = {"meta": meta, "input": _fields(request)}
    if kind == "workflow_execution_update_completed":
        attributes["meta"] = {"update_id": attributes.pop("update_id")}
        outcome = {name: attributes.pop(name) for name in ("success", "failure") & attributes.keys()}
        attributes["outcome"] = _fields(outcome)
    return {
        "event_id": event.event_id,
        "event_time": to_datetime(event.event_time).isoformat(),
        "event_type": f"EVENT_TYPE_{kind.upper()}",
        f"{kind}_event_attributes": _fields(attributes),
    }


_SDK_METADATA = {"core_used_flags", "lang_used_flags", "sdk_name", "sdk_version"}
_NAMED = {"workflow_type", "activity_type", "task_queue"}
_PAYLOADS = {"input", "result", "details", "args", "success", "last_heartbeat_details", "last_completion_result"}
_MAPS = {"header": "fields", "memo": "fields", "search_attributes": "indexed_fields"}
_ENUMS = {
    "retry_state": "RETRY_STATE",
    "timeout_type": "TIMEOUT_TYPE",
    "cause": "WORKFLOW_TASK_FAILED_CAUSE",
    "initiator": "CONTINUE_AS_NEW_INITIATOR",
}
_DURATION = re.compile(r"_(timeout|interval|delay|backoff)$")


def _fields(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: _field(name, value) for name, value in attributes.items()}


def _field(name: str, value: Any) -> Any:  # noqa: ANN401, PLR0911 - JSON, one case for each shape
    if name in _NAMED:
        return {"name": value}
    if name in _PAYLOADS:
        return {"payloads": value}
    if name in _MAPS:
        return {_MAPS[name]: value}
    if name in _ENUMS and isinstance(value, str):
        return f"{_ENUMS[name]}_{value}"
    if name == "workflow_execution_expiration_time":
        return to_datetime(value).isoformat()
    if _DURATION.search(name):
        return f"{value / 1e9:.9f}s"
    if name in {"failure", "last_failure", "continued_failure", "cause"}:
        return _failure(value)
    return _fields(value) if name == "retry_policy" else value


def _failure(failure: dict[str, Any]) -> dict[str, Any]:
    info = failure.pop("info", None)
    fields = _fields(failure)
    if info is not None:
        kind = {"child": "child_workflow_execution", "reset": "reset_workflow"}.get(info["kind"], info.pop("kind"))
        fields[f"{kind}_failure_info"] = _fields(info)
    return fields


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
