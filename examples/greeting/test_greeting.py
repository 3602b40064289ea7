"""The greeting, from the contract to the answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from examples.greeting.greeting import Composer, Greet, main
from generated.betterproto2.greeting.v1 import GreetRequest
from generated.betterproto2.greeting.v1.greeting_protopact import GreetingService as greeting

import protopact
from protopact import testing


async def test_a_greeting(tmp_path: Path) -> None:
    assert await main("World", f"sqlite:///{tmp_path}/greeting.db") == "Hello, World!"


async def test_a_greeting_is_kept_in_the_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/greeting.db"
    await main("World", url)
    async with protopact.connect(url) as engine:
        handle = greeting.Client(engine).greet_handle("greet/World")
        assert (await handle.result()).greeting == "Hello, World!"


async def test_an_id_needs_a_name() -> None:
    async with testing.Environment() as env, env.worker(workflows=[Greet], activities=[Composer()]):
        with pytest.raises(protopact.TemplateError, match="name"):
            await greeting.Client(env).execute_greet(GreetRequest())
