"""The flows: which payloads cross from one contract to another, and what a payload rule then asks for.

A reader and a writer are of different contracts when a history outlives a deployment, when old and new workers or
clients are there at the same time, or when a deployment is taken back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum

from protopact_codegen.contract import Kind
from protopact_codegen.versioning.rules import ContractRule, Direction, Outcome, PayloadRule, Verdict
from protopact_codegen.versioning.settings import Clients, Deployment, Encoding, ServiceSettings
from protopact_codegen.versioning.snapshot import ElementFacts

__all__ = ["Role", "consequence", "failures", "flows", "judge", "judge_element", "roles"]


class Role(Enum):
    """What a message is for."""

    WORKFLOW_REQUEST = "request of workflow"
    WORKFLOW_RESPONSE = "response of workflow"
    ACTIVITY_REQUEST = "request of activity"
    ACTIVITY_RESPONSE = "response of activity"
    SIGNAL = "request of signal"
    QUERY_REQUEST = "request of query"
    QUERY_RESPONSE = "response of query"
    UPDATE_REQUEST = "request of update"
    UPDATE_RESPONSE = "response of update"

    @property
    def request(self) -> bool:
        """Whether clients or callers write it, rather than who answers."""
        return self.value.startswith("request")


_ROLES: Mapping[Kind, tuple[Role, Role | None]] = {
    Kind.WORKFLOW: (Role.WORKFLOW_REQUEST, Role.WORKFLOW_RESPONSE),
    Kind.ACTIVITY: (Role.ACTIVITY_REQUEST, Role.ACTIVITY_RESPONSE),
    Kind.SIGNAL: (Role.SIGNAL, None),
    Kind.QUERY: (Role.QUERY_REQUEST, Role.QUERY_RESPONSE),
    Kind.UPDATE: (Role.UPDATE_REQUEST, Role.UPDATE_RESPONSE),
}

_ARROWS: Mapping[str, frozenset[Direction]] = {
    "→": frozenset({Direction.FORWARD}),
    "←": frozenset({Direction.BACKWARD}),
    "⇄": frozenset(Direction),
    "-": frozenset(),
}
# → from an old writer to a new reader, ← the reverse. In place there are histories only, and no way back; with pinned
# workers, what a new client says to an old run, and what an old run answers or goes on as; in a rolling deployment all.
# Clients that are deployed elsewhere may be older or newer than the workers.
_FLOWS: Mapping[Role, tuple[str, str, str, str]] = {
    #                       in place         pinned
    #                       inside outside   inside outside
    Role.WORKFLOW_REQUEST: ("→", "⇄", "→", "⇄"),
    Role.WORKFLOW_RESPONSE: ("→", "⇄", "→", "⇄"),
    Role.ACTIVITY_REQUEST: ("→", "→", "-", "-"),
    Role.ACTIVITY_RESPONSE: ("→", "→", "-", "-"),
    Role.SIGNAL: ("→", "⇄", "←", "⇄"),
    Role.QUERY_REQUEST: ("-", "⇄", "←", "⇄"),
    Role.QUERY_RESPONSE: ("-", "⇄", "→", "⇄"),
    Role.UPDATE_REQUEST: ("→", "⇄", "←", "⇄"),
    Role.UPDATE_RESPONSE: ("→", "⇄", "→", "⇄"),
}

_FORWARD, _BACKWARD = Direction.FORWARD, Direction.BACKWARD
_FAIL_TASKS = "fail their next workflow task, and retry it for ever"
# Who reads, and what an error is to them.
_READERS: Mapping[tuple[Role, Direction], tuple[str, str]] = {
    (Role.WORKFLOW_REQUEST, _FORWARD): ("open runs", _FAIL_TASKS),
    (Role.WORKFLOW_REQUEST, _BACKWARD): ("older workers that get a new run", _FAIL_TASKS),
    (Role.WORKFLOW_RESPONSE, _FORWARD): ("parents and clients that read the result of an older run", "fail"),
    (Role.WORKFLOW_RESPONSE, _BACKWARD): ("older clients and parents that read a new result", "fail"),
    (Role.ACTIVITY_REQUEST, _FORWARD): ("attempts that older workers have scheduled", "fail"),
    (Role.ACTIVITY_REQUEST, _BACKWARD): ("attempts that an older worker takes", "fail, until a new one takes them"),
    (Role.ACTIVITY_RESPONSE, _FORWARD): ("open runs that have a result in their history", _FAIL_TASKS),
    (Role.ACTIVITY_RESPONSE, _BACKWARD): ("runs on an older worker that get a new result", "fail their workflow task"),
    (Role.SIGNAL, _FORWARD): ("runs with such a signal in their history", "drop it, and replay takes another path"),
    (Role.SIGNAL, _BACKWARD): ("older workers that get a new signal", "drop it"),
    (Role.QUERY_REQUEST, _FORWARD): ("queries of older clients", "are refused"),
    (Role.QUERY_REQUEST, _BACKWARD): ("queries of new clients", "are refused by older workers"),
    (Role.QUERY_RESPONSE, _FORWARD): ("new clients that ask an older worker", "fail"),
    (Role.QUERY_RESPONSE, _BACKWARD): ("older clients that ask a new worker", "fail"),
    (Role.UPDATE_REQUEST, _FORWARD): ("runs that have accepted such an update", _FAIL_TASKS),
    (Role.UPDATE_REQUEST, _BACKWARD): ("updates of new clients", "are rejected by older workers"),
    (Role.UPDATE_RESPONSE, _FORWARD): ("clients that read the outcome of an older update", "fail"),
    (Role.UPDATE_RESPONSE, _BACKWARD): ("older clients that update a run on a new worker", "fail"),
}


def roles(element: ElementFacts) -> Iterator[tuple[Role, str]]:
    """The roles that an element's messages have, each with the message's full name."""
    request, response = _ROLES[element.kind]
    yield request, element.request
    if response is not None:
        yield response, element.response


def flows(role: Role, settings: ServiceSettings) -> frozenset[Direction]:
    """The directions in which payloads of a role cross."""
    if settings.deployment is Deployment.ROLLING:
        return frozenset(Direction)
    column = (settings.deployment is Deployment.PINNED) * 2 + (settings.clients is Clients.OUTSIDE)
    return _ARROWS[_FLOWS[role][column]]


def failures(
    rule: PayloadRule, encodings: Iterable[Encoding], directions: Iterable[Direction]
) -> Mapping[Direction, Outcome]:
    """What goes wrong in each of the directions, the worse of several encodings; silent loss is the worst."""
    found: dict[Direction, Outcome] = {}
    directions = tuple(directions)
    for encoding in encodings:
        for direction in directions:
            outcome = rule.outcomes[encoding][direction]
            if outcome.bad and found.get(direction) is not Outcome.LOSS:
                found[direction] = outcome
    return found


def judge(rule: PayloadRule, role: Role, failed: Mapping[Direction, Outcome]) -> Verdict:
    """What a change asks for in a role, when that is what goes wrong."""
    if not failed:
        return Verdict.SAFE
    if rule.name == "P44":
        # What is stored does not change, only what code sees where nothing is stored.
        return Verdict.PATCH
    if Direction.FORWARD not in failed:
        return Verdict.ORDER
    if Direction.BACKWARD not in failed and role is not Role.SIGNAL:
        return Verdict.DRAIN
    # A signal that stops decoding is dropped, and what the run did because of it no longer replays (C25).
    return Verdict.BREAK


def judge_element(rule: ContractRule, settings: ServiceSettings) -> tuple[Verdict, str, str]:
    """What a change of an element asks for, what would happen, and the way out."""
    pinned = settings.deployment is Deployment.PINNED
    apart = settings.deployment is Deployment.ROLLING or settings.clients is Clients.OUTSIDE
    older, newer = rule.older and apart, rule.newer and (apart or (pinned and rule.calls))
    if rule.verdict is not Verdict.SAFE and (rule.lasts or not pinned):
        return rule.verdict, rule.consequence, rule.hint
    if older and newer:
        return Verdict.BREAK, "older clients and newer workers do not meet, nor the reverse", rule.hint
    if older:
        return Verdict.ORDER, "older clients that call it get an error", "have clients stop calling it first"
    if newer and pinned and rule.calls:
        hint = "deploy these clients when no run of these releases is open"
        return Verdict.ORDER, "new clients call it by a name that open runs do not know", hint
    if newer:
        hint = "deploy workers before clients, and do not go back"
        happens = rule.consequence if rule.verdict is Verdict.SAFE else ""
        return Verdict.ORDER, happens or "new clients call it by a name that older workers do not know", hint
    return Verdict.SAFE, "", ""


def consequence(role: Role, direction: Direction, outcome: Outcome) -> str:
    """What happens at run time, in words."""
    who, what = _READERS[role, direction]
    return f"{who} {what if outcome is Outcome.ERROR else 'read another value, and nobody is told'}"
