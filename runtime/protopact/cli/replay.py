"""`protopact replay`: whether this code still does what stored histories hold, for CI."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from protopact.errors import NondeterminismError, ProtopactError, WorkflowTaskError
from protopact.replay import Replayer, ReplayResult
from protopact.testing import histories

__all__ = ["replay"]

_DIFFERENT, _UNUSABLE = 1, 2
"""Exit codes: code and history disagree; something could not be read."""


class _Format(Enum):
    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What became of a file: `problem` says why it could not be replayed, or not to its end."""

    file: Path
    result: ReplayResult | None = None
    problem: ProtopactError | None = None

    @property
    def code(self) -> int:
        if self.result is not None and self.result.error is not None:
            return _DIFFERENT
        return 0 if self.problem is None else _UNUSABLE


def replay(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE_OR_DIR", help="Histories in Temporal's JSON, or folders of them.")
    ],
    *,
    workflows: Annotated[
        list[str] | None,
        typer.Option(
            "--workflows",
            "-w",
            metavar="MODULE[:CLASS],...",
            help="Workflow classes, or modules that define them. May be repeated.",
        ),
    ] = None,
    replayer: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:NAME",
            help="A protopact.replay.Replayer, or a function that returns one, instead of --workflows.",
        ),
    ] = None,
    relax: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A comparison not to make. May be repeated.")
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict/--no-strict", help="Compare commands in full, or as workers do: kinds, types, ids."),
    ] = True,
    output: Annotated[_Format, typer.Option("--format", help="How the outcome is told.")] = _Format.TEXT,
) -> None:
    """Replay stored histories on workflow classes.

    Exit code 0: every history replays. 1: the code does not do what a history holds. 2: a history or a workflow cannot
    be read.
    """
    if (workflows is None) is (replayer is None):
        raise typer.BadParameter("give one of --workflows and --replayer")
    if replayer is not None and (relax or not strict):
        given = "--relax" if relax else "--no-strict"
        raise typer.BadParameter(f"{given} goes with --workflows; a replayer has its own")
    if relax and not strict:
        raise typer.BadParameter("--relax names comparisons of strict mode, and --no-strict makes none of them")
    # What a module of theirs imports stands beside it, as under `python -m`.
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - the text, as python itself puts it there
    # Warnings are told with the histories.
    logger = logging.getLogger("protopact.replay")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    try:
        if replayer is not None:
            replays = histories.load_replayer(replayer)
        else:
            replays = Replayer(workflows=histories.load_workflows(workflows or ()), strict=strict, relax=relax or ())
        found = histories.find(files)
    except ProtopactError as error:
        typer.echo(f"protopact: {error}", err=True)
        raise typer.Exit(_UNUSABLE) from None
    verdicts = [_judge(file, replays) for file in found]
    if output is _Format.JSON:
        typer.echo(msgspec.json.format(msgspec.json.encode({"histories": [*map(_data, verdicts)]}), indent=2).decode())
    else:
        _tell(verdicts)
    codes = {verdict.code for verdict in verdicts} - {0}
    raise typer.Exit(min(codes, default=0))


def _judge(file: Path, replayer: Replayer) -> _Verdict:
    try:
        history = histories.read(file, allow_damage=True)
        result = replayer.replay(history, raise_on_failure=False)
    except ProtopactError as error:
        return _Verdict(file, problem=error)
    return _Verdict(file, result, problem=history.damage)


def _tell(verdicts: list[_Verdict]) -> None:
    words = {0: "ok", _DIFFERENT: "FAILED", _UNUSABLE: "UNUSABLE"}
    for verdict in verdicts:
        result = verdict.result
        whose = "" if result is None else f"  {_whose(result)}"
        typer.echo(f"{words[verdict.code]:<8}  {verdict.file}{whose}")
        if result is not None:
            for warning in result.warnings:
                typer.echo(_indented(f"warning: {warning}"))
            if result.error is not None:
                typer.echo(_indented(histories.describe(result.error)))
        if verdict.problem is not None:
            typer.echo(_indented(str(verdict.problem)))
            if result is not None and result.error is None:
                typer.echo(_indented(f"The {len(result.history)} events before it replay."))
    counts = {code: sum(verdict.code == code for verdict in verdicts) for code in words}
    said = [
        f"{counts[0]} replayed",
        *([f"{counts[_DIFFERENT]} failed"] if counts[_DIFFERENT] else []),
        *([f"{counts[_UNUSABLE]} could not be used"] if counts[_UNUSABLE] else []),
    ]
    typer.echo(f"\n{len(verdicts)} {'history' if len(verdicts) == 1 else 'histories'}: {', '.join(said)}")


def _whose(result: ReplayResult) -> str:
    history = result.history
    count = f"{len(history)} {'event' if len(history) == 1 else 'events'}"
    return f"{history.workflow_type} {history.workflow_id!r}, {count}{'' if result.is_closed else ', open'}"


def _indented(text: str) -> str:
    return "\n".join(f"          {line}".rstrip() for line in text.splitlines())


def _data(verdict: _Verdict) -> dict[str, Any]:  # JSON
    names = {0: "ok", _DIFFERENT: "failed", _UNUSABLE: "unusable"}
    told: dict[str, Any] = {"file": str(verdict.file), "status": names[verdict.code]}
    if verdict.result is not None:
        history = verdict.result.history
        told |= {
            "workflow_type": history.workflow_type,
            "workflow_id": history.workflow_id,
            "run_id": history.run_id,
            "events": len(history),
            "is_closed": verdict.result.is_closed,
            "warnings": verdict.result.warnings,
        }
        if verdict.result.error is not None:
            told["error"] = _error(verdict.result.error)
    if verdict.problem is not None:
        told["problem"] = str(verdict.problem)
    return told


def _error(error: WorkflowTaskError) -> dict[str, Any]:  # JSON
    report = error.report if isinstance(error, NondeterminismError) else None
    return {
        "type": type(error).__name__,
        "message": histories.describe(error),
        "report": None if report is None else msgspec.Raw(report.to_json().encode()),
    }
