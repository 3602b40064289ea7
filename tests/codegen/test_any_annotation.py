"""Whatever an annotation says, the answer is code that compiles or a list of errors; never a traceback."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protopact_codegen import annotations_pb2
from protopact_codegen.plugin import run

if TYPE_CHECKING:
    from tests.codegen.conftest import Compile

CONTRACT = """
syntax = "proto3";

package any.v1;

import "google/protobuf/empty.proto";
import "protopact/v1/annotations.proto";

service AnyService {
  rpc Any(AnyRequest) returns (AnyResponse);
  rpc Pause(AnyRequest) returns (google.protobuf.Empty) { option (protopact.v1.method).signal = {}; }
  rpc Get(AnyRequest) returns (AnyResponse) { option (protopact.v1.method).query = {}; }
  rpc Change(AnyRequest) returns (AnyResponse) { option (protopact.v1.method).update = {}; }
}

message AnyRequest {
  string name = 1;
  int32 count = 2;
  repeated string tags = 3;
  AnyRequest nested = 4;
}
message AnyResponse {}
"""

TEXTS = st.one_of(
    st.sampled_from(
        ["", "Pause", "Get", "Change", "Any", "any.v1.AnyService.Pause", "queue", "{name}", "x/{nested.name|slug}"]
    ),
    st.text(max_size=12),
)
NUMBERS = st.one_of(st.integers(0, 5), st.integers(-(2**31), 2**31 - 1))
# As JSON spells them.
FLOATS = st.one_of(st.floats(allow_nan=False, allow_infinity=False, width=32), st.sampled_from(["NaN", "Infinity"]))
SECONDS = st.one_of(st.integers(0, 60), st.integers(-315_576_000_000, 315_576_000_000))


def values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.message_type is not None and field.message_type.full_name == "google.protobuf.Duration":
        one: st.SearchStrategy[Any] = SECONDS.map(lambda seconds: f"{seconds}s")
    elif field.message_type is not None:
        one = messages(field.message_type)
    elif field.enum_type is not None:
        one = st.one_of(st.sampled_from([value.number for value in field.enum_type.values]), st.integers(0, 99))
    else:
        one = {
            FieldDescriptor.TYPE_STRING: TEXTS,
            FieldDescriptor.TYPE_BOOL: st.booleans(),
            FieldDescriptor.TYPE_INT32: NUMBERS,
            FieldDescriptor.TYPE_DOUBLE: FLOATS,
            FieldDescriptor.TYPE_FLOAT: FLOATS,
        }[field.type]
    return st.lists(one, max_size=3) if field.is_repeated else one


def messages(descriptor: Descriptor) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={field.name: values(field) for field in descriptor.fields})


def kinds() -> st.SearchStrategy[dict[str, Any]]:
    """Mostly one kind, as people write it."""
    fields = annotations_pb2.MethodOptions.DESCRIPTOR.fields
    single = st.one_of([st.fixed_dictionaries({field.name: values(field)}) for field in fields])
    return st.one_of(single, messages(annotations_pb2.MethodOptions.DESCRIPTOR))


@pytest.mark.parametrize("library", ["google", "betterproto2"])
def test_any_annotation_is_answered(library: str, compile_request: Compile) -> None:
    plain = CodeGeneratorRequest.FromString(compile_request({"any.proto": CONTRACT}, f"messages={library}"))

    @settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
    @given(kinds(), TEXTS)
    def check(annotation: dict[str, Any], task_queue: str) -> None:
        request = CodeGeneratorRequest()
        request.CopyFrom(plain)
        service = request.proto_file[-1].service[0]
        set_option(service.method[0].options, annotations_pb2.method, annotation)
        set_option(service.options, annotations_pb2.service, {"task_queue": task_queue})
        stdout, stderr = io.BytesIO(), io.StringIO()
        assert run(io.BytesIO(request.SerializeToString()), stdout, stderr, {}) == 0, stderr.getvalue()
        response = CodeGeneratorResponse.FromString(stdout.getvalue())
        assert bool(response.error) != bool(response.file)
        for file in response.file:
            compile(file.content, file.name, "exec")
        assert all(line.startswith(("any.proto:", "    hint: ")) for line in response.error.splitlines()[1:])

    check()


def set_option(options: Any, extension: Any, value: dict[str, Any]) -> None:  # noqa: ANN401 - any options message
    """Merge an annotation of the plugin's own schema into options that know nothing of it."""
    annotated = GetMessageClass(extension.containing_type)()
    ParseDict(value, annotated.Extensions[extension])
    options.MergeFromString(annotated.SerializeToString())
