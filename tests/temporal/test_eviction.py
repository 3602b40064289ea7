"""A worker that stops lets go of the runs that it holds, as it does when it has too many of them."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest
from tests.devserver import DevServer
from tests.embedded.bench import text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
from tests.temporal.bench import serving, soon
from tests.temporal.test_runtime import Free

from protopact import workflow


async def test_a(temporal_server: DevServer, caplog: pytest.LogCaptureFixture) -> None:
    class Undoing(Free):
        async def run(self, request: Text) -> Text:
            try:
                await self.go.receive()
            finally:
                workflow.logger.warning("undoing")
                await lab.echo(text("undo"))
            return request

    caplog.set_level(logging.INFO)
    async with serving(temporal_server.url, [Undoing]) as bench:
        handle = await bench.start()
        await handle.status(text(""))
    gc.collect()
    gc.collect()
    assert "undoing" not in caplog.text
