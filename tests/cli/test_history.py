"""`protopact history show`: a run of a real file, as text."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from base64 import b64encode
from datetime import timedelta
from pathlib import Path

import pytest
from examples.greeting.greeting import Composer, Greet
from generated.betterproto2.greeting.v1 import GreetRequest
from generated.betterproto2.greeting.v1.greeting_protopact import GreetingService as greeting
from temporalio import workflow as temporal
from temporalio.client import WorkflowHistory
from temporalio.common import RawValue
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

import protopact
from protopact.history import History
from protopact.payload import Encoding

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent


@temporal.defn(name="greeting.v1.GreetingService.Greet")
class TheirGreet:
    """`Greet`, as one writes it with Temporal's SDK."""

    @temporal.run
    async def run(self, request: RawValue) -> RawValue:
        answer: RawValue = await temporal.execute_activity(
            "greeting.v1.GreetingService.ComposeGreeting",
            request,
            result_type=RawValue,
            start_to_close_timeout=timedelta(seconds=10),
        )
        return answer


TIMELINE = """\
Greet greet/Zoë  completed after T
  type     greeting.v1.GreetingService.Greet
  run      RUN
  queue    greeting
  started  START UTC
  events   11, 2 workflow tasks

+T  started Greet             [1]
          request  {REQUEST}

+T  activity ComposeGreeting  completed in T  [5-7]
          request  {REQUEST}
          result   {RESULT}

+T  completed                 [11]
          result  {RESULT}
"""


def show(*arguments: object, code: int = 0) -> str:
    return history("show", *arguments, code=code)


def history(*arguments: object, code: int = 0) -> str:
    done = subprocess.run(
        [SCRIPTS / "protopact", "history", *map(str, arguments)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr or done.stdout


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An engine that a greeting was run on."""
    return asyncio.run(greet(tmp_path_factory.mktemp("json"), "json/protobuf"))


async def greet(path: Path, encoding: Encoding) -> str:
    url = f"sqlite:///{path}/greeting.db"
    async with (
        protopact.connect(url, encoding=encoding) as engine,
        engine.worker(workflows=[Greet], activities=[Composer()]),
    ):
        await greeting.Client(engine).execute_greet(GreetRequest(name="Zoë"))
    return url


def plain(text: str) -> str:
    """The timeline without what differs from run to run."""
    text = re.sub(r"\d+-\d+-\d+ \d+:\d+:\d+\.\d+ UTC", "START UTC", text)
    text = re.sub(r"(run +)[0-9a-f-]{36}", r"\1RUN", text)
    return re.sub(r"\b\d+(\.\d+)? (s|ms|us)\b", "T", text)


def test_a_run_is_shown_with_its_values_as_they_are(url: str) -> None:
    assert plain(show("greet/Zoë", "--engine", url)) == TIMELINE.replace("{REQUEST}", '{"name": "Zoë"}').replace(
        "{RESULT}", '{"greeting": "Hello, Zoë!"}'
    )


def test_binary_values_are_read_with_descriptors(tmp_path: Path) -> None:
    url = asyncio.run(greet(tmp_path, "binary/protobuf"))
    blind = plain(show("greet/Zoë", "--engine", url))
    assert "  request  greeting.v1.GreetRequest, 6 bytes\n" in blind
    assert "  result   greeting.v1.ComposeGreetingResponse, 14 bytes\n" in blind
    descriptors = tmp_path / "greeting.binpb"
    subprocess.run(
        [SCRIPTS / "buf", "build", "--path", "proto_examples/greeting", "-o", descriptors], cwd=ROOT, check=True
    )
    assert plain(show("greet/Zoë", "--engine", url, "--descriptors", descriptors)) == TIMELINE.replace(
        "{REQUEST}", '{"name": "Zoë"}'
    ).replace("{RESULT}", '{"greeting": "Hello, Zoë!"}')


def test_workflow_tasks_are_shown_when_asked_for(url: str) -> None:
    assert plain(show("greet/Zoë", "--engine", url, "--workflow-tasks")).count("workflow task  ") == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("greet/Ann", "--engine", "URL"), "there is no workflow 'greet/Ann'"),
        (("greet/Zoë", "--engine", "URL", "--run-id", "other"), "other"),
        (("greet/Zoë", "--engine", "postgres://db"), "unknown scheme 'postgres'"),
        (("greet/Zoë", "--engine", "URL.other"), "greeting.db.other holds no runs"),
        (("greet/Zoë", "--engine", "sqlite://"), "memory holds no runs"),
        (("greet/Zoë", "--engine", "URL", "--descriptors", "absent"), "No such file or directory: absent"),
        (("greet/Zoë", "--engine", "URL", "--descriptors", __file__), "is not a descriptor set"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(url: str, arguments: tuple[str, ...], says: str) -> None:
    answer = show(*(argument.replace("URL", url) for argument in arguments), code=1)
    assert answer.startswith("protopact: ")
    assert says in answer
    assert answer.count("\n") == 1


async def test_an_exported_history_opens_in_temporals_tools(url: str, tmp_path: Path) -> None:
    file = tmp_path / "greeting.json"
    assert history("export", "greet/Zoë", "--engine", url, "-o", file) == ""
    assert file.read_text() == history("export", "greet/Zoë", "--engine", url)
    text = file.read_text()
    theirs = WorkflowHistory.from_json("greet/Zoë", text)
    assert json.loads(theirs.to_json()) == json.loads(text)
    assert theirs.run_id == History.from_json(text).run_id
    assert show(file) == show("greet/Zoë", "--engine", url)
    replayer = Replayer(workflows=[TheirGreet], workflow_runner=UnsandboxedWorkflowRunner())
    result = await replayer.replay_workflow(theirs)
    assert result.replay_failure is None


def test_histories_of_files_and_of_an_engine_are_compared(url: str, tmp_path: Path) -> None:
    file = tmp_path / "greeting.json"
    text = history("export", "greet/Zoë", "--engine", url)
    file.write_text(text)
    assert history("diff", "greet/Zoë", file, "--engine", url) == ""
    name, other = (b64encode(each.encode()).decode() for each in ('{"name":"Zoë"}', '{"name":"Ann"}'))
    assert name in text
    file.write_text(text.replace(name, other))
    assert history("diff", "greet/Zoë", file, "--engine", url, code=1).splitlines()[:5] == [
        "--- greet/Zoë",
        f"+++ {file}",
        "  started Greet",
        '-     request  {"name": "Zoë"}',
        '+     request  {"name": "Ann"}',
    ]


def test_a_damaged_file_is_shown_up_to_the_damage(url: str, tmp_path: Path) -> None:
    file = tmp_path / "greeting.json"
    text = history("export", "greet/Zoë", "--engine", url)
    file.write_text(text[: text.index('"eventId": "5"')])
    done = subprocess.run([SCRIPTS / "protopact", "history", "show", file], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "events   4, 1 workflow task" in done.stdout
    assert f"protopact: {file}: the history is not Temporal's JSON" in done.stderr
    assert "not Temporal's JSON" in history("diff", file, "greet/Zoë", "--engine", url, code=2)
    assert "there is no file missing.json" in history("diff", file, "missing.json", code=2)


def test_a_history_that_is_nowhere_is_named() -> None:
    for arguments in (("show", "missing.json"), ("export", "greet/Zoë")):
        assert "say where it runs: --engine URL" in history(*arguments, code=1)
