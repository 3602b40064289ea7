"""The corpus: contracts with names, messages and comments that are hard on a generator, generated for each library.

`protos/any` is for every message library, `protos/google` for google's only; `test_refusals.py` says why.
"""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from protopact_codegen import plugin

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# Any: grpcio-tools comes without types.
PROTOC: Any = importlib.import_module("grpc_tools.protoc")
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@dataclass(frozen=True, slots=True)
class Corpus:
    """What is generated.

    Attributes:
        root: Folder of everything; it is on the path.
        outs: Folder that each library's plugins write to; google's is on the path too.
        protos: Paths of the proto files that are generated for each library, as imports spell them.
    """

    root: Path
    outs: dict[str, Path]
    protos: dict[str, Sequence[str]]

    def paths(self, library: str) -> list[Path]:
        return sorted(self.outs[library].rglob("*_protopact.py"))

    def modules(self, library: str) -> list[ModuleType]:
        """The generated modules of a library; some of their names only importlib can read."""
        base = self.root if library == "betterproto2" else self.outs[library]
        names = (".".join(path.relative_to(base).with_suffix("").parts) for path in self.paths(library))
        return [importlib.import_module(name) for name in names]


def protos(*folders: str) -> list[str]:
    """The proto files below `protos/<folder>`, as imports spell them."""
    found = (
        path.relative_to(HERE / "protos" / each) for each in folders for path in (HERE / "protos" / each).rglob("*")
    )
    return sorted(str(path) for path in found if path.suffix == ".proto")


def compile_request(folders: Sequence[Path], files: Sequence[str], parameter: str = "") -> CodeGeneratorRequest:
    """Compile proto files below `folders` to a request that generates all of them."""
    with tempfile.NamedTemporaryFile(suffix=".binpb") as image:
        includes = [
            f"--proto_path={path}" for path in (*folders, ROOT / "runtime", Path(PROTOC.__file__).parent / "_proto")
        ]
        outputs = [f"--descriptor_set_out={image.name}", "--include_imports", "--include_source_info"]
        assert PROTOC.main(["protoc", *includes, *outputs, *files]) == 0
        request = CodeGeneratorRequest(parameter=parameter, file_to_generate=files)
        request.proto_file.extend(FileDescriptorSet.FromString(image.read()).file)
    return request


def generate(request: CodeGeneratorRequest) -> CodeGeneratorResponse:
    """Run the plugin in this process."""
    stdout = io.BytesIO()
    assert plugin.run(io.BytesIO(request.SerializeToString()), stdout, io.StringIO(), {}) == 0
    return CodeGeneratorResponse.FromString(stdout.getvalue())


def protoc(*arguments: object) -> None:
    includes = [f"--proto_path={path}" for path in (HERE / "protos/any", HERE / "protos/google", ROOT / "runtime")]
    command = [sys.executable, "-m", "grpc_tools.protoc", *includes, *map(str, arguments)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def whole() -> CodeGeneratorRequest:
    """The whole corpus as one request for google's messages."""
    folders = [HERE / "protos" / each for each in ("any", "google")]
    return compile_request(folders, protos("any", "google"), "messages=google")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    root = tmp_path_factory.mktemp("corpus")
    betterproto2 = root / "corpus_betterproto2"
    google = root / "google"
    betterproto2.mkdir()
    google.mkdir()
    any_library = protos("any")
    protoc(
        f"--python_betterproto2_out={betterproto2}",
        "--python_betterproto2_opt=client_generation=none",
        f"--protopact_out={betterproto2}",
        *any_library,
    )
    every = protos("any", "google")
    protoc(f"--python_out={google}", f"--mypy_out=quiet:{google}", f"--protopact_out=messages=google:{google}", *every)
    sys.path[:0] = [str(root), str(google)]
    yield Corpus(root, {"betterproto2": betterproto2, "google": google}, {"betterproto2": any_library, "google": every})
    for path in (root, google):
        sys.path.remove(str(path))
