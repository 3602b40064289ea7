"""The smallest application: a workflow that calls one activity.

Run it from the repository's root::

    python -m examples.greeting.greeting Ann
"""

from __future__ import annotations

import asyncio
import sys
from typing import final

from generated.betterproto2.greeting.v1 import (
    ComposeGreetingRequest,
    ComposeGreetingResponse,
    GreetRequest,
    GreetResponse,
)
from generated.betterproto2.greeting.v1.greeting_protopact import GreetingService as greeting

import protopact


@final
class Greet(greeting.Greet):
    """Durable: killed anywhere, it goes on where it was."""

    async def run(self, request: GreetRequest) -> GreetResponse:
        """Call the activity, with the options that the contract gives it."""
        composed = await greeting.compose_greeting(ComposeGreetingRequest(name=request.name))
        return GreetResponse(greeting=composed.greeting)


class Composer(greeting.Activities):
    """What touches the world."""

    async def compose_greeting(self, request: ComposeGreetingRequest) -> ComposeGreetingResponse:
        """Put the words together."""
        return ComposeGreetingResponse(greeting=f"Hello, {request.name}!")


async def main(name: str, url: str = "sqlite:///greeting.db") -> str:
    """Serve the workflow and run it once."""
    async with (
        protopact.connect(url) as engine,
        engine.worker(workflows=[Greet], activities=[Composer()]),
    ):
        response = await greeting.Client(engine).execute_greet(GreetRequest(name=name))
        return response.greeting


if __name__ == "__main__":
    print(asyncio.run(main(sys.argv[1] if sys.argv[1:] else "World")))  # noqa: T201 - the program's answer
