"""Our side: the Replayer, over the same file.

Usage: `python protopact_side.py FILE SHAPE REPEAT strict|plain LIBRARY ENCODING`; prints one line of JSON: seconds of
parsing and of each replay. With `write COUNT` in place of REPEAT and its check it writes FILE; with `memory COUNT` it
prints the bytes that an open run takes, COUNT of them kept. The generated code of `contract/` for LIBRARY is expected
on the path.
"""

# ruff: noqa: ANN401 - which library's classes these are is known at run time only
from __future__ import annotations

import asyncio
import gc
import importlib
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any, cast

from benchmarks.replay.shapes import history
from protopact import workflow
from protopact.failure import FailureConverter
from protopact.history import History
from protopact.history import event as ev
from protopact.history.json import to_json
from protopact.payload import Encoding, PayloadConverter
from protopact.payload.payload import Payloads
from protopact.replay.definition import Definition
from protopact.replay.execution import Execution
from protopact.replay.replayer import Replayer

FILE, SHAPE, MODE = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
LIBRARY, ENCODING = sys.argv[-2:]
PLACE = "" if LIBRARY == "google" else "contracts."
replaying: Any = importlib.import_module(f"{PLACE}replaying.v1.replaying_protopact").ReplayingService
messages: Any = importlib.import_module(f"{PLACE}replaying.v1{'.replaying_pb2' if LIBRARY == 'google' else ''}")
CONVERTER = PayloadConverter(cast("Encoding", ENCODING))


class Sequence(replaying.Sequence):  # type: ignore[misc] # the class is chosen at run time
    async def run(self, request: Any) -> Any:
        number = 0
        for _ in range(request.count):
            number = (await replaying.add(messages.AddRequest(id="x", number=number))).number
        return messages.ShapeResponse(id="x", number=number)


class Parallel(replaying.Parallel):  # type: ignore[misc] # as above
    async def run(self, request: Any) -> Any:
        answers = await asyncio.gather(
            *[replaying.add(messages.AddRequest(id="x", number=number)) for number in range(request.count)]
        )
        return messages.ShapeResponse(id="x", number=sum(answer.number for answer in answers))


class Timers(replaying.Timers):  # type: ignore[misc] # as above
    async def run(self, request: Any) -> Any:
        for _ in range(request.count):
            await asyncio.sleep(1)
        return messages.ShapeResponse(id="x", number=request.count)


class Signals(replaying.Signals):  # type: ignore[misc] # as above
    def __init__(self) -> None:
        self.count = 0

    async def run(self, request: Any) -> Any:
        await workflow.wait_condition(lambda: self.count == request.count)
        return messages.ShapeResponse(id="x", number=self.count)

    async def on_poke(self, request: Any) -> None:
        self.count += request.number


WORKFLOWS: dict[str, type[workflow.Workflow]] = {
    "Sequence": Sequence,
    "Parallel": Parallel,
    "Timers": Timers,
    "Signals": Signals,
}


def encode(name: str, fields: dict[str, object]) -> Payloads:
    service = replaying.__protopact__()
    requests = [each.request for each in (*service.workflows, *service.activities)]
    responses = [each.response for each in (*service.workflows, *service.activities)]
    signals = [ref.signal.request for each in service.workflows for ref in each.signals]
    message = next(each for each in (*requests, *responses, *signals) if each.name == f"replaying.v1.{name}")
    return CONVERTER.to_payloads(message, message.type(**fields), name)


def run_of(definition: Definition) -> Execution:
    return Execution(definition, workflow_id="replayed", run_id="0198a7c0-0000-7000-8000-000000000001")


def main() -> None:
    definition = Definition(workflow=WORKFLOWS[SHAPE], converter=CONVERTER, failures=FailureConverter(CONVERTER))
    if MODE == "write":
        FILE.write_text(to_json(history(SHAPE, int(sys.argv[4]), encode)))
    elif MODE == "memory":
        print(json.dumps({"bytes": memory(definition, int(sys.argv[4]))}))
    else:
        print(json.dumps(times(int(MODE), strict=sys.argv[4] == "strict")))


def times(repeat: int, *, strict: bool) -> dict[str, list[float]]:
    text = FILE.read_text()
    replayer = Replayer(workflows=[WORKFLOWS[SHAPE]], strict=strict)
    parsing: list[float] = []
    replaying_: list[float] = []
    processing: list[float] = []
    for _ in range(repeat):
        began = time.perf_counter()
        read = History.from_json(text)
        parsed, processed = time.perf_counter(), time.process_time()
        result = replayer.replay(read)
        replaying_.append(time.perf_counter() - parsed)
        processing.append(time.process_time() - processed)
        parsing.append(parsed - began)
        assert result.is_closed
        assert not result.warnings
    return {"parsing": parsing, "replaying": replaying_, "processing": processing}


def memory(definition: Definition, count: int) -> float:
    """Bytes of an open run that waits, events not counted: the shell lets go of them."""
    events = list(History.from_json(FILE.read_text()))
    while not isinstance(events[-1].attributes, ev.WorkflowTaskStarted):
        events.pop()
    gc.collect()
    before = resident()
    kept = [run_of(definition) for _ in range(count)]
    for run in kept:
        run.advance(events)
    gc.collect()
    return (resident() - before) / count


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


main()
