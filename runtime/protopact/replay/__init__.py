"""The replay core: runs the coroutines of a workflow as its history says, with no I/O, no clock and no threads.

`Replayer` replays histories by hand: in a test, before a deployment.
"""

from protopact.replay.advance import Advance, QueryRequest
from protopact.replay.definition import Definition
from protopact.replay.execution import Execution
from protopact.replay.replayer import Replayer, ReplayResult

__all__ = ["Advance", "Definition", "Execution", "QueryRequest", "ReplayResult", "Replayer"]
