"""Traces, metrics and encryption by the programs of docs/engines.md, on a real server."""

from __future__ import annotations

import json
import socket
import urllib.request
from base64 import b64decode
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import opentelemetry.trace
import pytest
import temporalio.activity
import temporalio.client
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from temporalio.contrib.opentelemetry import OpenTelemetryPlugin, create_tracer_provider
from tests.devserver import DevServer
from tests.embedded.bench import text
from tests.embedded.lab.v1.lab_pb2 import Text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
from tests.temporal import page
from tests.temporal.bench import Lab, play, soon
from tests.temporal.programs import Greeter

import protopact
from protopact import temporal
from protopact.temporal import data_converter

SERVICE = "lab.v1.LabService"
KEY = bytes(range(32))


def family(spans: Iterable[ReadableSpan]) -> set[tuple[str, str | None]]:
    """Names of spans, each with that of its parent."""
    given = [(span, span.get_span_context()) for span in spans]
    names = {context.span_id: span.name for span, context in given if context is not None}
    traces = {context.trace_id for _, context in given if context is not None}
    assert len(traces) == 1
    return {
        (span.name.replace(f"{SERVICE}.", ""), span.parent and names[span.parent.span_id].replace(f"{SERVICE}.", ""))
        for span, _ in given
    }


@pytest.mark.parametrize("cached", [1000, 0], ids=["kept", "replayed"])
async def test_traces(temporal_server: DevServer, tmp_path: Path, cached: int) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    engine = page.program("tracing.py", tmp_path)["traced"](temporal_server.url, tracer)
    async with engine:
        with tracer.start_as_current_span("caller"):
            await play(engine, max_cached_workflows=cached)
    spans = exporter.get_finished_spans()
    # Two runs of Free, two of Other, whatever is replayed; an attempt of each activity.
    assert [len([span for span in spans if span.name.startswith(f"Run{kind}")]) for kind in ("Work", "Act")] == [4, 4]
    assert family(spans) == {
        ("caller", None),
        ("StartWorkflow:Free", "caller"),
        ("RunWorkflow:Free", "StartWorkflow:Free"),
        ("CompleteWorkflow:Free", "StartWorkflow:Free"),
        ("StartActivity:Echo", "StartWorkflow:Free"),
        ("RunActivity:Echo", "StartActivity:Echo"),
        ("StartActivity:Beat", "StartWorkflow:Free"),
        ("RunActivity:Beat", "StartActivity:Beat"),
        ("StartActivity:protopact.side_effect", "StartWorkflow:Free"),
        ("RunActivity:protopact.side_effect", "StartActivity:protopact.side_effect"),
        ("StartChildWorkflow:Other", "StartWorkflow:Free"),
        ("RunWorkflow:Other", "StartChildWorkflow:Other"),
        ("CompleteWorkflow:Other", "StartChildWorkflow:Other"),
        ("SignalExternalWorkflow:Go", "StartWorkflow:Free"),
        ("SignalWorkflow:Go", "caller"),
        ("HandleSignal:Go", "StartWorkflow:Free"),
        ("QueryWorkflow:Status", "caller"),
        ("HandleQuery:Status", "QueryWorkflow:Status"),
        ("StartWorkflowUpdate:Set", "caller"),
        ("ValidateUpdate:Set", "StartWorkflow:Free"),
        ("HandleUpdate:Set", "StartWorkflow:Free"),
    }


@pytest.mark.slow
async def test_traces_of_the_plugin(temporal_server: DevServer) -> None:
    exporter, provider = InMemorySpanExporter(), create_tracer_provider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    opentelemetry.trace.set_tracer_provider(provider)
    engine = temporal.connect(temporal_server.url, plugins=[OpenTelemetryPlugin(add_temporal_spans=True)])
    async with engine:
        with provider.get_tracer("test").start_as_current_span("caller"):
            await play(engine)
    assert family(exporter.get_finished_spans()) >= {
        ("caller", None),
        ("StartWorkflow:Free", "caller"),
        ("RunWorkflow:Free", "StartWorkflow:Free"),
        ("StartActivity:Echo", "RunWorkflow:Free"),
        ("RunActivity:Echo", "StartActivity:Echo"),
        ("StartChildWorkflow:Other", "RunWorkflow:Free"),
        ("RunWorkflow:Other", "StartChildWorkflow:Other"),
        ("HandleSignal:Go", "SignalWorkflow:Go"),
        ("HandleQuery:Status", "QueryWorkflow:Status"),
        ("HandleUpdate:Set", "StartWorkflowUpdate:Set"),
    }


class Counting(Lab):
    """Counts with what the SDK gives to activities."""

    async def echo(self, request: Text) -> Text:
        temporalio.activity.metric_meter().create_counter("lab_echoes").add(1)
        return await super().echo(request)


async def test_metrics(temporal_server: DevServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_server.address)
    engine = page.program("metrics.py", tmp_path, {"9464": str(port)})["engine"]()
    async with engine, engine.worker(workflows=[Greeter], activities=[Counting()]):
        await soon(lab.Client(engine).execute_free(text("x"), id=f"metrics-{uuid4()}"))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:  # noqa: ASYNC210 - of a thread of the SDK
            lines = answer.read().decode().splitlines()
    (completed,) = [line for line in lines if line.startswith("temporal_workflow_completed{")]
    assert f'workflow_type="{SERVICE}.Free"' in completed
    assert completed.endswith(" 1")
    (echoes,) = [line for line in lines if line.startswith(("temporal_lab_echoes{", "lab_echoes{"))]
    assert f'activity_type="{SERVICE}.Echo"' in echoes
    assert echoes.endswith(" 1")


def payloads(value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - of JSON
    """Those of a history, but for what is for the server."""
    match value:
        case {"metadata": {"encoding": _}}:
            yield value
        case {**fields}:
            for name, each in fields.items():
                yield from payloads(each) if name != "searchAttributes" else ()
        case [*items]:
            for each in items:
                yield from payloads(each)
        case _:
            pass


async def test_encryption(temporal_server: DevServer, tmp_path: Path) -> None:
    encryption = page.program("encryption.py", tmp_path)["Encryption"]
    async with protopact.connect(temporal_server.url, codecs=[encryption(KEY)]) as engine:
        first, *_ = await play(engine)
    stranger = await temporal_server.connect()
    handle = stranger.get_workflow_handle(first.workflow_id, run_id=first.run_id)
    stored = list(payloads(json.loads((await handle.fetch_history()).to_json())))
    encrypted = [each for each in stored if b64decode(each["metadata"]["encoding"]) == b"binary/encrypted"]
    assert len(encrypted) > 10
    # In the clear are the run's origin and what Core notes in markers: no messages.
    others = [each for each in stored if each not in encrypted]
    assert all(b64decode(each["metadata"]["encoding"]) == b"json/plain" for each in others)
    assert not [
        each for each in others for word in ("first", "one", "two") if f'"{word}"' in str(b64decode(each["data"]))
    ]

    friend = await temporalio.client.Client.connect(
        temporal_server.address, data_converter=data_converter(codecs=[encryption(KEY)])
    )
    assert await friend.get_workflow_handle(first.workflow_id, result_type=Text).result() == text("second")
