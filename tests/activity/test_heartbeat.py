"""Which heartbeats are recorded, and what the next attempt learns from them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import pytest
from google.protobuf.source_context_pb2 import SourceContext
from google.protobuf.wrappers_pb2 import Int32Value, StringValue
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.activity.bench import SECOND, START, Bench

from protopact import activity
from protopact.embedded.attempt import Completed
from protopact.embedded.clock import VirtualClock
from protopact.embedded.heartbeat import Heartbeats, throttle_interval
from protopact.errors import ApplicationError, PayloadError
from protopact.history.failure import ApplicationFailureInfo, ServerFailureInfo
from protopact.history.time import Duration
from protopact.payload import CodecChain, Payload, PayloadCodec
from protopact.payload.sizes import LIMIT

pytestmark = pytest.mark.usefixtures("stopped_benches")

KEY = (1, 5, 1)


@pytest.mark.parametrize(("timeout", "interval"), [(10, 8), (1, 0.8), (0.5, 0.4), (75, 60), (3600, 60), (0, 30)])
def test_shortest_time_between_two_records(timeout: float, interval: float) -> None:
    assert throttle_interval(Duration(int(timeout * SECOND))) == int(interval * SECOND)


class Heart:
    """An activity that beats when the test says so."""

    def __init__(self) -> None:
        self._beats: asyncio.Queue[Callable[[], object] | None] = asyncio.Queue()

    async def work(self, request: StringValue) -> StringValue:
        while (beat := await self._beats.get()) is not None:
            result = beat()
            if isinstance(result, Awaitable):
                await result
        return request

    async def beat(self, bench: Bench, *details: object) -> None:
        await self.do(bench, lambda: activity.heartbeat(*details))

    async def do(self, bench: Bench, action: Callable[[], object]) -> None:
        self._beats.put_nowait(action)
        await bench.clock.settle()

    def end(self) -> None:
        self._beats.put_nowait(None)


def records(bench: Bench) -> list[tuple[float, object]]:
    return [(when, bench.converter.from_details(details)[0]) for when, _, details in bench.heartbeats]


async def test_the_first_at_once_then_the_latest_of_each_interval() -> None:
    heart = Heart()
    bench = Bench(heart.work)
    bench.start(key=KEY, heartbeat_timeout=10)
    for second in range(20):
        await heart.beat(bench, second)
        await bench.advance(1)
    assert records(bench) == [(0, 0), (8, 7), (16, 15)]
    heart.end()
    assert isinstance(await bench.outcome(KEY), Completed)
    await bench.advance(100)
    assert len(bench.heartbeats) == 3  # what was unrecorded is of no use once the activity has returned


async def test_after_a_silence_the_next_is_recorded_at_once() -> None:
    heart = Heart()
    bench = Bench(heart.work)
    bench.start(key=KEY, heartbeat_timeout=10)
    await heart.beat(bench, "a")
    await bench.advance(9)
    await heart.beat(bench, "b")
    await heart.beat(bench, "c")
    await bench.advance(8)
    assert records(bench) == [(0, "a"), (9, "b"), (17, "c")]
    heart.end()
    await bench.outcome(KEY)


async def test_without_a_time_out_at_most_every_thirty_seconds() -> None:
    heart = Heart()
    bench = Bench(heart.work)
    bench.start(key=KEY)
    for second in range(70):
        await heart.beat(bench, second)
        await bench.advance(1)
    assert records(bench) == [(0, 0), (30, 29), (60, 59)]
    heart.end()
    await bench.outcome(KEY)


async def test_what_is_unrecorded_when_the_attempt_fails_is_recorded_first() -> None:
    async def work(_: StringValue) -> StringValue:
        for step in range(5):
            activity.heartbeat(step)
        raise ApplicationError("no")

    bench = Bench(work)
    await bench.failure(heartbeat_timeout=10)
    assert records(bench) == [(0, 0), (0, 4)]
    assert bench.told == ["heartbeat", "heartbeat", "done"]


async def test_no_details_are_details_too() -> None:
    async def work(request: StringValue) -> StringValue:
        activity.heartbeat()
        return request

    bench = Bench(work)
    await bench.result()
    assert [details for _, _, details in bench.heartbeats] == [()]


async def test_heartbeats_of_threads_reach_the_loop() -> None:
    def work(request: StringValue) -> StringValue:
        for step in range(1000):
            activity.heartbeat(step)
        raise ApplicationError(f"{request.value} does not do")

    bench = Bench(work)
    await bench.failure(heartbeat_timeout=10)
    assert len(bench.heartbeats) <= 2
    assert records(bench)[-1] == (0, 999)


async def test_heartbeats_after_the_end_are_ignored() -> None:
    late = list[Callable[[], None]]()

    async def work(request: StringValue) -> StringValue:
        context = activity.current.get()
        late.append(lambda: context.heartbeat("late"))
        return request

    bench = Bench(work)
    await bench.result()
    late[0]()
    await asyncio.to_thread(late[0])
    await bench.clock.settle()
    assert bench.heartbeats == []


async def test_a_message_is_taken_as_it_is_at_the_call() -> None:
    heart = Heart()
    bench = Bench(heart.work)
    bench.start(key=KEY, heartbeat_timeout=10)
    progress = SourceContext(file_name="a")
    await heart.beat(bench, "first")
    await heart.beat(bench, progress)
    progress.file_name = "b"
    await bench.advance(8)
    assert records(bench) == [(0, "first"), (8, SourceContext(file_name="a"))]
    heart.end()
    await bench.outcome(KEY)


async def test_a_detail_that_cannot_be_written_raises_where_it_is_given() -> None:
    async def work(request: StringValue) -> StringValue:
        with pytest.raises(PayloadError, match="detail 1: expected a message"):
            activity.heartbeat("fine", object())
        return request

    bench = Bench(work)
    await bench.result()
    assert bench.heartbeats == []


async def test_details_that_are_too_large_end_the_activity() -> None:
    async def work(request: StringValue) -> StringValue:
        activity.heartbeat("x" * 3_000_000)
        return request

    failure = await Bench(work).failure()
    assert failure.info == ServerFailureInfo(non_retryable=True)
    assert failure.message.startswith("the heartbeat of activity lab.v1.Lab.Work takes 3000036 bytes")


async def test_the_next_attempt_reads_the_details() -> None:
    seen = list[object]()

    async def work(request: StringValue) -> StringValue:
        seen.append(activity.heartbeat_details(StringValue))
        seen.append(activity.heartbeat_details(dict[str, int], index=1))
        seen.append(activity.heartbeat_details(str, index=2))
        with pytest.raises(PayloadError, match=r"heartbeat detail 0 of activity lab\.v1\.Lab\.Work"):
            activity.heartbeat_details(Int32Value)
        with pytest.raises(PayloadError, match=r"heartbeat detail 1 of activity lab\.v1\.Lab\.Work"):
            activity.heartbeat_details(int, index=1)
        return request

    bench = Bench(work)
    details = bench.converter.to_details([StringValue(value="half"), {"left": 3}])
    await bench.result(heartbeat_details=details)
    assert seen == [StringValue(value="half"), {"left": 3}, None]


async def test_a_first_attempt_has_no_details() -> None:
    async def work(request: StringValue) -> StringValue:
        assert activity.heartbeat_details(StringValue) is None
        return request

    await Bench(work).result()


class Slow(PayloadCodec):
    """Encodes when the test lets it, or fails."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.failing = False

    async def encode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        await self.gate.wait()
        if self.failing:
            raise ConnectionError("no key server")
        return [Payload({**each.metadata, "by": b"slow"}, each.data) for each in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        return payloads


async def test_a_slow_codec_holds_nothing_up_and_the_latest_still_wins() -> None:
    heart, codec = Heart(), Slow()
    bench = Bench(heart.work, codecs=[codec])
    bench.start(key=KEY, heartbeat_timeout=10)
    await heart.beat(bench, "a")
    await heart.beat(bench, "b")
    await heart.beat(bench, "c")
    assert bench.heartbeats == []
    codec.gate.set()
    await bench.clock.settle()
    assert records(bench) == [(0, "a")]
    await bench.advance(8)
    assert records(bench) == [(0, "a"), (8, "c")]
    heart.end()
    await bench.outcome(KEY)


async def test_a_failing_attempt_waits_for_the_codec() -> None:
    codec = Slow()

    async def work(_: StringValue) -> StringValue:
        activity.heartbeat("a")
        activity.heartbeat("b")
        raise ApplicationError("no")

    bench = Bench(work, codecs=[codec])
    bench.start(key=KEY)
    await bench.clock.settle()
    assert bench.told == []
    codec.gate.set()
    await bench.outcome(KEY)
    assert records(bench) == [(0, "a"), (0, "b")]


async def test_a_heartbeat_that_a_codec_cannot_encode_is_lost_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    codec = Slow()
    codec.gate.set()
    codec.failing = True

    async def work(_: StringValue) -> StringValue:
        activity.heartbeat("a")
        raise ApplicationError("no")

    bench = Bench(work, codecs=[codec])
    with caplog.at_level(logging.ERROR):
        failure = await bench.failure()
    assert (failure.message, failure.info) == ("no", ApplicationFailureInfo())
    assert bench.heartbeats == []
    assert caplog.messages == ["the details of a heartbeat could not be encoded by the payload codecs and are lost"]


class Padding(PayloadCodec):
    """Makes everything larger than it may be."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload({**each.metadata, "padded": b"1"}, each.data + bytes(LIMIT)) for each in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(each.metadata, each.data[:-LIMIT]) if "padded" in each.metadata else each for each in payloads]


async def test_what_a_codec_makes_too_large_fails_the_attempt() -> None:
    async def work(_: StringValue) -> StringValue:
        activity.heartbeat("a")
        await asyncio.Event().wait()
        raise AssertionError

    bench = Bench(work, codecs=[Padding()])
    failure = await bench.failure()
    assert failure.message.startswith("the heartbeat of activity lab.v1.Lab.Work takes 20972")
    assert isinstance(failure.info, ServerFailureInfo)
    assert failure.info.non_retryable
    assert bench.heartbeats == []


def test_a_thread_that_outlives_the_loop_beats_in_vain() -> None:
    async def make() -> Heartbeats:
        return Heartbeats(
            loop=asyncio.get_running_loop(),
            clock=VirtualClock(),
            codecs=CodecChain(),
            interval=Duration(SECOND),
            name="a heartbeat",
            record=lambda _: None,
            refuse=lambda _: None,
        )

    heartbeats = asyncio.run(make())
    thread = threading.Thread(target=heartbeats.beat, args=[()])
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 20), st.booleans()), max_size=15), st.sampled_from([0.5, 1, 10, 100]))
def test_records_keep_their_distance_and_lose_no_latest(steps: list[tuple[float, bool]], timeout: float) -> None:
    """Whatever the rhythm: no two records closer than the interval, each the latest, none of it late."""

    async def scenario() -> None:
        clock = VirtualClock()
        recorded = list[tuple[int, int]]()
        interval = throttle_interval(Duration(int(timeout * SECOND)))
        heartbeats = Heartbeats(
            loop=asyncio.get_running_loop(),
            clock=clock,
            codecs=CodecChain(),
            interval=interval,
            name="a heartbeat",
            refuse=lambda _: None,
            record=lambda details: recorded.append((clock.now() - START, int(details[0].data))),
        )
        beats = list[tuple[int, int]]()
        for number, (pause, threaded) in enumerate(steps):
            await clock.advance(_seconds(pause))
            beats.append((clock.now() - START, number))
            details = (Payload(data=str(number).encode()),)
            if threaded:
                await asyncio.to_thread(heartbeats.beat, details)
                await clock.settle()
            else:
                heartbeats.beat(details)
        await clock.advance(_seconds(interval / SECOND))
        assert all(later - earlier >= interval for (earlier, _), (later, _) in itertools.pairwise(recorded))
        assert [number for _, number in recorded[-1:]] == [number for _, number in beats[-1:]]
        for when, number in recorded:
            assert beats[number][0] <= when
            assert all(at >= when for at, later in beats if later > number)

    asyncio.run(scenario())


def _seconds(value: float) -> timedelta:
    return timedelta(seconds=value)
