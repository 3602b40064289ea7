"""The contract rows: each folder of `contracts` is one edit of a contract, of the code on it, or of both.

What a folder lacks is as in `contracts/shop.proto` and `contracts/shop.txt`, or, for `after`, as before. The code
before runs a story on a real engine; its histories are replayed on the code after, as workers and as strict replayers
compare them.
`expected.txt`, what is told under each deployment and what becomes of the histories, is written anew with
`UPDATE_GOLDENS=1 pytest tests/versioning`.
"""

from __future__ import annotations

import asyncio
import os
import re
from itertools import product
from pathlib import Path
from types import ModuleType

import pytest
from tests.versioning.conftest import compile_image
from tests.versioning.modules import load, run_code

from protopact import ProtopactError
from protopact.engine import WorkflowRef
from protopact.history import History
from protopact.replay import Replayer
from protopact.testing import Environment
from protopact.workflow import Workflow
from protopact_codegen.diagnostics import Diagnostic, render
from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.check import check
from protopact_codegen.versioning.lock import Release
from protopact_codegen.versioning.settings import Clients, Deployment, ServiceSettings, Settings
from protopact_codegen.versioning.sources import SourceError, from_input

HERE = Path(__file__).parent / "contracts"
ROWS = sorted(folder.name for folder in HERE.iterdir() if folder.is_dir())


def text_of(row: str, when: str, suffix: str) -> str:
    """A file of a row, else of before, else what rows have in common."""
    names = (f"{row}/{when}.{suffix}", f"{row}/before.{suffix}", f"shop.{suffix}")
    return next((HERE / name).read_text() for name in names if (HERE / name).exists())


def short(finding: Diagnostic) -> str:
    rule = re.search(r"\(([PC]\d+[a-z]?)\): ", finding.message)
    return f"{finding.code.value} {rule[1] if rule is not None else ''}".strip()


def told(before: Path, after: Path) -> list[str]:
    """What the check says under each deployment, and in full under the default settings."""
    try:
        new = from_input(str(after))
    except SourceError as error:
        return ["the contract is refused", *str(error).splitlines()]
    release = Release.of("v1", capture(from_input(str(before))))
    lines: list[str] = []
    for deployment, clients in product(Deployment, Clients):
        if deployment is not Deployment.ROLLING or clients is Clients.INSIDE:
            settings = Settings(ServiceSettings(deployment=deployment, clients=clients))
            found = ", ".join(sorted(map(short, check(new, [release], settings, complete=True))))
            who = "" if deployment is Deployment.ROLLING else f", clients {clients.value}"
            lines.append(f"{deployment.value}{who}: {found or 'safe'}")
    return [*lines, *render(check(new, [release], Settings(), complete=True))]


async def record(code: ModuleType, service: type) -> list[History]:
    """Run the story of some code, and take the histories of its workflows."""
    async with Environment() as env, env.worker(workflows=[code.Buy, code.Ship], activities=[code.Activities()]):
        await code.story(service.Client(env))  # type: ignore[attr-defined] # generated
        histories: list[History] = []
        async for run in env.list_workflows():
            ref, events = await env.workflow_history(WorkflowRef(run.workflow_id, run.run_id))
            histories.append(History(events, workflow_id=ref.workflow_id, run_id=ref.run_id))
        return histories[::-1]


def replayed(history: History, code: ModuleType) -> str:
    classes = [each for each in vars(code).values() if isinstance(each, type) and issubclass(each, Workflow)]
    answers: list[str] = []
    for strict in (False, True):
        try:
            Replayer(workflows=classes, strict=strict).replay(history)
        except ProtopactError as error:
            cause = re.search(r"likely cause +((?:.+\n)+)", f"{error}\n")
            words = " ".join((cause[1] if cause is not None else str(error)).split())
            answers.append(f"{type(error).__name__}: {words}")
        else:
            answers.append("the same")
    loose, strict_ = answers
    return loose if loose == strict_ else f"{loose}; strictly {strict_}"


def lines_of(row: str, folder: Path) -> list[str]:
    before, after = (compile_image(folder, when, text_of(row, when, "proto")) for when in ("before", "after"))
    lines = told(before, after)
    if lines[0] == "the contract is refused":
        return lines
    old, new = (load(image, "google", folder) for image in (before, after))
    histories = asyncio.run(record(run_code(text_of(row, "before", "txt"), old), old.ShopService))
    code = run_code(text_of(row, "after", "txt"), new)
    return [*lines, *(f"replay of {history.workflow_id}: {replayed(history, code)}" for history in histories)]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_told_and_replayed(row: str, tmp_path: Path) -> None:
    text = "".join(f"{line}\n" for line in lines_of(row, tmp_path))
    golden = HERE / row / "expected.txt"
    if "UPDATE_GOLDENS" in os.environ:
        golden.write_text(text)
    assert text == golden.read_text()
