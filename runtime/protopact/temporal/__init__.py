"""The Temporal engine: the same contracts, clients and workers on a Temporal cluster, by way of the `temporalio` SDK.

`protopact.connect("temporal://...")` opens it; `connect` is the same, with the interceptors and metrics of the SDK.
`from_client` makes one of a `temporalio` client that is connected already, with whatever interceptors, plugins and data
converter it has; `TemporalEngine.client` gives it back. `data_converter` is for programs that use the SDK themselves.
`TemporalWorkerOptions` are settings that only Temporal's workers have; `replayer` is Temporal's own replayer, for
workflow classes of contracts.
"""

from protopact.temporal.converter import BinaryMessageConverter, MessageConverter, data_converter
from protopact.temporal.engine import TemporalEngine, connect, from_client
from protopact.temporal.failures import MessageFailureConverter
from protopact.temporal.tuning import TemporalWorkerOptions
from protopact.temporal.worker import replayer

__all__ = [
    "BinaryMessageConverter",
    "MessageConverter",
    "MessageFailureConverter",
    "TemporalEngine",
    "TemporalWorkerOptions",
    "connect",
    "data_converter",
    "from_client",
    "replayer",
]
