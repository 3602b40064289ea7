"""Every option of an rpc or a service: what the check says when it changes, or why a change of it harms nobody.

An option that is new to the annotations fails here until it is said which of the two it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import pytest
from google.protobuf.descriptor import Descriptor
from tests.versioning.conftest import HEADER, compile_image

from protopact_codegen import annotations_pb2
from protopact_codegen.contract import Contract
from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.check import check
from protopact_codegen.versioning.closure import digests
from protopact_codegen.versioning.lock import Release
from protopact_codegen.versioning.settings import Deployment, ServiceSettings, Settings
from protopact_codegen.versioning.sources import from_input

CONTRACT = (
    HEADER
    + """
service ShopService {
  option (protopact.v1.service) = {task_queue: "shop"};
  rpc Buy(BuyRequest) returns (BuyResponse) {
    option (protopact.v1.method).workflow = {
      id: "buy/{item}" query: {ref: "Look"} signal: {ref: "Stop"} update: {ref: "Add"} /*workflow*/
    };
  }
  rpc Pay(PayRequest) returns (PayResponse) {
    option (protopact.v1.method).activity = {start_to_close_timeout: {seconds: 60} /*activity*/};
  }
  rpc Look(LookRequest) returns (LookResponse) { option (protopact.v1.method).query = {/*query*/}; }
  rpc Stop(StopRequest) returns (google.protobuf.Empty) { option (protopact.v1.method).signal = {/*signal*/}; }
  rpc Add(AddRequest) returns (AddResponse) { option (protopact.v1.method).update = {/*update*/}; }
}
message BuyRequest { string item = 1; }
message BuyResponse { string receipt = 1; }
message PayRequest { string item = 1; }
message PayResponse { string receipt = 1; }
message LookRequest { string item = 1; }
message LookResponse { string receipt = 1; }
message StopRequest { string item = 1; }
message AddRequest { string item = 1; string other = 2; }
message AddResponse { string receipt = 1; }
"""
)


@dataclass(frozen=True)
class Case:
    """An edit of one option.

    Attributes:
        old: A text of the contract.
        new: What it becomes.
        rules: The rows that are told under one deployment or another.
        digest: Whether the digest of the workflow is another.
        why: Why nothing is told.
        begin: A text that the first edit puts in place of the old one, before there is a release.
        also: Further edits that the one asks for.
    """

    old: str
    new: str
    rules: str = ""
    digest: bool = False
    why: str = ""
    begin: str = ""
    also: tuple[tuple[str, str], ...] = ()


ATTEMPTS = "attempts that are scheduled keep theirs, and replay does not compare it (contracts/C12_every)"
ATTRIBUTES = "they are for starts, and replay does not compare them (C36)"
STARTS = "it is for starts; runs keep theirs, and replay does not compare a child's (contracts/C20_every)"
LOCAL = "a marker holds how long a local activity waits before it is made again (contracts/C12_local)"
W, A = "/*workflow*/", "/*activity*/"

CASES: dict[str, Case] = {
    "ServiceOptions.task_queue": Case('task_queue: "shop"', 'task_queue: "store"', "C14 C15"),
    "MethodOptions.workflow": Case(
        '.workflow = {\n      id: "buy/{item}" query: {ref: "Look"} signal: {ref: "Stop"} update: {ref: "Add"} ',
        ".activity = {start_to_close_timeout: {seconds: 60} ",
        "C21",
        digest=True,
    ),
    "MethodOptions.activity": Case(
        ".activity = {start_to_close_timeout: {seconds: 60} ", ".workflow = {", "C21", digest=True
    ),
    "MethodOptions.query": Case(".query = {", ".update = {", "C35b", digest=True, also=(("query: {", "update: {"),)),
    "MethodOptions.signal": Case(
        "(google.protobuf.Empty) { option (protopact.v1.method).signal",
        "(AddResponse) { option (protopact.v1.method).update",
        "C35",
        digest=True,
        also=(("signal: {", "update: {"),),
    ),
    "MethodOptions.update": Case(".update = {", ".query = {", "C35", digest=True, also=(("update: {", "query: {"),)),
    "Query.ref": Case('query: {ref: "Look"}', "", "C28", digest=True),
    "Signal.ref": Case('signal: {ref: "Stop"}', "", "C23", digest=True),
    "Signal.start": Case('{ref: "Stop"}', '{ref: "Stop" start: true}', why="clients gain a method"),
    "Update.ref": Case('update: {ref: "Add"}', "", "C31", digest=True),
    "Update.start": Case('{ref: "Add"}', '{ref: "Add" start: true}', why="clients gain a method"),
    "Update.workflow_id_conflict_policy": Case(
        '{ref: "Add"}',
        '{ref: "Add" start: true workflow_id_conflict_policy: WORKFLOW_ID_CONFLICT_POLICY_FAIL}',
        begin='{ref: "Add" start: true workflow_id_conflict_policy: WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING}',
        why=STARTS,
    ),
    "Update.validate": Case('{ref: "Add"}', '{ref: "Add" validate: true}', why="replay does not validate again (C32)"),
    "Change.id": Case(W, 'change: {id: "b" since: "v1"}', "C43", digest=True, begin='change: {id: "a" since: "v1"}'),
    "Change.since": Case(W, 'change: {id: "a" since: "v2"}', "PP810", begin='change: {id: "a" since: "v1"}'),
    "Change.deprecated": Case(W, 'change: {id: "a" since: "v2" deprecated: true}', "C41", digest=True),
    "Change.covers": Case(
        W,
        'change: {id: "a" since: "v1" covers: "Pay"}',
        begin='change: {id: "a" since: "v1"}',
        why="it excuses what is told (contracts/C6_covered)",
    ),
    "WorkflowOptions.query": Case('query: {ref: "Look"}', "", "C28", digest=True),
    "WorkflowOptions.signal": Case('signal: {ref: "Stop"}', "", "C23", digest=True),
    "WorkflowOptions.update": Case('update: {ref: "Add"}', "", "C31", digest=True),
    "WorkflowOptions.change": Case(W, "", "C42", digest=True, begin='change: {id: "a" since: "v1"}'),
    "WorkflowOptions.id": Case("buy/{item}", "sale/{item}", "C17 C18", digest=True),
    "WorkflowOptions.name": Case(W, 'name: "B"', "C3", digest=True),
    "ActivityOptions.name": Case(A, 'name: "P"', "C5", digest=True),
    "QueryOptions.name": Case("/*query*/", 'name: "L"', "C28", digest=True),
    "SignalOptions.name": Case("/*signal*/", 'name: "S"', "C24", digest=True),
    "UpdateOptions.name": Case("/*update*/", 'name: "A"', "C31", digest=True),
    "WorkflowOptions.id_reuse_policy": Case(
        W, "id_reuse_policy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE", why=STARTS
    ),
    "WorkflowOptions.workflow_id_conflict_policy": Case(
        W, "workflow_id_conflict_policy: WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING", why=STARTS
    ),
    "WorkflowOptions.execution_timeout": Case(W, "execution_timeout: {seconds: 90}", why=STARTS),
    "WorkflowOptions.run_timeout": Case(W, "run_timeout: {seconds: 90}", why=STARTS),
    "WorkflowOptions.task_timeout": Case(W, "task_timeout: {seconds: 20}", why=STARTS),
    "WorkflowOptions.retry_policy": Case(W, "retry_policy: {max_attempts: 3}", why=STARTS),
    "WorkflowOptions.task_queue": Case(W, 'task_queue: "other"', "C15"),
    "WorkflowOptions.parent_close_policy": Case(W, "parent_close_policy: PARENT_CLOSE_POLICY_ABANDON", why=STARTS),
    "WorkflowOptions.wait_for_cancellation": Case(W, "wait_for_cancellation: true", "C48", digest=True),
    "WorkflowOptions.search_attributes": Case(
        W,
        'search_attributes: {name: "Item" type: SEARCH_ATTRIBUTE_TYPE_KEYWORD value: "{item}"}',
        why=ATTRIBUTES,
    ),
    "WorkflowOptions.versioning_behavior": Case(
        W,
        "versioning_behavior: VERSIONING_BEHAVIOR_AUTO_UPGRADE",
        "C46",
        begin="versioning_behavior: VERSIONING_BEHAVIOR_PINNED",
    ),
    "WorkflowOptions.enable_eager_start": Case(W, "enable_eager_start: true", why="it is for starts by clients"),
    "WorkflowOptions.priority": Case(W, "priority: {priority_key: 2}", why=STARTS),
    "ActivityOptions.task_queue": Case(A, 'task_queue: "other"', "C14"),
    "ActivityOptions.schedule_to_close_timeout": Case(A, "schedule_to_close_timeout: {seconds: 90}", why=ATTEMPTS),
    "ActivityOptions.schedule_to_start_timeout": Case(A, "schedule_to_start_timeout: {seconds: 90}", why=ATTEMPTS),
    "ActivityOptions.start_to_close_timeout": Case("{seconds: 60}", "{seconds: 61}", why=ATTEMPTS),
    "ActivityOptions.heartbeat_timeout": Case(A, "heartbeat_timeout: {seconds: 9}", why=ATTEMPTS),
    "ActivityOptions.retry_policy": Case(A, "retry_policy: {max_attempts: 3}", why=f"{ATTEMPTS}; {LOCAL}"),
    "ActivityOptions.wait_for_cancellation": Case(A, "wait_for_cancellation: true", "C48", digest=True),
    "ActivityOptions.priority": Case(A, "priority: {priority_key: 2}", why=ATTEMPTS),
    "UpdateOptions.id": Case("/*update*/", 'id: "add/{item}"', "C49", begin='id: "add/{other}"'),
    "UpdateOptions.validate": Case("/*update*/", "validate: true", why="replay does not validate again (C32)"),
    "UpdateOptions.wait_for_stage": Case(
        "/*update*/", "wait_for_stage: WAIT_FOR_STAGE_ACCEPTED", why="it is how long a client's call waits"
    ),
    "RetryPolicy.initial_interval": Case(A, "retry_policy: {initial_interval: {seconds: 2}}", why=LOCAL),
    "RetryPolicy.backoff_coefficient": Case(A, "retry_policy: {backoff_coefficient: 3}", why=LOCAL),
    "RetryPolicy.max_interval": Case(A, "retry_policy: {max_interval: {seconds: 5}}", why=LOCAL),
    "RetryPolicy.max_attempts": Case(A, "retry_policy: {max_attempts: 5}", why=LOCAL),
    "RetryPolicy.non_retryable_error_types": Case(A, 'retry_policy: {non_retryable_error_types: "E"}', why=LOCAL),
    "Priority.priority_key": Case(A, "priority: {priority_key: 2}", why=ATTEMPTS),
    "Priority.fairness_key": Case(A, 'priority: {fairness_key: "a"}', why=ATTEMPTS),
    "Priority.fairness_weight": Case(A, "priority: {fairness_weight: 2}", why=ATTEMPTS),
    "WorkflowOptions.aliases": Case(
        W, "", begin='aliases: "B"', why="who starts runs by it is of a release that has it as a name, and is told (C3)"
    ),
    "ActivityOptions.aliases": Case(
        A, "", begin='aliases: "P"', why="code calls by the name; what it called by another one before was told (C5)"
    ),
    "QueryOptions.aliases": Case(
        "/*query*/", "", begin='aliases: "L"', why="who asks by it is of a release that has it as a name (C28)"
    ),
    "SignalOptions.aliases": Case("/*signal*/", "", "C24d", begin='aliases: "S"'),
    "UpdateOptions.aliases": Case("/*update*/", "", "C31d", begin='aliases: "A"'),
    **{
        f"SearchAttribute.{name}": Case(
            W,
            f'search_attributes: {{name: "{attribute}" type: SEARCH_ATTRIBUTE_TYPE_{kind} value: "{value}"}}',
            begin='search_attributes: {name: "Item" type: SEARCH_ATTRIBUTE_TYPE_KEYWORD value: "{item}"}',
            why=ATTRIBUTES,
        )
        for name, attribute, kind, value in (
            ("name", "Thing", "KEYWORD", "{item}"),
            ("type", "Item", "TEXT", "{item}"),
            ("value", "Item", "KEYWORD", "a {item}"),
        )
    },
}
ESCAPES = {"FileOptions", "FieldOptions", "EnumOptions", "EnumValueOptions", "Allow"}
"""Messages that say what findings are passed, and nothing that a run could notice."""
PAYLOADS = {"MessageOptions"}
"""Messages of what payloads hold, which are in the rows of payloads (P40b)."""


def options() -> set[str]:
    """Every option, by the last name of its message."""

    def of(message: Descriptor) -> Iterator[str]:
        for field in message.fields:
            if field.name != "allow":
                yield f"{message.name}.{field.name}"
        for inner in message.nested_types:
            yield from of(inner)

    messages = annotations_pb2.DESCRIPTOR.message_types_by_name
    return {option for name, message in messages.items() if name not in ESCAPES | PAYLOADS for option in of(message)}


def test_every_option_is_looked_at() -> None:
    assert options() == CASES.keys()
    for name in ESCAPES - {"Allow"}:
        assert [each.name for each in annotations_pb2.DESCRIPTOR.message_types_by_name[name].fields] == ["allow"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Contract]:
    """Reads a contract; most of the cases begin with one and the same."""

    @cache
    def built(text: str) -> Contract:
        return from_input(str(compile_image(tmp_path_factory.mktemp("options"), "shop", text)))

    return built


@pytest.mark.parametrize("option", CASES)
def test_a_change_of_an_option_is_told_or_harms_nobody(option: str, built: Callable[[str], Contract]) -> None:
    case = CASES[option]
    assert bool(case.rules) is not bool(case.why)
    texts = [CONTRACT.replace(case.old, case.begin or case.old), CONTRACT.replace(case.old, case.new)]
    for each in case.also:
        texts[1] = texts[1].replace(*each)
    old, new = map(built, texts)
    release = Release.of("v1", capture(old))
    told: set[str] = set()
    for deployment in (Deployment.ROLLING, Deployment.PINNED):
        for finding in check(new, [release], Settings(ServiceSettings(deployment=deployment))):
            told.update(re.findall(r"\(([PC]\d+[a-z]?)\): ", finding.message) or [finding.code.value])
    before, after = digests(capture(old)), digests(capture(new))
    assert (told, before != after) == (set(case.rules.split()), case.digest)
