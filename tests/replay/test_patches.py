"""Patches and upserts: what programs see and what is said of them, event for event as Temporal's Replayer has it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from temporalio import workflow as temporal
from temporalio.common import SearchAttributeKey
from tests.replay.oracle import NONDETERMINISM
from tests.replay.stories import OURS, Cases, Command, Program, Story, accepts, completes, ends, mark, timer, work

from protopact import workflow
from protopact.history import event as ev
from protopact.payload.payload import Payload

_JSON = {"encoding": b"json/plain"}


class Changed(Program):
    """A program that can ask for patches and set what is known of its run."""

    def patched(self, patch_id: str) -> bool:
        return (workflow.patched if self.sdk is OURS else temporal.patched)(patch_id)

    def deprecate(self, patch_id: str) -> None:
        (workflow.deprecate_patch if self.sdk is OURS else temporal.deprecate_patch)(patch_id)

    def upsert_memo(self, memo: Mapping[str, str | None]) -> None:
        if self.sdk is OURS:
            workflow.upsert_memo(memo)
        else:
            temporal.upsert_memo(memo)

    def memo(self) -> dict[str, Any]:
        return dict(workflow.memo() if self.sdk is OURS else temporal.memo())

    def upsert_keyword(self, name: str, value: str) -> None:
        if self.sdk is OURS:
            workflow.upsert_search_attributes({name: value})
        else:
            key = SearchAttributeKey.for_keyword(name)
            temporal.upsert_search_attributes([key.value_set(value)])  # pyright: ignore[reportUnknownMemberType] # theirs


def old_mark(patch_id: str, *, deprecated: bool = False) -> Command:
    binary = {"encoding": b"binary/plain"}
    return lambda _: ev.MarkerRecorded(
        marker_name="core_patch",
        details={
            "patch_id": (Payload(binary, patch_id.encode()),),
            "deprecated": (Payload(binary, bytes([deprecated])),),
        },
    )


def lists(*patch_ids: str) -> Command:
    payload = Payload({**_JSON, "type": b"KeywordList"}, json.dumps(patch_ids).encode())
    return lambda _: ev.UpsertWorkflowSearchAttributes(search_attributes={"TemporalChangeVersion": payload})


def sets(name: str = "Stage") -> Command:
    return lambda _: ev.UpsertWorkflowSearchAttributes(search_attributes={name: Payload(_JSON, b'"x"')})


def remembers() -> Command:
    return lambda _: ev.WorkflowPropertiesModified(upserted_memo={"stage": Payload(_JSON, b'"x"')})


def other_marker(name: str) -> Command:
    return lambda _: ev.MarkerRecorded(marker_name=name)


CASES = Cases()

judged = CASES.judged


def told(*commands: Command, flags: bool = True) -> Story:
    """A run that was answered so, and then worked and slept."""
    return Story(flags=flags).task().answer(*commands)


class Patched(Changed):
    async def run(self) -> None:
        self.note("patched", self.patched("p"))
        await self.sdk.work("a")
        self.note("still", self.patched("p"))


class TwoPatches(Changed):
    async def run(self) -> None:
        self.note("b", self.patched("b"))
        self.note("a", self.patched("a"))
        await self.sdk.work("a")


class Deprecated(Changed):
    async def run(self) -> None:
        self.deprecate("p")
        await self.sdk.work("a")
        self.note("end")


class Unpatched(Changed):
    async def run(self) -> None:
        await self.sdk.work("a")
        self.note("end")


class PatchedLater(Changed):
    async def run(self) -> None:
        await self.sdk.work("a")
        self.note("patched", self.patched("p"))
        await self.sdk.sleep(1)


class PatchedOther(Changed):
    async def run(self) -> None:
        self.note("other", self.patched("other"))
        await self.sdk.work("a")


class PatchedAfterTheCall(Changed):
    async def run(self) -> None:
        handle = self.sdk.work("a")
        self.note("patched", self.patched("p"))
        await handle


def rest(story: Story) -> Story:
    return story.returns("1").task().answer(ends())


MARKED = (mark("p"), lists("p"))
DEPRECATED = (mark("p", deprecated=True), lists("p"))

judged("a patch", Patched, rest(told(*MARKED, work("1"))))
judged("a patch in an open history", Patched, told(*MARKED, work("1")))
judged("a patch, without flags", Patched, rest(told(mark("p"), work("1"), flags=False)))
judged("a patch in the old spelling", Patched, rest(told(old_mark("p"), work("1"), flags=False)))
judged("a deprecated patch in the old spelling", Unpatched, rest(told(old_mark("p", deprecated=True), work("1"))))
judged("a patch without its upsert", Patched, rest(told(mark("p"), work("1"))), NONDETERMINISM)
judged("an upsert without its patch", Patched, rest(told(lists("p"), work("1"))), NONDETERMINISM)
judged("no marker", Patched, rest(told(work("1"))))
judged("a marker that nobody asks for", Unpatched, rest(told(*MARKED, work("1"))), NONDETERMINISM)
judged("a deprecated marker that nobody asks for", Unpatched, rest(told(*DEPRECATED, work("1"))))
judged("the same, without its upsert", Unpatched, rest(told(mark("p", deprecated=True), work("1"))))
judged("a deprecated marker, patched", Patched, rest(told(*DEPRECATED, work("1"))))
judged("a marker, deprecated", Deprecated, rest(told(*MARKED, work("1"))))
judged("a deprecated marker, deprecated", Deprecated, rest(told(*DEPRECATED, work("1"))))
judged("no marker, deprecated", Deprecated, rest(told(work("1"))))
judged("a marker of another patch", PatchedOther, rest(told(*MARKED, work("1"))), NONDETERMINISM)
judged(
    "a deprecated marker before another patch",
    PatchedOther,
    rest(told(*DEPRECATED, mark("other"), lists("other"), work("1"))),
)
judged("two patches", TwoPatches, rest(told(mark("b"), lists("b"), mark("a"), lists("a", "b"), work("1"))))
judged(
    "two patches, swapped",
    TwoPatches,
    rest(told(mark("a"), lists("a"), mark("b"), lists("a", "b"), work("1"))),
    NONDETERMINISM,
)
judged("a patch too early", PatchedAfterTheCall, rest(told(*MARKED, work("1"))), NONDETERMINISM)
judged("a patch in its place", PatchedAfterTheCall, rest(told(work("1"), *MARKED)))
judged("a marker of another name", Unpatched, rest(told(other_marker("SideEffect"), work("1"))), NONDETERMINISM)
judged("a marker of another name, patched", Patched, rest(told(other_marker("Version"), work("1"))), NONDETERMINISM)


def later(*commands: Command) -> Story:
    return told(work("1")).returns("1").task().answer(*commands)


judged("a patch in a later task", PatchedLater, later(*MARKED, timer("1")).fires("1").task().answer(ends()))
judged("no patch in a later task", PatchedLater, later(timer("1")).fires("1").task().answer(ends()))
judged("an open task after it", PatchedLater, later(*MARKED, timer("1")).fires("1").task())
judged("the patch of an open task", PatchedLater, told(work("1")).returns("1").task())


class Constructed(Changed):
    """Signals, the constructor and a patch in one activation: the constructor is first then."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type] # whatever its base takes
        self.note("constructed", self.patched("p"))
        self.task = asyncio.create_task(self.beside())

    async def beside(self) -> None:
        self.note("beside")

    async def run(self) -> None:
        self.note("run")
        await self.sdk.work("a")


