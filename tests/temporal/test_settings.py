"""Settings of workers: each arrives in the worker that the SDK has, and stands on the page."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import cast
from uuid import uuid4

import pytest
import temporalio.workflow
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.plugin import SimplePlugin
from temporalio.worker import (
    Interceptor,
    PatchActivationInput,
    PollerBehaviorAutoscaling,
    Replayer,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkerConfig,
    WorkerDeploymentConfig,
    WorkerTuner,
    WorkflowRunner,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from tests.devserver import DevServer
from tests.embedded.bench import text
from tests.embedded.lab.v1.lab_protopact import LabService as lab
from tests.temporal import page
from tests.temporal.bench import Lab, serving, soon
from tests.temporal.programs import Greeter

import protopact
from protopact.engine import Engine
from protopact.errors import RegistrationError
from protopact.temporal import TemporalWorkerOptions, connect, replayer

OTHERWISE = {"sandboxed", "sandbox_restrictions", "interceptors", "plugins"}
"""Settings that go into an argument of the SDK's worker together with something else."""
OF_BOTH_ENGINES = {
    "max_concurrent_activities": 31,
    "max_concurrent_local_activities": 32,
    "max_cached_workflows": 33,
    "graceful_shutdown_timeout": timedelta(seconds=34),
    "identity": "somebody",
    "build_id": "35",
}
"""Parameters of `engine.worker` that the SDK's worker has by the same names."""
OURS = {
    "client": "the engine's",
    "task_queue": "one worker for each queue",
    "workflows": "definitions of the classes that are given",
    "activities": "functions that call those that are given",
    "workflow_runner": "`sandboxed` and `sandbox_restrictions`",
    "unsandboxed_workflow_runner": "the same",
    "activity_executor": "protopact has threads of its own for activities, as many as there are slots",
    "workflow_failure_exception_types": "in the definitions",
    "interceptors": "of the SDK's, and one of ours for headers",
    "plugins": "of the SDK's, and one of ours that looks at the runners",
}
"""Arguments of the SDK's worker that protopact fills, and with what."""
LEFT_OUT = {
    "nexus_service_handlers": "a contract has no Nexus operations",
    "nexus_task_executor": "the same",
    "max_concurrent_nexus_tasks": "the same",
    "nexus_task_poller_behavior": "the same",
    "max_concurrent_workflow_task_polls": "deprecated: workflow_task_poller_behavior",
    "max_concurrent_activity_task_polls": "deprecated: activity_task_poller_behavior",
    "use_worker_versioning": "deprecated: deployment_config",
    "shared_state_manager": "for activities in other processes, by an executor, and activity_executor is ours",
    "disable_safe_workflow_eviction": "for nobody: it runs code in the wrong place",
    "plugin_shutdown_timeout": "for `async with` of the SDK's worker, which protopact runs by `run`",
}
"""Arguments of the SDK's worker that nobody can give, and why."""


async def note(_error: BaseException) -> None:
    """Called when a worker fails as a whole."""


def take(_patch: PatchActivationInput) -> bool:
    """Takes every patch."""
    return True


class Looking(SimplePlugin):
    """Keeps what the SDK's worker was made with."""

    config: Mapping[str, object] = MappingProxyType({})

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:  # noqa: A002 - the SDK's
        self.config = cast("Mapping[str, object]", worker.config(active_config=True))
        await next(worker)


class Outer(Interceptor):
    """One of the SDK's."""


