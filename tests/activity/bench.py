"""An attempt runner on a bench: one service, a virtual clock, and a record of everything that the shell is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from google.protobuf.wrappers_pb2 import StringValue

from protopact import contract
from protopact.activity import Activities
from protopact.embedded.attempt import Attempt, AttemptKey, AttemptRunner, Completed, Failed, Outcome
from protopact.embedded.clock import VirtualClock
from protopact.engine import WorkerOptions
from protopact.failure import FailureConverter
from protopact.history.event import RetryPolicy
from protopact.history.failure import Failure
from protopact.history.time import Duration, Timestamp
from protopact.interceptor import Interceptor
from protopact.payload import CodecChain, PayloadCodec, PayloadConverter
from protopact.payload.payload import Headers, Payloads
from protopact.worker import Registry

TEXT = contract.Schema("google").message("google.protobuf.StringValue", StringValue)
WORK = contract.Activity(name="lab.v1.Lab.Work", method="work", request=TEXT, response=TEXT, task_queue="lab")
PING = contract.Activity(
    name="lab.v1.Lab.Ping", method="ping", request=contract.EMPTY, response=contract.EMPTY, task_queue="lab"
)
LAB = contract.Service(name="lab.v1.Lab", source="lab/v1/lab.proto", digest="d", activities=(WORK, PING))

SECOND = 1_000_000_000
START = Timestamp(1_767_225_600 * SECOND)


async def echo(request: StringValue) -> StringValue:
    return request


async def pong() -> None:
    pass


class Lab(Activities):
    """The service's activities, each a function of the test."""

    def __init__(self, work: Callable[..., Any], ping: Callable[..., Any]) -> None:
        self.work = work
        self.ping = ping

    @classmethod
    def __protopact__(cls) -> contract.Service:
        return LAB


class Bench:
    """A runner whose activity `Work` is `work`; what it tells the shell is kept.

    Attributes:
        outcomes: Outcomes by key.
        heartbeats: What was recorded: seconds since the start, key, details.
        told: Which callback came when, by name.
        made: Benches that the test has made; see `conftest.py`.
    """

    made: ClassVar[list[Bench]] = []

    def __init__(
        self,
        work: Callable[..., Any] = echo,
        *,
        ping: Callable[..., Any] = pong,
        interceptors: Sequence[Interceptor] = (),
        codecs: Sequence[PayloadCodec] = (),
        max_threads: int = 4,
    ) -> None:
        self.made.append(self)
        self.clock = VirtualClock()
        self.converter = PayloadConverter()
        self.failure_converter = FailureConverter(self.converter)
        self.codecs = CodecChain(codecs)
        self.outcomes: dict[AttemptKey, Outcome] = {}
        self.heartbeats: list[tuple[float, AttemptKey, Payloads]] = []
        self.told: list[str] = []
        self.runner = AttemptRunner(
            Registry(WorkerOptions(activities=[Lab(work, ping)])),
            loop=asyncio.get_running_loop(),
            clock=self.clock,
            converter=self.converter,
            failure_converter=self.failure_converter,
            codecs=self.codecs,
            interceptors=interceptors,
            on_heartbeat=self._on_heartbeat,
            on_done=self._on_done,
            max_threads=max_threads,
        )
        self._ended: dict[AttemptKey, asyncio.Future[Outcome]] = {}

    def start(
        self,
        value: str = "in",
        *,
        key: AttemptKey = (1, 5, 1),
        activity_type: str = WORK.name,
        input: Payloads | None = None,  # noqa: A002 - the field's name
        headers: Headers | None = None,
        heartbeat_timeout: float = 0,
        heartbeat_details: Payloads = (),
        retry_policy: RetryPolicy | None = None,
    ) -> AttemptKey:
        """Start an attempt; its outcome comes with `outcome`."""
        payloads = self.converter.to_payloads(TEXT, StringValue(value=value)) if input is None else input
        self._ended[key] = asyncio.get_running_loop().create_future()
        self.runner.start(
            Attempt(
                key=key,
                activity_type=activity_type,
                activity_id=str(key[1]),
                workflow_id="experiment/1",
                run_id="run-1",
                workflow_type="lab.v1.Lab.Experiment",
                task_queue="lab",
                input=payloads,
                headers=headers or {},
                attempt=key[2],
                scheduled_time=START,
                attempt_scheduled_time=Timestamp(START + SECOND),
                started_time=Timestamp(START + 2 * SECOND),
                schedule_to_close_timeout=Duration(60 * SECOND),
                start_to_close_timeout=Duration(10 * SECOND),
                heartbeat_timeout=Duration(int(heartbeat_timeout * SECOND)),
                retry_policy=retry_policy,
                heartbeat_details=heartbeat_details,
            )
        )
        return key

    async def outcome(self, key: AttemptKey = (1, 5, 1)) -> Outcome:
        """The outcome of an attempt."""
        async with asyncio.timeout(10):
            return await self._ended[key]

    async def run(self, value: str = "in", **fields: Any) -> Outcome:  # noqa: ANN401 - those of `start`
        """Start an attempt and wait for its outcome."""
        return await self.outcome(self.start(value, **fields))

    async def result(self, value: str = "in", **fields: Any) -> str:  # noqa: ANN401 - those of `start`
        """Start an attempt that completes, and read its response."""
        outcome = await self.run(value, **fields)
        assert isinstance(outcome, Completed), outcome
        return self.text(await self.codecs.decode(outcome.result))

    async def failure(self, value: str = "in", **fields: Any) -> Failure:  # noqa: ANN401 - those of `start`
        """Start an attempt that fails."""
        outcome = await self.run(value, **fields)
        assert isinstance(outcome, Failed), outcome
        return outcome.failure

    def text(self, payloads: Payloads) -> str:
        """Text of a response."""
        return self.converter.from_payloads(TEXT, payloads).value

    async def advance(self, seconds: float) -> None:
        """Let virtual time pass."""
        await self.clock.advance(timedelta(seconds=seconds))

    async def stop(self, grace: float = 0) -> None:
        """Stop the runner; `grace` in seconds."""
        await self.runner.stop(timedelta(seconds=grace))

    def _on_heartbeat(self, attempt: Attempt, details: Payloads) -> None:
        self.told.append("heartbeat")
        self.heartbeats.append(((self.clock.now() - START) / SECOND, attempt.key, details))

    def _on_done(self, attempt: Attempt, outcome: Outcome) -> None:
        self.told.append("done")
        assert attempt.key not in self.outcomes, "told twice"
        self.outcomes[attempt.key] = outcome
        self._ended[attempt.key].set_result(outcome)