judged("a patch in the constructor", Constructed, rest(Story().nudge("early").task().answer(*MARKED, work("1"))))
judged("no patch in the constructor", Constructed, rest(Story().nudge("early").task().answer(work("1"))))


class PatchedUpdates(Changed):
    async def run(self) -> None:
        await self.sdk.wait_condition(lambda: self.done)

    async def add(self, note: str) -> None:
        self.note(note, self.patched("p"))


judged(
    "a patch in an update",
    PatchedUpdates,
    told().nudge("a").task().answer(accepts("u"), *MARKED, completes("u")).finish().task().answer(ends()),
)


class Upserts(Changed):
    async def run(self) -> None:
        self.upsert_keyword("Stage", "one")
        self.upsert_memo({"stage": "one", "gone": "soon"})
        await self.sdk.work("a")
        self.upsert_memo({"gone": None})
        self.note("memo", self.memo())


judged("upserts", Upserts, told(sets(), remembers(), work("1")).returns("1").task().answer(remembers(), ends()))
judged("upserts of other names", Upserts, told(sets("Other"), remembers(), work("1")))
judged("upserts swapped", Upserts, told(remembers(), sets(), work("1")), NONDETERMINISM)
judged("an upsert missing", Upserts, told(sets(), work("1")), NONDETERMINISM)
judged("a marker for an upsert", Upserts, told(*MARKED, remembers(), work("1")), NONDETERMINISM)


@pytest.mark.parametrize("name", CASES)
async def test_it_is_told_alike(name: str) -> None:
    await CASES[name].check()