NUMBERS = TemporalWorkerOptions(
    sandbox_restrictions=SandboxRestrictions.default.with_passthrough_modules("tests.temporal.passed"),
    max_concurrent_workflow_tasks=7,
    workflow_task_poller_behavior=PollerBehaviorAutoscaling(maximum=9),
    activity_task_poller_behavior=PollerBehaviorAutoscaling(maximum=8),
    nonsticky_to_sticky_poll_ratio=0.5,
    sticky_queue_schedule_to_start_timeout=timedelta(seconds=5),
    max_activities_per_second=1000,
    max_task_queue_activities_per_second=1001,
    max_heartbeat_throttle_interval=timedelta(seconds=11),
    default_heartbeat_throttle_interval=timedelta(seconds=12),
    disable_eager_activity_execution=True,
    max_eager_activity_reservations_per_workflow_task=2,
    workflow_task_executor=ThreadPoolExecutor(7),
    no_remote_activities=False,
    debug_mode=True,
    on_fatal_error=note,
    patch_activation_callback=take,
    disable_payload_error_limit=True,
    max_workflow_task_external_storage_concurrency=4,
    interceptors=[Outer()],
)
OBJECTS = TemporalWorkerOptions(
    sandboxed=False,
    tuner=WorkerTuner.create_fixed(workflow_slots=5, activity_slots=5),
    deployment_config=WorkerDeploymentConfig(
        version=WorkerDeploymentVersion("lab", "one"), use_worker_versioning=False
    ),
)


async def made(url: str, options: TemporalWorkerOptions | None = None, **given: object) -> Mapping[str, object]:
    """What the SDK's worker has that is made with settings, once it has run a workflow."""
    looking = Looking("looking")
    options = options or TemporalWorkerOptions(sandboxed=False)
    options = replace(options, plugins=[looking])
    async with protopact.connect(url) as engine:
        arguments = {"workflows": [Greeter], "activities": [Lab()], "temporal": options} | given
        async with engine.worker(**arguments):  # type: ignore[arg-type] # of as many types as there are parameters
            found = await soon(lab.Client(engine).execute_free(text("x"), id=f"settings-{uuid4()}"))
            assert found.value.startswith("x!")
    return looking.config


async def test_settings_arrive(temporal_server: DevServer) -> None:
    known = {each.name for each in fields(TemporalWorkerOptions)}
    apart = {"tuner", "deployment_config", "plugins", "sandboxed"}
    assert {name for name in known if getattr(NUMBERS, name) is not None} == known - apart | {"plugins", "sandboxed"}
    config = await made(temporal_server.url, NUMBERS, **OF_BOTH_ENGINES)
    for name in known - OTHERWISE - apart:
        assert config[name] == getattr(NUMBERS, name), name
    for name, value in OF_BOTH_ENGINES.items():
        assert config[name] == value, name
    assert NUMBERS.interceptors[0] in cast("list[Interceptor]", config["interceptors"])
    runner = config["workflow_runner"]
    assert isinstance(runner, SandboxedWorkflowRunner)
    assert {"tests.temporal.passed", "protopact"} <= set(runner.restrictions.passthrough_modules)

    config = await made(temporal_server.url, OBJECTS)
    for name in ("tuner", "deployment_config"):
        assert config[name] is getattr(OBJECTS, name), name


def test_each_argument_of_the_worker_of_the_sdk_has_its_place() -> None:
    ours = {each.name for each in fields(TemporalWorkerOptions)} - OTHERWISE
    places = [ours, set(OF_BOTH_ENGINES), set(OURS), set(LEFT_OUT)]
    assert set().union(*places) == set(WorkerConfig.__annotations__)
    assert sum(map(len, places)) == len(WorkerConfig.__annotations__), "one place for each"


def test_each_argument_of_the_replayer_of_the_sdk_has_its_place() -> None:
    ours = {"workflows", "workflow_runner", "unsandboxed_workflow_runner", "data_converter", "header_codec_behavior"}
    ours |= {"interceptors"}  # temporal_interceptors
    ours |= {"disable_safe_workflow_eviction"}  # for nobody
    given = set(inspect.signature(replayer).parameters) - {"workflows", "interceptors"}
    assert set(inspect.signature(Replayer.__init__).parameters) - {"self"} == ours | given - {
        "encoding",
        "codecs",
        "sandboxed",
        "sandbox_restrictions",
        "temporal_interceptors",
    }


