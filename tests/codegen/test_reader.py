from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest

from protopact_codegen import annotations_pb2, lint, reader, request
from protopact_codegen.contract import (
    Contract,
    IdConflictPolicy,
    RetryPolicy,
    SearchAttributeType,
    WaitForStage,
    Workflow,
)
from protopact_codegen.diagnostics import Code, Diagnostic
from protopact_codegen.template import FieldPath, Literal, Template

if TYPE_CHECKING:
    from tests.codegen.conftest import Compile

ROOT = Path(__file__).parents[2]

CONTRACT = """
syntax = "proto3";

package shop.v1;

import "google/protobuf/empty.proto";
import "protopact/v1/annotations.proto";

// OrderService sells things.
//   Indented.
service OrderService {
  option (protopact.v1.service) = {task_queue: "orders"};

  // Buy buys.
  rpc Buy(BuyRequest) returns (BuyResponse) {
    option (protopact.v1.method).workflow = {
      id: "order/{order.id|slug}"
      workflow_id_conflict_policy: WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
      execution_timeout: {seconds: 1 nanos: 500000000}
      query: {ref: "GetStatus"}
      signal: {ref: "Cancel" start: true}
      update: {ref: "Change" validate: false}
      update: {ref: "shop.v1.OtherService.Replace" start: true}
      search_attributes: {name: "Order" type: SEARCH_ATTRIBUTE_TYPE_KEYWORD value: "{order.id}"}
      search_attributes: {name: "Count" type: SEARCH_ATTRIBUTE_TYPE_INT value: "{count}"}
      priority: {priority_key: 1}
    };
  }

  /* Charge charges.
   * Twice, if it must. */
  rpc Charge(ChargeRequest) returns (ChargeResponse) {
    option deprecated = true;
    option (protopact.v1.method).activity = {
      name: "charge"
      aliases: ["charge-v1"]
      task_queue: "payments"
      start_to_close_timeout: {seconds: 10}
      retry_policy: {max_attempts: 3 max_interval: {seconds: 5} non_retryable_error_types: "Declined"}
      wait_for_cancellation: true
    };
  }

  rpc GetStatus(GetStatusRequest) returns (GetStatusResponse) { option (protopact.v1.method).query = {}; }
  rpc Cancel(CancelRequest) returns (google.protobuf.Empty) { option (protopact.v1.method).signal = {}; }
  rpc Change(ChangeRequest) returns (ChangeResponse) {
    option (protopact.v1.method).update = {validate: true wait_for_stage: WAIT_FOR_STAGE_COMPLETED};
  }
  rpc Plain(PlainRequest) returns (PlainResponse);
}

service OtherService {
  rpc Replace(OtherChangeRequest) returns (ChangeResponse) { option (protopact.v1.method).update = {validate: true}; }
}

service UnrelatedService {
  rpc Plain(PlainRequest) returns (PlainResponse);
}

message Order { string id = 1; }
message BuyRequest { Order order = 1; int32 count = 2; }
message BuyResponse {}
message ChargeRequest {}
message ChargeResponse {}
message GetStatusRequest {}
message GetStatusResponse {}
message CancelRequest {}
message ChangeRequest {}
message ChangeResponse {}
message OtherChangeRequest {}
message PlainRequest {}
message PlainResponse {}
"""


def read(data: bytes) -> tuple[Contract, list[Diagnostic]]:
    contract, diagnostics = reader.read(request.parse(data))
    return contract, diagnostics + lint.check(contract)


def digests(data: bytes) -> dict[str, str]:
    return {service.name: service.digest for service in read(data)[0].services}


@pytest.fixture
def contract(compile_request: Compile) -> Contract:
    contract, diagnostics = read(compile_request({"shop/v1/order.proto": CONTRACT}))
    assert not diagnostics
    return contract


@pytest.fixture
def buy(contract: Contract) -> Workflow:
    (workflow,) = contract.files[0].services[0].workflows
    return workflow


def test_a_file_and_its_services(contract: Contract) -> None:
    (file,) = contract.files
    assert (file.path, file.package, file.syntax, file.edition) == ("shop/v1/order.proto", "shop.v1", "proto3", "")
    assert [service.full_name for service in file.services] == ["shop.v1.OrderService", "shop.v1.OtherService"]
    assert file.ignored == ("shop.v1.OrderService.Plain", "shop.v1.UnrelatedService.Plain")
    service = file.services[0]
    assert service.task_queue == "orders"
    assert service.doc == "OrderService sells things.\n  Indented."
    kinds = (service.workflows, service.activities, service.queries, service.signals, service.updates)
    assert [[element.rpc for element in elements] for elements in kinds] == [
        ["Buy"],
        ["Charge"],
        ["GetStatus"],
        ["Cancel"],
        ["Change"],
    ]


