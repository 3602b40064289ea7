from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import Edition
from hypothesis import given
from hypothesis import strategies as st

from protopact_codegen._version import __version__
from protopact_codegen.plugin import run

if TYPE_CHECKING:
    from tests.codegen.conftest import Compile

CONTRACT = """
syntax = "proto3";

package shop.v1;

import "google/protobuf/empty.proto";
import "protopact/v1/annotations.proto";

service ShopService {
  option (protopact.v1.service) = {task_queue: "shop"};

  rpc Buy(BuyRequest) returns (google.protobuf.Empty) {
    option (protopact.v1.method).workflow = {};
  }
  rpc Plain(BuyRequest) returns (google.protobuf.Empty);
}

message BuyRequest {}
"""
WRONG = CONTRACT.replace('task_queue: "shop"', "").replace("workflow = {}", 'workflow = {id: "{name}"}')


def answer(data: bytes, environ: dict[str, str] | None = None) -> tuple[CodeGeneratorResponse, str]:
    stdout, stderr = io.BytesIO(), io.StringIO()
    assert run(io.BytesIO(data), stdout, stderr, environ or {}) == 0
    return CodeGeneratorResponse.FromString(stdout.getvalue()), stderr.getvalue()


def test_a_contract_is_generated_with_warnings_and_notes_beside(compile_request: Compile) -> None:
    response, stderr = answer(compile_request({"shop/v1/shop.proto": CONTRACT}))
    assert not response.error
    assert [file.name for file in response.file] == ["shop/v1/shop_protopact.py"]
    warning = (
        "shop/v1/shop.proto:12:32: PP902 workflow shop.v1.ShopService.Buy: its response is google.protobuf.Empty, "
        "to which no field can be added"
    )
    assert stderr.splitlines() == [
        "protopact: 1 warning in the contract",
        warning,
        "    hint: give it a response of its own, even one without fields",
        "protopact: rpcs without an annotation are ignored: 1 in shop/v1/shop.proto",
    ]


def test_features(compile_request: Compile) -> None:
    response, _ = answer(compile_request({"shop/v1/shop.proto": CONTRACT}))
    features = CodeGeneratorResponse.Feature
    assert response.supported_features & features.Value("FEATURE_PROTO3_OPTIONAL")
    assert response.supported_features & features.Value("FEATURE_SUPPORTS_EDITIONS")
    assert response.minimum_edition <= Edition.Value("EDITION_PROTO2")
    assert response.maximum_edition >= Edition.Value("EDITION_2023")


def test_all_errors_at_once_and_nothing_is_written(compile_request: Compile) -> None:
    response, _ = answer(compile_request({"shop/v1/shop.proto": WRONG}))
    assert not response.file
    summary, *lines = response.error.splitlines()
    assert summary == "protopact: 2 errors in the contract"
    assert [line.split()[:2] for line in lines[::2]] == [
        ["shop/v1/shop.proto:13:5:", "PP601"],
        ["shop/v1/shop.proto:13:5:", "PP402"],
    ]
    assert all(line.startswith("    hint: ") for line in lines[1::2])


def test_strict_makes_warnings_errors(compile_request: Compile) -> None:
    response, stderr = answer(compile_request({"shop/v1/shop.proto": CONTRACT}, "messages=google,strict=true"))
    assert response.error.startswith("protopact: 1 error in the contract\nshop/v1/shop.proto:12:32: PP902 ")
    assert "PP902" not in stderr


def test_bad_options_are_a_users_mistake(compile_request: Compile) -> None:
    response, _ = answer(compile_request({"shop/v1/shop.proto": CONTRACT}, "messages=betterproto,strikt=true"))
    assert response.error.splitlines()[0] == "protopact: the plugin's options are wrong"
    assert "install betterproto2" in response.error
    assert "there is no option `strikt`" in response.error


def test_the_same_request_gives_the_same_bytes(compile_request: Compile) -> None:
    data = compile_request({"shop/v1/shop.proto": CONTRACT})
    assert answer(data)[0].SerializeToString() == answer(data)[0].SerializeToString()


def test_an_empty_request_is_answered() -> None:
    response, stderr = answer(b"")
    assert not response.error
    assert not response.file
    assert not stderr


@pytest.mark.parametrize("data", [b"no request", b"\x0a\xff", b"\x7a\x05abc"])
def test_broken_bytes_are_no_request(data: bytes) -> None:
    stderr = io.StringIO()
    assert run(io.BytesIO(data), io.BytesIO(), stderr, {}) == 1
    assert stderr.getvalue().startswith("protoc-gen-protopact: standard input holds no CodeGeneratorRequest")
    assert "Traceback" not in stderr.getvalue()


def test_a_request_without_the_file_to_generate() -> None:
    stderr = io.StringIO()
    data = CodeGeneratorRequest(file_to_generate=["lost.proto"]).SerializeToString()
    assert run(io.BytesIO(data), io.BytesIO(), stderr, {}) == 1
    assert "lost.proto" in stderr.getvalue()


class BrokenPipe(io.BytesIO):
    def write(self, data: object, /) -> int:
        raise RuntimeError(f"cannot take {type(data).__name__}")


def test_a_mistake_of_the_plugin_is_a_traceback_and_a_status(compile_request: Compile) -> None:
    stderr = io.StringIO()
    data = compile_request({"shop/v1/shop.proto": CONTRACT})
    assert run(io.BytesIO(data), BrokenPipe(), stderr, {}) == 1
    assert "Traceback (most recent call last)" in stderr.getvalue()
    assert "RuntimeError: cannot take bytes" in stderr.getvalue()
    assert "PROTOPACT_SAVE_REQUEST" in stderr.getvalue()


def test_the_request_is_saved_for_a_report(compile_request: Compile, tmp_path: Path) -> None:
    data = compile_request({"shop/v1/shop.proto": CONTRACT})
    answer(data, {"PROTOPACT_SAVE_REQUEST": str(tmp_path / "request")})
    assert (tmp_path / "request").read_bytes() == data


@given(st.binary(max_size=64))
def test_any_bytes_end_in_an_answer_or_a_sentence(data: bytes) -> None:
    stderr = io.StringIO()
    if run(io.BytesIO(data), io.BytesIO(), stderr, {}):
        assert stderr.getvalue().startswith("protoc-gen-protopact: ")


def test_it_says_which_one_it_is() -> None:
    plugin = Path(sys.executable).with_name("protoc-gen-protopact")
    told = subprocess.run([plugin, "--version"], capture_output=True, text=True, check=True).stdout
    assert told == f"protoc-gen-protopact {__version__}\n"
