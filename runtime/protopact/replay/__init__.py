"""The replay core: runs the coroutines of a workflow as its history says, with no I/O, no clock and no threads."""

from protopact.replay.definition import Definition
from protopact.replay.execution import Advance, Execution, QueryRequest

__all__ = ["Advance", "Definition", "Execution", "QueryRequest"]
