"""Where a contract comes from: what buf builds of the working tree or of a git ref, or an image in a file."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import google.protobuf
from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from protopact_codegen import lint, reader, request
from protopact_codegen.contract import Contract
from protopact_codegen.diagnostics import Diagnostic, Severity, render, summary

__all__ = ["SourceError", "from_git", "from_input", "is_ref", "paths"]

# buf marks the files of an image that other modules bring: `buf.alpha.image.v1.ImageFileExtension.is_import`.
_BUF_EXTENSION = 8042
_IS_IMPORT = 1
# What the extra `codegen` asks for; the runtime alone is content with less.
_OLDEST = (6, 31)
_IMAGES = (".binpb", ".pb", ".desc", ".protoset")


class SourceError(Exception):
    """The contract could not be built, or has errors; the message is what the compiler or lint says.

    Attributes:
        findings: The errors that it has; empty when it could not be built.
    """

    def __init__(self, message: str, findings: Sequence[Diagnostic] = ()) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


def from_input(source: str) -> Contract:
    """Read the contract of an image in a file, or of anything else that `buf build` takes.

    Raises:
        SourceError: There is none, or it has errors.
    """
    if _is_image(source):
        return _contract(Path(source).read_bytes(), source)
    return _contract(_buf(source), source)


def paths(source: str) -> dict[str, str]:
    """Where the files of an input are, from the working directory, by the paths under which contracts import them.

    An image does not say; what is not in the working tree is not there.

    Raises:
        SourceError: buf cannot tell.
    """
    if _is_image(source):
        return {}
    listed = _run(["buf", "ls-files", source, "--format=json"], f"buf cannot list the files of {source}")
    files: list[dict[str, str]] = [json.loads(line) for line in listed.splitlines()]
    return {file["import_path"]: file["path"] for file in files}


def _is_image(source: str) -> bool:
    path = Path(source)
    return path.suffix in _IMAGES and path.is_file()


def from_git(ref: str, source: str) -> Contract:
    """Read the contract of a git ref: `source` as it was there, with everything below the working directory.

    Raises:
        SourceError: There is no such ref, or its contract cannot be built, or has errors.
    """
    archive = _run(["git", "archive", "--format=tar", ref], f"{ref!r} cannot be read with git")
    with TemporaryDirectory(prefix="protopact-") as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
        return _contract(_buf(source, Path(folder)), f"{source} at {ref}")


def is_ref(name: str) -> bool:
    """Whether git knows a commit under a name, and nothing in the working directory is called so."""
    if Path(name).exists() or name.startswith("-") or shutil.which("git") is None:
        return False
    command = ["git", "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603 - no shell


def _buf(source: str, folder: Path | None = None) -> bytes:
    if shutil.which("buf") is None:
        raise SourceError(
            "buf is not on the path; install it, or name an image instead: protoc --include_imports "
            "--include_source_info --descriptor_set_out=FILE.binpb ..."
        )
    return _run(["buf", "build", source, "-o", "-#format=binpb"], f"buf cannot build {source}", folder)


def _run(command: Sequence[str], failure: str, folder: Path | None = None) -> bytes:
    try:
        done = subprocess.run(command, capture_output=True, check=False, cwd=folder)  # noqa: S603 - no shell
    except FileNotFoundError as error:
        raise SourceError(f"{failure}: {command[0]} is not on the path") from error
    if done.returncode:
        raise SourceError(f"{failure}:\n{done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _contract(image: bytes, source: str) -> Contract:
    if tuple(map(int, google.protobuf.__version__.split(".")[:2])) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise SourceError(
            f"contracts are read with protobuf {oldest} or newer, and {google.protobuf.__version__} is installed: pip "
            "install 'protopact[codegen]'"
        )
    try:
        files = FileDescriptorSet.FromString(image).file
    except DecodeError as error:
        raise SourceError(f"{source} is no image of buf, and no descriptor set of protoc ({error})") from error
    names = {file.name for file in files}
    missing = sorted({name for file in files for name in file.dependency} - names)
    if missing:
        raise SourceError(f"{source} does not hold what its files import, {missing[0]}: build it with its imports")
    own = [file.name for file in files if not _is_import(file)]
    asked = request.parse(CodeGeneratorRequest(file_to_generate=own, proto_file=files).SerializeToString())
    contract, findings = reader.read(asked)
    findings += lint.check(contract)
    errors = [finding for finding in findings if finding.code.severity is Severity.ERROR]
    if errors:
        lines = render(errors)
        raise SourceError("\n".join((summary(lines, Severity.ERROR).removeprefix("protopact: "), *lines)), errors)
    if not contract.files:
        raise SourceError(f"{source} has no service with an annotated rpc")
    return contract


def _is_import(file: FileDescriptorProto) -> bool:
    marks = (data for number, data in _unknown(file) if number == _BUF_EXTENSION and isinstance(data, bytes))
    return any(number == _IS_IMPORT and data for mark in marks for number, data in _unknown(Empty.FromString(mark)))


def _unknown(message: Message) -> Iterator[tuple[int, object]]:
    fields = UnknownFieldSet(message)
    for index in range(len(fields)):
        yield fields[index].field_number, fields[index].data
