"""The workflow's logger: silent on replay, and it knows which run speaks."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from protopact.workflow._runtime import find_runtime

__all__ = ["WorkflowLogger", "logger"]


class WorkflowLogger(logging.LoggerAdapter[logging.Logger]):
    """Logs each line of workflow code once: what is replayed stays silent.

    Records carry `workflow_id`, `run_id` and `workflow_type`. Outside of a workflow it is an ordinary logger.
    """

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the standard library's name
        """Whether a line of this level would be logged now."""
        runtime = find_runtime()
        return (runtime is None or not runtime.is_silent()) and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:  # noqa: ANN401 - as the standard library has it
        """Add the run to the record."""
        runtime = find_runtime()
        if runtime is not None:
            info = runtime.info()
            kwargs["extra"] = {
                **(kwargs.get("extra") or {}),
                "workflow_id": info.workflow_id,
                "run_id": info.run_id,
                "workflow_type": info.workflow_type,
            }
        return msg, kwargs


logger = WorkflowLogger(logging.getLogger("protopact.workflow"))
"""Logger for workflow code: silent on replay."""
