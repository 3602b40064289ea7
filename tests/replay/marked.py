"""Programs whose histories hold markers and upserts, each with its twin."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow as temporal
from temporalio.common import SearchAttributeKey
from tests.replay.histories.v1.histories_pb2 import Job, Nudge, Outcome, Reading, Step
from tests.replay.histories.v1.histories_protopact import Histories as histories
from tests.replay.pairs import Mine, P, Pairs, Theirs, their_work
from tests.replay.programs import nudge_and_finish, nudge_early

from protopact import workflow

MARKED = Pairs()

# Patches and upserts.


class Changes(Mine):
    async def run(self, request: Job) -> Outcome:
        log = [str(workflow.patched("b")), str(workflow.patched("a"))]
        workflow.upsert_memo({"stage": "begun"})
        await histories.work(Step(name="a"))
        workflow.deprecate_patch("c")
        workflow.upsert_search_attributes({"Stage": "end", "Count": 3})
        await workflow.sleep(1)
        log.append(str(workflow.patched("b")))
        return Outcome(log=log)


@MARKED.add("patches, memo and search attributes")(Changes)
class TheirChanges(Theirs):
    @temporal.run
    async def run(self, _: Job) -> Outcome:
        log = [str(temporal.patched("b")), str(temporal.patched("a"))]
        temporal.upsert_memo({"stage": "begun"})
        await their_work("a")
        temporal.deprecate_patch("c")
        temporal.upsert_search_attributes(  # pyright: ignore[reportUnknownMemberType] # an overload of theirs
            [SearchAttributeKey.for_keyword("Stage").value_set("end"), SearchAttributeKey.for_int("Count").value_set(3)]
        )
        await temporal.sleep(1)
        log.append(str(temporal.patched("b")))
        return Outcome(log=log)


# Local activities.


def their_local(name: str, fail_times: int = 0, threshold: float = 60) -> temporal.ActivityHandle[Reading]:
    return temporal.start_local_activity(
        P + "Work",
        Step(name=name, fail_times=fail_times),
        result_type=Reading,
        start_to_close_timeout=timedelta(seconds=10),
        local_retry_threshold=timedelta(seconds=threshold),
    )


class Locals(Mine):
    async def run(self, request: Job) -> Outcome:
        first = await histories.Local.work(Step(name="a"))
        rest = await asyncio.gather(
            *[histories.Local.work(Step(name=name)) for name in ("b", "cc")],
            histories.Local.break_(Step(name="bad")),
            histories.work(Step(name="remote")),
            return_exceptions=True,
        )
        threshold = timedelta(seconds=0.5)
        late = await histories.Local.work(Step(name="late", fail_times=2), local_retry_threshold=threshold)
        log = [type(each).__name__ for each in rest] + [str(workflow.patched("p"))]
        await histories.Local.work(Step(name="end", fail_times=1))
        return Outcome(total=first.value + late.value, log=log)


@MARKED.add("local activities")(Locals)
class TheirLocals(Theirs):
    @temporal.run
    async def run(self, _: Job) -> Outcome:
        first = await their_local("a")
        rest = await asyncio.gather(
            *[their_local(name) for name in ("b", "cc")],
            temporal.start_local_activity(
                P + "Break", Step(), result_type=Reading, start_to_close_timeout=timedelta(seconds=10)
            ),
            their_work("remote"),
            return_exceptions=True,
        )
        late = await their_local("late", 2, 0.5)
        log = [type(each).__name__ for each in rest] + [str(temporal.patched("p"))]
        await their_local("end", 1)
        return Outcome(total=first.value + late.value, log=log)


class LocalHandlers(Mine):
    async def run(self, request: Job) -> Outcome:
        await histories.Local.work(Step(name="run"))
        await workflow.wait_condition(lambda: self.done)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return Outcome(log=self.log)

    async def on_nudge(self, request: Nudge) -> None:
        self.log.append((await histories.Local.work(Step(name=request.note))).log[0])

    async def add(self, request: Nudge) -> Reading:
        return await histories.Local.work(Step(name=request.note))


@MARKED.add("local activities of handlers", nudge_and_finish, nudge_early)(LocalHandlers)
class TheirLocalHandlers(Theirs):
    @temporal.run
    async def run(self, _: Job) -> Outcome:
        await their_local("run")
        await temporal.wait_condition(lambda: self.done)
        await temporal.wait_condition(temporal.all_handlers_finished)
        return Outcome(log=self.log)

    @temporal.signal(name=P + "Nudge")
    async def nudge(self, request: Nudge) -> None:
        self.log.append((await their_local(request.note)).log[0])

    @temporal.update(name=P + "Add")
    async def add(self, request: Nudge) -> Reading:  # type: ignore[override]  # theirs does not know itself again
        return await their_local(request.note)


class SideEffects(Mine):
    async def run(self, request: Job) -> Outcome:
        reading = await workflow.side_effect(lambda: Reading(value=7), Reading)
        word = await workflow.side_effect(lambda: "word", str)
        await histories.work(Step(name=word * reading.value))
        return Outcome(total=reading.value)


@MARKED.add("side effects")(SideEffects)
class TheirSideEffects(Theirs):
    @temporal.run
    async def run(self, _: Job) -> Outcome:
        limit = timedelta(seconds=10)
        reading = await temporal.start_local_activity(
            "protopact.side_effect", result_type=Reading, start_to_close_timeout=limit
        )
        word = await temporal.start_local_activity(
            "protopact.side_effect", result_type=str, start_to_close_timeout=limit
        )
        await their_work(word * reading.value)
        return Outcome(total=reading.value)