@pytest.mark.parametrize("line", ['syntax = "proto3";', 'edition = "2023";'])
def test_a_file_is_where_its_syntax_or_edition_stands(line: str, compile_request: Compile) -> None:
    text = CONTRACT.replace('syntax = "proto3";', f"// A licence.\n\n{line}")
    contract, diagnostics = read(compile_request({"shop/v1/order.proto": text}))
    assert not diagnostics
    assert str(contract.files[0].place.position) == "shop/v1/order.proto:4:1"


def test_a_workflow(buy: Workflow) -> None:
    assert buy.name == buy.full_name == "shop.v1.OrderService.Buy"
    assert buy.doc == "Buy buys."
    assert buy.task_queue == "orders"
    assert buy.execution_timeout == timedelta(seconds=1.5)
    assert buy.run_timeout is None
    assert buy.id_conflict_policy is IdConflictPolicy.USE_EXISTING
    assert buy.id_reuse_policy is None
    assert buy.priority is not None
    assert buy.priority.priority_key == 1
    assert buy.request.name == "shop.v1.BuyRequest"
    assert buy.request.nesting == ("BuyRequest",)


def test_its_id(buy: Workflow) -> None:
    assert buy.id is not None
    literal, path = buy.id.parts
    assert literal == Literal("order/")
    assert isinstance(path, FieldPath)
    assert path.names == ("order", "id")
    assert not path.optional


def test_its_handlers(buy: Workflow) -> None:
    assert [ref.query.full_name for ref in buy.queries] == ["shop.v1.OrderService.GetStatus"]
    assert [(ref.signal.rpc, ref.start) for ref in buy.signals] == [("Cancel", True)]
    assert [(ref.update.service, ref.start, ref.validate) for ref in buy.updates] == [
        ("shop.v1.OrderService", False, False),
        ("shop.v1.OtherService", True, True),
    ]
    assert {ref.id_conflict_policy for ref in buy.updates} == {IdConflictPolicy.USE_EXISTING}
    assert buy.updates[0].update.wait_for_stage is WaitForStage.COMPLETED


def test_its_search_attributes(buy: Workflow) -> None:
    text, number = buy.search_attributes
    assert isinstance(text.value, Template)
    assert isinstance(number.value, FieldPath)
    assert number.type is SearchAttributeType.INT


def test_an_activity(contract: Contract) -> None:
    (charge,) = contract.files[0].services[0].activities
    assert (charge.name, charge.aliases, charge.task_queue) == ("charge", ("charge-v1",), "payments")
    assert charge.doc == "Charge charges.\nTwice, if it must."
    assert charge.deprecated
    assert charge.wait_for_cancellation
    assert charge.retry_policy == RetryPolicy(
        maximum_interval=timedelta(seconds=5), maximum_attempts=3, non_retryable_error_types=("Declined",)
    )


def test_positions_count_from_one_without_source_info(compile_request: Compile) -> None:
    asked = CodeGeneratorRequest.FromString(compile_request({"shop/v1/order.proto": CONTRACT}))
    for file in asked.proto_file:
        file.ClearField("source_code_info")
    contract, _ = read(asked.SerializeToString())
    (buy,) = contract.files[0].services[0].workflows
    assert str(buy.place.option("id")) == "shop/v1/order.proto:1:1"
    assert buy.doc == ""


def test_what_is_no_contract_does_not_change_the_digest(compile_request: Compile) -> None:
    first = digests(compile_request({"shop/v1/order.proto": CONTRACT}))
    text = re.sub(r"^ *//.*\n", "", CONTRACT, flags=re.MULTILINE).replace("option deprecated = true;", "")
    text = text.replace("message PlainRequest {}", "message PlainRequest { string new = 1; }")
    assert digests(compile_request({"shop/v1/moved.proto": text})) == first


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('id: "order/{order.id|slug}"', 'id: "order/{order.id}"'),
        ("start_to_close_timeout: {seconds: 10}", "start_to_close_timeout: {seconds: 11}"),
        ('task_queue: "orders"', 'task_queue: "sales"'),
        ("max_attempts: 3", "max_attempts: 4"),
        ("validate: false", "validate: true"),
        ('aliases: ["charge-v1"]', ""),
        ("message Order { string id = 1; }", "message Order { string id = 2; }"),
        ("message Order { string id = 1; }", "message Order { optional string id = 1; }"),
        ("message Order { string id = 1; }", 'message Order { string id = 1 [json_name = "key"]; }'),
        ("message OtherChangeRequest {}", "message OtherChangeRequest { Order order = 1; }"),
    ],
)
def test_every_change_of_the_contract_changes_the_digest(old: str, new: str, compile_request: Compile) -> None:
    assert old in CONTRACT
    path = "shop/v1/order.proto"
    first = digests(compile_request({path: CONTRACT}))
    assert digests(compile_request({path: CONTRACT.replace(old, new)}))["OrderService"] != first["OrderService"]


