"""`protopact history`: what happened to a run, for people."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message, message_factory

import protopact
from protopact.cli.engine import EngineUrl, RunId, check_engine
from protopact.engine import WorkflowRef
from protopact.errors import HistoryError, ProtopactError
from protopact.history import History, timeline
from protopact.history.difference import difference
from protopact.history.words import describe_payload
from protopact.payload.payload import Payload
from protopact.testing import histories

__all__ = ["app"]

app = typer.Typer(help="Histories of runs.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Histories of runs."""


_DescriptorSets = Annotated[
    list[Path] | None,
    typer.Option(
        "--descriptors",
        metavar="FILE",
        help="Descriptor set (buf build -o FILE.binpb, protoc --descriptor_set_out) that binary payloads are read "
        "with. May be repeated.",
    ),
]
_WorkflowTasks = Annotated[bool, typer.Option("--workflow-tasks", help="Show workflow tasks too.")]


@app.command()
def show(
    history: Annotated[str, typer.Argument(metavar="WORKFLOW_ID|FILE", help="Id of the workflow, or a JSON file.")],
    engine: EngineUrl = None,
    run_id: RunId = None,
    descriptors: _DescriptorSets = None,
    workflow_tasks: _WorkflowTasks = False,  # noqa: FBT002 - typer's way to a flag
) -> None:
    """Show the history of a run as a timeline.

    On a terminal in colour and cut to its width. NO_COLOR and FORCE_COLOR are heeded. Of a damaged file, what stands
    before the damage.
    """
    reader = _Descriptors(descriptors or ())
    found = _find(history, engine, run_id)
    tty = sys.stdout.isatty()
    text = timeline.render(
        found,
        describe=reader.describe,
        workflow_tasks=workflow_tasks,
        colour=(tty or bool(os.environ.get("FORCE_COLOR"))) and not os.environ.get("NO_COLOR"),
        width=shutil.get_terminal_size().columns if tty else None,
    )
    typer.echo(text, nl=False)
    if found.damage is not None:
        raise found.damage


@app.command()
def export(
    workflow_id: Annotated[str, typer.Argument(metavar="WORKFLOW_ID", help="Id of the workflow.")],
    engine: EngineUrl = None,
    run_id: RunId = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write there.")] = None,
) -> None:
    """Write the history of a run in Temporal's JSON.

    Payloads are written as the engine stores them.
    """
    text = _of_engine(workflow_id, engine, run_id).to_json()
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")


@app.command()
def diff(
    one: Annotated[str, typer.Argument(metavar="WORKFLOW_ID|FILE", help="Id of a workflow, or a JSON file.")],
    other: Annotated[str, typer.Argument(metavar="WORKFLOW_ID|FILE", help="Another one.")],
    engine: EngineUrl = None,
    descriptors: _DescriptorSets = None,
    workflow_tasks: _WorkflowTasks = False,  # noqa: FBT002 - typer's way to a flag
) -> None:
    """Compare two histories step by step, whatever their times and ids.

    Exit code 0: they are alike. 1: they differ. 2: one cannot be read.
    """
    try:
        reader = _Descriptors(descriptors or ())
        left, right = (_find(each, engine, None) for each in (one, other))
        for found in (left, right):
            if found.damage is not None:
                raise found.damage
    except (ProtopactError, OSError) as error:
        typer.echo(f"protopact: {error}", err=True)
        raise typer.Exit(2) from None
    lines = difference(left, right, describe=reader.describe, workflow_tasks=workflow_tasks)
    if lines:
        typer.echo("\n".join([f"--- {one}", f"+++ {other}", *lines]))
        raise typer.Exit(1)


def _find(name: str, engine: str | None, run_id: str | None) -> History:
    """The history in a file of that name; without such a file, that of the workflow with that id."""
    path = Path(name)
    return histories.read(path, allow_damage=True) if path.is_file() else _of_engine(name, engine, run_id)


def _of_engine(workflow_id: str, engine: str | None, run_id: str | None) -> History:
    if engine is None:
        raise HistoryError(
            f"there is no file {workflow_id}; for the history of a workflow say where it runs: --engine URL, or "
            "PROTOPACT_ENGINE in the environment"
        )
    check_engine(engine)
    return asyncio.run(_history(engine, WorkflowRef(workflow_id, run_id)))


async def _history(url: str, ref: WorkflowRef) -> History:
    async with protopact.connect(url) as engine:
        found, events = await engine.workflow_history(ref)
    if isinstance(events, History):
        return events
    return History(events, workflow_id=found.workflow_id, run_id=found.run_id)


class _Descriptors:
    """Puts binary payloads into words, as far as the given descriptor sets know their types."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        for file in files:
            found = descriptor_pb2.FileDescriptorSet()
            try:
                found.ParseFromString(file.read_bytes())
            except message.DecodeError:
                found.Clear()
            if not found.file:
                raise HistoryError(
                    f"{file} is not a descriptor set; write one with `buf build -o {file.stem}.binpb` or "
                    "`protoc --include_imports --descriptor_set_out`"
                )
            self._add(found)

    def _add(self, found: descriptor_pb2.FileDescriptorSet) -> None:
        for file in found.file:
            try:
                self._pool.Add(file)
            except TypeError as error:
                raise HistoryError(
                    f"{file.name} of the descriptor set cannot be used ({error}); a set must hold its imports, "
                    "in order: `buf build`, or protoc with --include_imports"
                ) from None

    def describe(self, payload: Payload) -> str:
        """A payload in words."""
        if payload.metadata.get("encoding") != b"binary/protobuf":
            return describe_payload(payload)
        name = payload.metadata.get("messageType", b"").decode("utf-8", "replace")
        try:
            cls = message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name))
            read = json_format.MessageToDict(cls.FromString(payload.data))
        except (KeyError, message.DecodeError):
            return describe_payload(payload)
        return json.dumps(read, ensure_ascii=False)
