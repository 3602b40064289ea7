"""What clients ask for, as the shell takes it: messages checked, encoded, and through the codecs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from protopact import contract
from protopact.embedded.calls import Start
from protopact.embedded.limits import check_id
from protopact.embedded.shell import Shell
from protopact.engine import QueryWorkflow, SignalWorkflow, StartWorkflow, UpdateWorkflow
from protopact.errors import OptionError
from protopact.history import option
from protopact.history.event import UpdateRequest, WorkflowExecutionSignaled, WorkflowExecutionStarted
from protopact.history.time import Timestamp
from protopact.options import check_policies
from protopact.origin import origin_to_memo
from protopact.payload import CodecChain, PayloadConverter, Payloads
from protopact.payload.attributes import memo_to_payloads, search_attributes_to_payloads
from protopact.payload.sizes import check_call, check_memo, check_size, size_of_memo, size_of_payloads
from protopact.replay.advance import QueryRequest
from protopact.replay.defaults import fill_start

__all__ = ["Requests"]

S = TypeVar("S", bound=msgspec.Struct)


class Requests:
    """Turns what clients ask for into what the shell takes.

    Args:
        converter: Writes messages.
        codecs: Codecs of payloads.
        identity: Name of this process in histories.
    """

    def __init__(self, converter: PayloadConverter, codecs: CodecChain, *, identity: str) -> None:
        self._converter = converter
        self._codecs = codecs
        self._identity = identity

    async def start(self, shell: Shell, call: StartWorkflow[Any, Any]) -> Start:
        """A start.

        Raises:
            OptionError: An option is wrong, or there is no task queue.
            MessageMismatchError: The request is of another type.
            PayloadError: It cannot be encoded.
            PayloadSizeError: It is too large.
        """
        workflow, options = call.workflow, call.options
        reuse = options.get("id_reuse_policy", workflow.id_reuse_policy)
        conflict = options.get("id_conflict_policy", workflow.id_conflict_policy)
        check_policies(reuse, conflict)
        task_queue = options.get("task_queue", workflow.task_queue)
        if not task_queue:
            raise OptionError(f"start of {workflow.name}: the contract names no task queue; give task_queue=")
        check_id(call.workflow_id, "WorkflowId", f"start of {workflow.name}")
        check_id(task_queue, "TaskQueue", f"start of {workflow.name}")
        arguments = self._converter.to_payloads(workflow.request, call.request, where=f"request of {workflow.name}")
        now, run_id = shell.clock.now(), shell.ids.run_id(shell.clock.now())
        execution_timeout = option.duration(options.get("execution_timeout", workflow.execution_timeout))
        delay = option.duration(options.get("start_delay"))
        retry_policy = options.get("retry_policy", workflow.retry_policy)
        written = WorkflowExecutionStarted(
            workflow_type=workflow.name,
            task_queue=task_queue,
            input=arguments,
            workflow_execution_timeout=execution_timeout,
            workflow_run_timeout=option.duration(options.get("run_timeout", workflow.run_timeout)),
            workflow_task_timeout=option.duration(options.get("task_timeout", workflow.task_timeout)),
            original_execution_run_id=run_id,
            first_execution_run_id=run_id,
            workflow_id=call.workflow_id,
            identity=self._identity,
            retry_policy=None if retry_policy is None else option.retry_policy(retry_policy),
            attempt=1,
            workflow_execution_expiration_time=(
                Timestamp(now + delay + execution_timeout) if execution_timeout else None
            ),
            first_workflow_task_backoff=delay,
            memo=memo_to_payloads({**options.get("memo", {}), **origin_to_memo(workflow)}),
            search_attributes=search_attributes_to_payloads(
                options.get("search_attributes", {}), workflow.search_attributes
            ),
            header=call.headers,
            priority=option.priority(options.get("priority", workflow.priority)),
        )
        started = await self._encode(fill_start(written))
        check_size(started.input, f"request of {workflow.name}")
        check_memo(started.memo, f"the memo of the start of {workflow.name}")
        return Start(
            started=started,
            reuse=reuse,
            conflict=conflict,
            request_id=options.get("request_id") or shell.ids.request_id(),
        )

    async def signal(self, call: SignalWorkflow[Any]) -> WorkflowExecutionSignaled:
        """A signal; raises as `start` does."""
        where = f"request of {call.signal.name}"
        arguments = self._converter.to_payloads(call.signal.request, call.request, where=where)
        signaled = await self._encode(
            WorkflowExecutionSignaled(
                signal_name=call.signal.name,
                input=arguments,
                identity=self._identity,
                header=call.headers,
                request_id=call.request_id or "",
            )
        )
        check_size(signaled.input, where)
        return signaled

    def check_together(self, start: Start, request: Payloads, what: str) -> None:
        """Refuse a start that is too large with what goes with it.

        Args:
            start: The start.
            request: The request of the signal or the update.
            what: Its name, for the message.

        Raises:
            PayloadSizeError: It is.
        """
        started = start.started
        size = size_of_payloads((*started.input, *request)) + size_of_memo(started.memo) + size_of_memo(started.header)
        check_call(size, f"start of {started.workflow_type} with {what}")

    async def query(self, call: QueryWorkflow[Any, Any]) -> QueryRequest:
        """A query; raises as `start` does."""
        where = f"request of {call.query.name}"
        arguments = self._converter.to_payloads(call.query.request, call.request, where=where)
        query = await self._encode(QueryRequest(name=call.query.name, args=arguments, header=call.headers))
        check_size(query.args, where)
        return query

    async def update(self, call: UpdateWorkflow[Any, Any]) -> UpdateRequest:
        """An update; raises as `start` does."""
        where = f"request of {call.update.name}"
        check_id(call.update_id, "UpdateId", f"update {call.update.name}")
        arguments = self._converter.to_payloads(call.update.request, call.request, where=where)
        update = await self._encode(
            UpdateRequest(
                update_id=call.update_id,
                identity=self._identity,
                name=call.update.name,
                args=arguments,
                header=call.headers,
            )
        )
        check_size(update.args, where)
        return update

    async def response(self, activity: contract.Activity[Any, Any], response: object) -> Payloads:
        """What an activity is completed with; raises as `start` does."""
        where = f"response of activity {activity.name}"
        payloads = await self._codecs.encode(self._converter.to_payloads(activity.response, response, where=where))
        check_size(payloads, where)
        return payloads

    async def details(self, values: Sequence[object]) -> Payloads:
        """Details of a heartbeat or a cancellation; raises as `start` does."""
        payloads = await self._codecs.encode(self._converter.to_details(values))
        check_size(payloads, "the details")
        return payloads

    async def _encode(self, struct: S) -> S:
        return (await self._codecs.encode_structs([struct]))[0] if self._codecs else struct
