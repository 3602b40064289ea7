"""Generated modules of a contract, made and imported in this process: several versions of one contract live here."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from itertools import count
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

from betterproto2_compiler.plugin.parser import generate_code
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from protopact_codegen.emit import emit
from protopact_codegen.options import MessageLibrary, Options
from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.closure import closures
from protopact_codegen.versioning.sources import from_input

# The compiler's own messages, which it finds beside its parser.
_Request = generate_code.__globals__["CodeGeneratorRequest"]
_NUMBERS = count()


def load(image: Path, library: MessageLibrary, folder: Path) -> ModuleType:
    """Generate the one service of an image and its messages, and import the module.

    Args:
        image: What protoc made of files of the package `shop.v1`, one of which has the service.
        library: Whose message classes it uses.
        folder: Where betterproto2's packages may be written.
    """
    made = from_input(str(image))
    (file,) = emit(made, Options(messages=library), closures(capture(made), None))
    files = FileDescriptorSet.FromString(image.read_bytes()).file
    if library == "google":
        with _named(_google(files)):
            module = ModuleType(f"shop_protopact_{next(_NUMBERS)}")
            exec(compile(file.content, file.name, "exec"), vars(module))  # noqa: S102 - what was generated here
            return module
    root = f"shop_{next(_NUMBERS)}"
    for path, text in _betterproto2(files):
        (folder / root / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / root / path).write_text(text)
    (folder / root / file.name).write_text(file.content)
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(f"{root}.{file.name.removesuffix('.py').replace('/', '.')}")
    finally:
        sys.path.remove(str(folder))


def run_code(text: str, generated: ModuleType) -> ModuleType:
    """Run code that imports its contract from `shop_protopact`, which is `generated`."""
    module = ModuleType(f"code_{next(_NUMBERS)}")
    sys.modules[module.__name__] = module
    with _named({"shop_protopact": generated}):
        exec(compile(text, module.__name__, "exec"), vars(module))  # noqa: S102 - a file of these tests
    return module


def _google(files: Iterable[FileDescriptorProto]) -> dict[str, ModuleType]:
    pool = DescriptorPool()
    modules: dict[str, ModuleType] = {}
    for file in files:
        pool.AddSerializedFile(file.SerializeToString())
        if _is_ours(file):
            name = file.name.replace(".proto", "_pb2")
            modules[name] = ModuleType(name)
            for message in file.message_type:
                cls = GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{message.name}"))
                setattr(modules[name], message.name, cls)
    return modules


def _is_ours(file: FileDescriptorProto) -> bool:
    return not file.name.startswith(("google/", "protopact/"))


def _betterproto2(files: Sequence[FileDescriptorProto]) -> Iterator[tuple[str, str]]:
    ours = [file.name for file in files if _is_ours(file)]
    request = CodeGeneratorRequest(file_to_generate=ours, parameter="client_generation=none")
    for file in files:
        if not file.name.startswith("protopact/") and file.name != "google/protobuf/descriptor.proto":
            bare = FileDescriptorProto()
            bare.CopyFrom(file)
            bare.ClearField("service")
            bare.source_code_info.Clear()  # it reads one, and comments cost time
            request.proto_file.append(bare)
    compiler = generate_code.__globals__["outputfile_compiler"].__globals__["subprocess"]
    with patch.object(compiler, "check_output", _tidy), redirect_stderr(StringIO()):  # it says what it writes
        written = generate_code(_Request().parse(request.SerializeToString())).file
    return ((each.name, each.content) for each in written)


def _tidy(command: list[str], *, input: str, encoding: str) -> str:  # noqa: A002 - as of subprocess
    """What ruff would be asked for, which costs more than all else: of an import that is not used, here."""
    return re.sub(r"^\S.*import (?:\w+ as \w+_)?grpc(?:lib.*)?\n|^import grpc.*\n", "", input, flags=re.MULTILINE)


@contextmanager
def _named(modules: Mapping[str, ModuleType]) -> Generator[None]:
    """Let modules be imported under names for a while."""
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]