def test_a_digest_is_the_same_for_ever(compile_request: Compile) -> None:
    found = digests(compile_request({"shop/v1/order.proto": CONTRACT}))
    assert found["OtherService"] == "b607f2f18adc2dde6c2d8d74b00ef4713a484411b49f28ef4bbaf38edea4841a"


@pytest.fixture
def newer_schema(tmp_path: Path) -> Path:
    """The annotations as a later version may have them."""
    text = (ROOT / "runtime/protopact/v1/annotations.proto").read_text()
    for old, new in (
        ("message FieldOptions {\n", "message FieldOptions {\n  string since = 52;\n"),
        ("message ServiceOptions {\n", "message ServiceOptions {\n  string namespace = 9;\n"),
        ("  UpdateOptions update = 5;", "  UpdateOptions update = 5;\n  SignalOptions schedule = 50;"),
        ("  bool start = 2;\n  }\n\n  // An update", "  bool start = 2;\n  bool urgent = 51;\n  }\n\n  // An update"),
        (
            "  PARENT_CLOSE_POLICY_REQUEST_CANCEL = 3;",
            "  PARENT_CLOSE_POLICY_REQUEST_CANCEL = 3;\n  PARENT_CLOSE_POLICY_ADOPT = 4;",
        ),
    ):
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "newer/protopact/v1/annotations.proto"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return tmp_path / "newer"


def test_an_annotation_of_a_newer_schema_says_upgrade(compile_request: Compile, newer_schema: Path) -> None:
    text = """
syntax = "proto3";
package new.v1;
import "google/protobuf/empty.proto";
import "protopact/v1/annotations.proto";
service NewService {
  option (protopact.v1.service) = {task_queue: "q" namespace: "n"};
  rpc Run(RunRequest) returns (RunResponse) {
    option (protopact.v1.method).workflow = {
      parent_close_policy: PARENT_CLOSE_POLICY_ADOPT
      signal: {ref: "Stop" urgent: true}
    };
  }
  rpc Stop(StopRequest) returns (google.protobuf.Empty) { option (protopact.v1.method).signal = {}; }
  rpc Later(StopRequest) returns (google.protobuf.Empty) { option (protopact.v1.method).schedule = {}; }
}
message RunRequest { string id = 1 [(protopact.v1.field).since = "2"]; }
message RunResponse {}
message StopRequest {}
"""
    _, diagnostics = read(compile_request({"new.proto": text}, schema=newer_schema))
    assert {diagnostic.code for diagnostic in diagnostics} == {Code.UNKNOWN_OPTION}
    assert all("upgrade the plugin" in diagnostic.hint for diagnostic in diagnostics)
    messages = sorted(diagnostic.message for diagnostic in diagnostics)
    unknown = "which this version of the plugin does not know"
    assert messages == [
        f"new.proto: (protopact.v1.field) has the field 52, {unknown}",
        f"new.proto: (protopact.v1.service) has the field 9, {unknown}",
        f"rpc new.v1.NewService.Later: (protopact.v1.method) has the field 50, {unknown}",
        f"rpc new.v1.NewService.Run: (protopact.v1.method).workflow.signal[0] has the field 51, {unknown}",
        f"workflow new.v1.NewService.Run: (protopact.v1.method).workflow.parent_close_policy is 4, {unknown}",
    ]


def test_a_file_that_protobuf_cannot_read(compile_request: Compile) -> None:
    asked = CodeGeneratorRequest.FromString(compile_request({"shop/v1/order.proto": CONTRACT}))
    asked.proto_file[-1].message_type[0].field[0].type_name = ".shop.v1.Missing"
    contract, diagnostics = read(asked.SerializeToString())
    assert contract.files == ()
    assert [diagnostic.code for diagnostic in diagnostics] == [Code.UNREADABLE_FILE]


def test_files_without_annotations_are_left_alone(compile_request: Compile) -> None:
    text = 'syntax = "proto3"; service S { rpc R(stream M) returns (M); } message M {}'
    contract, diagnostics = read(compile_request({"plain.proto": text}))
    assert contract.files == ()
    assert not diagnostics


def test_the_plugins_schema_is_the_runtimes() -> None:
    """Both modules may be imported into one process, and say the same."""
    from protopact.v1 import annotations_pb2 as runtime  # noqa: PLC0415

    assert annotations_pb2.DESCRIPTOR.pool is not runtime.DESCRIPTOR.pool
    names = [
        {extension.full_name: extension.number for extension in module.DESCRIPTOR.extensions_by_name.values()}
        for module in (annotations_pb2, runtime)
    ]
    assert names[0] == names[1]
