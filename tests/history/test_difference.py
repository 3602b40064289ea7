"""Two histories side by side."""

from __future__ import annotations

from collections.abc import Sequence

from protopact.history import event as ev
from protopact.history.difference import difference
from protopact.history.failure import ApplicationFailureInfo, Failure
from protopact.history.time import Duration, Timestamp
from protopact.payload.payload import Payload


def history(*attributes: ev.Attributes, every: int = 10**9) -> list[ev.Event]:
    return [ev.Event(number, Timestamp(number * every), each) for number, each in enumerate(attributes, start=1)]


def value(text: str) -> tuple[Payload, ...]:
    return (Payload(metadata={"encoding": b"json/plain"}, data=text.encode()),)


def story(
    *, machine: str = "e2", attempt: int = 1, extra: Sequence[ev.Attributes] = (), run: str = "r"
) -> list[ev.Event]:
    failed = Failure("no room", ApplicationFailureInfo(type="CloudError")) if attempt > 1 else None
    return history(
        ev.WorkflowExecutionStarted(workflow_type="AddNode", original_execution_run_id=run, input=value("1")),
        ev.ActivityTaskScheduled(activity_type="CreateVm", input=value(f'"{machine}"')),
        ev.ActivityTaskStarted(scheduled_event_id=2, attempt=attempt, last_failure=failed),
        ev.ActivityTaskCompleted(scheduled_event_id=2, result=value('"vm-1"')),
        *(ev.WorkflowExecutionSignaled(signal_name=f"S{number}") for number in range(4)),
        *extra,
        ev.WorkflowExecutionCompleted(result=value("2")),
        every=len(run) * 10**9,
    )


def test_what_differs_from_run_to_run_is_no_difference() -> None:
    assert difference(story(), story(run="another")) == []


def test_values_and_attempts_are_compared_within_their_step() -> None:
    assert difference(story(), story(machine="n1", attempt=2)) == [
        "  started AddNode",
        "  activity CreateVm",
        "-     completed",
        '-     request  "e2"',
        "+     completed, attempt 2",
        '+     request  "n1"',
        "+     attempt 1  CloudError: no room",
        '      result  "vm-1"',
        "  signal S0",
        "  signal S1",
        "  ... 3 steps alike",
    ]


def test_steps_that_only_one_has() -> None:
    timer = ev.TimerStarted(start_to_fire_timeout=Duration(10**9))
    assert difference(story(), story(extra=[timer])) == [
        "  ... 4 steps alike",
        "  signal S2",
        "  signal S3",
        "+ timer 1 s",
        "+     open",
        "  completed",
    ]
    assert [line[0] for line in difference(story(extra=[timer]), story()) if line[0] != " "] == ["-", "-"]


def test_the_order_of_steps_matters() -> None:
    one = [ev.WorkflowExecutionSignaled(signal_name=name) for name in ("A", "B")]
    assert difference(story(extra=one), story(extra=one[::-1]))
