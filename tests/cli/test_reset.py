"""`protopact reset`: a run of a real file is done again."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from examples.greeting.greeting import Composer, Greet
from generated.betterproto2.greeting.v1 import GreetRequest
from generated.betterproto2.greeting.v1.greeting_protopact import GreetingService as greeting
from typer.testing import CliRunner

import protopact
from protopact.cli import app
from protopact.errors import ProtopactError


async def greet(url: str) -> str | None:
    """Run whatever there is to run; the run that the greeting goes on as."""
    async with protopact.connect(url) as engine, engine.worker(workflows=[Greet], activities=[Composer()]):
        handle = greeting.Client(engine).greet_handle("greet/Zoë")
        await handle.result()
        return (await handle.describe()).run_id


async def start(url: str) -> str | None:
    async with protopact.connect(url) as engine, engine.worker(workflows=[Greet], activities=[Composer()]):
        handle = await greeting.Client(engine).start_greet(GreetRequest(name="Zoë"))
        await handle.result()
        return handle.run_id


def reset(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["reset", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit | ProtopactError)
    return done.exit_code, done.output or str(done.exception)


def test_a_run_is_done_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/greeting.db"
    old = asyncio.run(start(url))
    code, says = reset("greet/Zoë", "--engine", url, "--event-id", 3, "--reason", "once more")
    found = re.fullmatch(r"greet/Zoë goes on as run ([0-9a-f-]{36})\n", says)
    assert found is not None
    assert (code, found[1] != old) == (0, True)
    assert asyncio.run(greet(url)) == found[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("greet/Zoë", "--engine", "URL", "--event-id", "1"), "expected one that starts or ends a workflow task"),
        (("greet/Ann", "--engine", "URL", "--event-id", "3"), "there is no workflow 'greet/Ann'"),
        (("greet/Zoë", "--engine", "URL.other", "--event-id", "3"), "greeting.db.other holds no runs"),
        (("greet/Zoë", "--event-id", "3"), "say where the workflow runs: --engine URL"),
        (("greet/Zoë", "--engine", "URL"), "Missing option '--event-id'"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    url = f"sqlite:///{tmp_path}/greeting.db"
    asyncio.run(start(url))
    code, said = reset(*(each.replace("URL", url) for each in arguments))
    assert code != 0
    assert says in said