def test_the_page_has_all_settings() -> None:
    section = page.PAGE.read_text().partition("\n## Workers on Temporal\n")[2].partition("\n## ")[0]
    of_worker, of_temporal = (
        [name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
        for table in section.split("`protopact.temporal.TemporalWorkerOptions`")[:2]
    )
    assert sorted(of_worker) == sorted(set(inspect.signature(Engine.worker).parameters) - {"self"})
    assert sorted(of_temporal) == sorted(each.name for each in fields(TemporalWorkerOptions))


async def test_settings_that_cannot_be(temporal_server: DevServer) -> None:
    versioned = WorkerDeploymentConfig(version=WorkerDeploymentVersion("lab", "one"), use_worker_versioning=True)
    with pytest.raises(RegistrationError, match=r"(?s)task queue 'lab' cannot be made.*versioning behavior"):
        async with serving(
            temporal_server.url,
            [Greeter],
            temporal=TemporalWorkerOptions(sandboxed=False, deployment_config=versioned),
        ):
            pass
    given = replace(versioned, default_versioning_behavior=VersioningBehavior.PINNED)
    async with serving(
        temporal_server.url, [Greeter], temporal=TemporalWorkerOptions(sandboxed=False, deployment_config=given)
    ):
        pass


async def test_the_environment_names_a_version(temporal_server: DevServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_WORKER_BUILD_ID", "2.1")
    half = "half of a worker version: TEMPORAL_WORKER_BUILD_ID is '2.1', and TEMPORAL_DEPLOYMENT_NAME is not set"
    with pytest.raises(RegistrationError, match=half):
        await made(temporal_server.url)
    # What the program says goes before.
    assert (await made(temporal_server.url, build_id="mine"))["build_id"] == "mine"
    assert (await made(temporal_server.url, OBJECTS))["deployment_config"] is OBJECTS.deployment_config
    # Both of them: tests/temporal/test_versions.py.


def another(_runner: WorkflowRunner | None) -> WorkflowRunner:
    return UnsandboxedWorkflowRunner()


async def test_a_plugin_may_change_the_runner_and_not_replace_it(temporal_server: DevServer) -> None:
    def passing(runner: WorkflowRunner | None) -> WorkflowRunner:
        assert isinstance(runner, SandboxedWorkflowRunner)
        return replace(runner, restrictions=runner.restrictions.with_passthrough_modules("tests.temporal.passed"))

    changing = TemporalWorkerOptions(plugins=[SimplePlugin("changing", workflow_runner=passing)])
    async with serving(temporal_server.url, [Greeter], temporal=changing) as bench:
        assert (await bench.run("x")).startswith("x!")
    replacing = SimplePlugin("replacing", workflow_runner=another)
    with pytest.raises(RegistrationError, match=r"put UnsandboxedWorkflowRunner in the place of .* workflow_runner"):
        async with serving(temporal_server.url, [Greeter], temporal=TemporalWorkerOptions(plugins=[replacing])):
            pass
    with pytest.raises(ValueError, match="or sandboxed=False in protopact.temporal.TemporalWorkerOptions"):
        replayer([Greeter], plugins=[replacing])


@temporalio.workflow.defn(sandboxed=False)
class Shouting:
    """Calls the activity of the page, on the queue of the contract."""

    @temporalio.workflow.run
    async def run(self) -> str:
        within = timedelta(seconds=20)
        return str(
            await temporalio.workflow.execute_activity(
                "shout", "hey", task_queue="lab", schedule_to_close_timeout=within
            )
        )


async def test_the_client_and_the_worker_of_the_sdk_are_open(
    temporal_server: DevServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = page.program("by_hand.py", tmp_path)["beside"]()
    queue = f"by-hand-{uuid4()}"
    async with (
        connect(temporal_server.url) as engine,
        engine.worker(workflows=[Greeter], activities=[Lab()], temporal=options),
        Worker(engine.client, task_queue=queue, workflows=[Shouting]),
    ):
        assert await soon(engine.client.execute_workflow(Shouting.run, id=queue, task_queue=queue)) == "HEY"
    assert capsys.readouterr().out == "lab: begins\nlab: has stopped\n"
    schedules = page.program("beside.py", tmp_path)["schedules"]
    assert await schedules(await temporal_server.connect()) == []
    connected = page.program("stock.py", tmp_path, {"127.0.0.1:7233": temporal_server.address})["connected"]
    assert (await connected()).namespace == "default"
