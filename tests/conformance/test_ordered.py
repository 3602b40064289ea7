"""Groups of tasks in order, and asyncio in workflow code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.conformance.bench import ONCE, Bench, Lab, running, soon
from tests.conformance.google.suite.v1.suite_pb2 import Text
from tests.conformance.google.suite.v1.suite_protopact import SuiteService as suite
from tests.conformance.programs import Waiting, text

from protopact import workflow
from protopact.errors import ActivityError, ApplicationError

Code = Callable[[Text], Awaitable[Text]]


class Flaky(Lab):
    """Fails for what is called bad."""

    async def echo(self, request: Text) -> Text:
        if request.value == "bad":
            raise ApplicationError("bad")
        return await super().echo(request)


async def _wait_for_all(request: Text) -> Text:
    calls = [suite.echo(text(word)) for word in "abc"]
    done, pending = await workflow.wait(calls)
    assert not pending
    return text(" ".join(each.result().value for each in done))


async def _wait_for_the_first(request: Text) -> Text:
    slow = asyncio.create_task(workflow.sleep(3600))
    done, pending = await workflow.wait([slow, suite.echo(text("a"))], return_when=asyncio.FIRST_COMPLETED)
    assert pending == [slow]
    slow.cancel()
    [first] = done
    result = first.result()
    assert isinstance(result, Text)
    return result


async def _wait_for_so_long(request: Text) -> Text:
    done, pending = await workflow.wait([asyncio.create_task(workflow.sleep(3600))], timeout=0.02)
    for each in pending:
        each.cancel()
    return text(f"{len(done)} {len(pending)}")


async def _as_completed(request: Text) -> Text:
    async def nap(number: int) -> int:
        await workflow.sleep(0.03 * number)
        return number

    said = [str(await each) for each in workflow.as_completed([nap(3), nap(1), nap(2)])]
    return text(" ".join(said))


async def _group(request: Text) -> Text:
    async with workflow.TaskGroup() as group:
        tasks = [group.create_task(_echo(word)) for word in "ab"]
    return text(" ".join(task.result().value for task in tasks))


async def _group_that_fails(request: Text) -> Text:
    tasks = list[asyncio.Task[Any]]()

    async def both() -> None:
        async with workflow.TaskGroup() as group:
            tasks.append(group.create_task(workflow.sleep(3600)))
            tasks.append(group.create_task(_echo("bad")))

    with pytest.raises(BaseExceptionGroup) as raised:
        await both()
    [error] = raised.value.exceptions
    assert isinstance(error, ActivityError)
    return text(str(tasks[0].cancelled()))


async def _gather_that_fails(request: Text) -> Text:
    results = await asyncio.gather(_echo("a"), _echo("bad"), _echo("b"), return_exceptions=True)
    return text(" ".join(type(each).__name__ for each in results))


async def _queue(request: Text) -> Text:
    queue: asyncio.Queue[str] = asyncio.Queue()

    async def produce() -> None:
        for word in "abc":
            await workflow.sleep(0.005)
            await queue.put(word)

    producer = asyncio.create_task(produce())
    said = [await queue.get() for _ in range(3)]
    await producer
    return text("".join(said))


async def _lock(request: Text) -> Text:
    lock, inside, most = asyncio.Lock(), 0, 0

    async def enter() -> None:
        nonlocal inside, most
        async with lock:
            inside += 1
            most = max(most, inside)
            await workflow.sleep(0.005)
            inside -= 1

    await asyncio.gather(*(enter() for _ in range(3)))
    return text(str(most))


async def _shield(request: Text) -> Text:
    kept = asyncio.create_task(_echo("kept"))
    outer = asyncio.ensure_future(asyncio.shield(kept))
    await asyncio.sleep(0)
    outer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await outer
    return await kept


async def _time_out(request: Text) -> Text:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(workflow.sleep(3600), 0.02)
    return text("over")


async def _echo(word: str) -> Text:
    return await suite.echo(text(word), retry_policy=ONCE)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (_wait_for_all, "a! b! c!"),
        (_wait_for_the_first, "a!"),
        (_wait_for_so_long, "0 1"),
        (_as_completed, "1 2 3"),
        (_group, "a! b!"),
        (_group_that_fails, "True"),
        (_gather_that_fails, "Text ActivityError Text"),
        (_queue, "abc"),
        (_lock, "1"),
        (_shield, "kept!"),
        (_time_out, "over"),
    ],
    ids=lambda value: getattr(value, "__name__", "")[1:] or None,
)
@pytest.mark.parametrize("cached", [1000, 0], ids=["kept", "replayed"])
async def test_it(bench: Bench, code: Code, expected: str, cached: int) -> None:
    async with bench.worker(running(code), activities=[Flaky()], max_cached_workflows=cached):
        assert await bench.run() == expected


async def test_tasks_that_are_left_over_end_with_the_run(bench: Bench) -> None:
    ended = list[str]()

    class Leaving(Waiting):
        async def run(self, request: Text) -> Text:
            self.task = asyncio.create_task(self._never())
            await asyncio.sleep(0)
            return text("done")

        async def _never(self) -> None:
            try:
                await workflow.sleep(3600)
            finally:
                ended.append("ended")

    async with bench.worker(Leaving):
        handle = await bench.start()
        assert (await soon(handle.result())).value == "done"
    assert ended == ["ended"] * len(ended)
