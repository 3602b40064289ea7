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
from protopact.connection import database_path
from protopact.engine import WorkflowRef
from protopact.errors import HistoryError, StoreError
from protopact.history import timeline
from protopact.history.event import Event
from protopact.payload.payload import Payload

__all__ = ["app"]

app = typer.Typer(help="Histories of runs.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Histories of runs."""


@app.command()
def show(
    workflow_id: Annotated[str, typer.Argument(metavar="WORKFLOW_ID", help="Id of the workflow.")],
    engine: Annotated[
        str, typer.Option(envvar="PROTOPACT_ENGINE", metavar="URL", help="Engine, for example sqlite:///nodes.db.")
    ],
    run_id: Annotated[str | None, typer.Option(metavar="ID", help="A run of it; the latest by default.")] = None,
    descriptors: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Descriptor set (buf build -o FILE.binpb, protoc --descriptor_set_out) that binary payloads are read "
            "with. May be repeated.",
        ),
    ] = None,
    workflow_tasks: Annotated[bool, typer.Option("--workflow-tasks", help="Show workflow tasks too.")] = False,  # noqa: FBT002 - typer's way to a flag
) -> None:
    """Show the history of a run as a timeline.

    On a terminal in colour and cut to its width. NO_COLOR and FORCE_COLOR are heeded.
    """
    path = database_path(engine)
    if path is None or not path.exists():
        raise StoreError(f"{engine}: {path or 'memory'} holds no runs; name the file that a worker writes")
    reader = _Descriptors(descriptors or ())
    events = asyncio.run(_history(engine, WorkflowRef(workflow_id, run_id)))
    tty = sys.stdout.isatty()
    text = timeline.render(
        events,
        describe=reader.describe,
        workflow_tasks=workflow_tasks,
        colour=(tty or bool(os.environ.get("FORCE_COLOR"))) and not os.environ.get("NO_COLOR"),
        width=shutil.get_terminal_size().columns if tty else None,
    )
    typer.echo(text, nl=False)


async def _history(url: str, ref: WorkflowRef) -> list[Event]:
    async with protopact.connect(url) as engine:
        return (await engine.workflow_history(ref))[1]


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
            return timeline.describe_payload(payload)
        name = payload.metadata.get("messageType", b"").decode("utf-8", "replace")
        try:
            cls = message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name))
            read = json_format.MessageToDict(cls.FromString(payload.data))
        except (KeyError, message.DecodeError):
            return timeline.describe_payload(payload)
        return json.dumps(read, ensure_ascii=False)
