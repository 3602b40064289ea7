"""A service as generated code states it, whose rpcs have names that a client or a handle might want for itself."""

from __future__ import annotations

from typing import Any, TypeAlias, Unpack

from tests.payload import messages

from protopact import client, contract, policy, workflow
from protopact.policy import SearchAttributeType, WorkflowIdConflictPolicy

_SCALARS: contract.Message[Any] = messages.google().message("Scalars")
Scalars: type[Any] = _SCALARS.type
Message: TypeAlias = Any  # of a class that is generated while the tests run


def _template(source: str, *parts: str | contract.Field | contract.Uuid) -> contract.Template:
    return contract.Template(source, parts)


ENGINE = contract.Signal(name="acme.v1.S.Engine", method="engine", request=_SCALARS)
CLEAR = contract.Signal(name="acme.v1.S.Clear", method="clear", request=contract.EMPTY)
TARGET = contract.Query(name="acme.v1.S.Target", method="target", request=contract.EMPTY, response=_SCALARS)
WORKFLOW = contract.Update(
    name="acme.v1.S.Workflow",
    method="workflow",
    request=_SCALARS,
    response=_SCALARS,
    id=_template("change-{int32}", "change-", contract.Field(("int32",), "int32", contract.FieldKind.INTEGER)),
)
SLOW = contract.Update(
    name="acme.v1.S.Slow",
    method="slow",
    request=contract.EMPTY,
    response=contract.EMPTY,
    wait_for_stage=policy.WaitForStage.COMPLETED,
)
RUN = contract.Workflow(
    name="acme.v1.S.Run",
    method="run",
    request=_SCALARS,
    response=_SCALARS,
    service="acme.v1.S",
    id=_template("run/{string}", "run/", contract.Field(("string",), "string")),
    task_queue="s",
    search_attributes=(
        contract.SearchAttribute(
            "Owner", SearchAttributeType.KEYWORD, _template("{string}", contract.Field(("string",), "string"))
        ),
        contract.SearchAttribute("Size", SearchAttributeType.INT, ("int32",)),
    ),
    queries=(TARGET,),
    signals=(contract.SignalRef(ENGINE, start=True), contract.SignalRef(CLEAR)),
    updates=(
        contract.UpdateRef(WORKFLOW, start=True, id_conflict_policy=WorkflowIdConflictPolicy.USE_EXISTING),
        contract.UpdateRef(SLOW),
    ),
)
FREE = contract.Workflow(
    name="acme.v1.S.Free",
    method="free",
    request=contract.EMPTY,
    response=contract.EMPTY,
    service="acme.v1.S",
    task_queue="s",
)


class RunContract(workflow.Workflow):
    """What the contract generates for the workflow."""

    engine = workflow.SignalChannelOf(ENGINE)
    clear = workflow.SignalChannelOf(CLEAR)

    @classmethod
    def __protopact__(cls) -> contract.Workflow[Any, Any]:
        return RUN

    async def on_engine(self, request: Message, /) -> None: ...

    async def on_clear(self) -> None: ...


class Run(RunContract):
    """Counts what it is told, and returns the count when it is told a text."""

    def __init__(self) -> None:
        self.count = 0
        self.text = ""

    async def run(self, request: Message, /) -> Message:
        self.count += request.int32
        await workflow.wait_condition(lambda: bool(self.text))
        if self.text == "fail":
            raise ValueError(self.text)
        return Scalars(int32=self.count, string=self.text)

    async def on_engine(self, request: Message, /) -> None:
        self.count += request.int32
        self.text = request.string

    async def on_clear(self) -> None:
        self.count = 0

    def target(self) -> Message:
        return Scalars(int32=self.count)

    async def workflow(self, request: Message, /) -> Message:
        self.count += request.int32
        return Scalars(int32=self.count)

    async def slow(self) -> None:
        await workflow.sleep(3600)
        raise ValueError("too slow")


class Free(workflow.Workflow):
    @classmethod
    def __protopact__(cls) -> contract.Workflow[None, None]:
        return FREE

    async def run(self) -> None:
        return


class RunHandle(client.WorkflowHandle[Any]):
    async def engine(self, request: Message, /) -> None:
        await client.signal_workflow(self, ENGINE, request)

    async def clear(self) -> None:
        await client.signal_workflow(self, CLEAR, None)

    async def target(self) -> Message:
        return await client.query_workflow(self, TARGET, None)

    async def workflow(self, request: Message, /, **options: Unpack[policy.UpdateOptions]) -> Message:
        return await client.execute_update(self, WORKFLOW, request, options)

    async def start_workflow(
        self, request: Message, /, **options: Unpack[policy.UpdateOptions]
    ) -> client.UpdateHandle[Any]:
        return await client.start_update(self, WORKFLOW, request, options)

    async def start_slow(self, **options: Unpack[policy.UpdateOptions]) -> client.UpdateHandle[None]:
        return await client.start_update(self, SLOW, None, options)


class FreeHandle(client.WorkflowHandle[None]):
    pass


class Client(client.Client):
    async def start_run(self, request: Message, /, **options: Unpack[policy.StartOptions]) -> RunHandle:
        return await client.start_workflow(self, RunHandle, RUN, request, options)

    async def execute_run(self, request: Message, /, **options: Unpack[policy.StartOptions]) -> Message:
        return await client.execute_workflow(self, RUN, request, options)

    def run_handle(self, workflow_id: str, /, *, run_id: str | None = None) -> RunHandle:
        return RunHandle(self.engine, RUN, workflow_id, run_id=run_id)

    async def start_run_with_engine(
        self,
        request: Message,
        signal: Message,
        /,
        **options: Unpack[policy.StartOptions],
    ) -> RunHandle:
        return await client.signal_with_start(self, RunHandle, RUN, request, ENGINE, signal, options)

    async def start_run_with_workflow(
        self,
        request: Message,
        update: Message,
        /,
        **options: Unpack[policy.UpdateWithStartOptions],
    ) -> tuple[RunHandle, client.UpdateHandle[Any]]:
        return await client.update_with_start(self, RunHandle, RUN, request, WORKFLOW, update, options)

    async def start_free(self, **options: Unpack[policy.StartOptions]) -> FreeHandle:
        return await client.start_workflow(self, FreeHandle, FREE, None, options)

    async def execute_free(self, **options: Unpack[policy.StartOptions]) -> None:
        return await client.execute_workflow(self, FREE, None, options)
