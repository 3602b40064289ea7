"""Continue-as-new: a run ends, and another one with the same id goes on from it with a history of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from protopact.errors import ContinueAsNewError
from protopact.history import option
from protopact.history.event import WorkflowExecutionStarted
from protopact.interceptor import ContinueAsNew
from protopact.origin import origin_to_memo, without_origin
from protopact.payload.attributes import memo_to_payloads, search_attributes_to_payloads
from protopact.payload.payload import Payload, Payloads
from protopact.replay.command import ContinueAsNewWorkflowExecution

__all__ = ["Continuation"]


class Continuation(ContinueAsNewError):  # noqa: N818 - it is no error
    """What the code has raised to continue as new.

    Args:
        call: What the code asked for.
        started: What this run was started with.
        search_attributes: Those that this run has.
        payloads: Gives the encoded request.
    """

    def __init__(
        self,
        call: ContinueAsNew,
        started: WorkflowExecutionStarted,
        search_attributes: Mapping[str, Payload],
        payloads: Callable[[], Payloads],
    ) -> None:
        super().__init__("the run goes on as a new one")
        self._call = call
        self._started = started
        self._search_attributes = dict(search_attributes)
        self._payloads = payloads

    def command(self) -> ContinueAsNewWorkflowExecution:
        """The command, with what Temporal Core and the server would put in for what the call does not say."""
        call, options, own, now = self._call, self._call.options, self._call.workflow, self._started
        is_other = now.workflow_type not in (own.name, *own.aliases)
        policy = options.get("retry_policy", own.retry_policy if is_other else None)
        run_timeout = options.get("run_timeout", own.run_timeout if is_other else None)
        task_timeout = options.get("task_timeout", own.task_timeout if is_other else None)
        attributes = options.get("search_attributes")
        return ContinueAsNewWorkflowExecution(
            workflow_type=own.name,
            task_queue=options.get("task_queue") or (own.task_queue if is_other else None) or now.task_queue,
            input=self._payloads(),
            workflow_run_timeout=option.duration(run_timeout) or now.workflow_run_timeout,
            workflow_task_timeout=option.duration(task_timeout) or now.workflow_task_timeout,
            backoff_start_interval=option.duration(options.get("backoff_start_interval")),
            retry_policy=now.retry_policy if policy is None else option.retry_policy(policy),
            header=call.headers,
            memo={
                **(memo_to_payloads(options.get("memo", {})) or without_origin(now.memo)),
                **memo_to_payloads(origin_to_memo(own)),
            },
            search_attributes=(
                self._search_attributes
                if attributes is None
                else search_attributes_to_payloads(attributes, own.search_attributes)
            ),
        )
