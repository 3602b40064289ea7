"""Dialects that are recognised and not read: a contract in one of them is left alone, and its author told so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from google.protobuf.descriptor_pb2 import FileDescriptorProto, MethodDescriptorProto
from google.protobuf.unknown_fields import UnknownFieldSet

from protopact_codegen.diagnostics import Code, Diagnostic
from protopact_codegen.source import Place, Source

__all__ = ["Foreign"]

_PACKAGE = "temporal.v1"
_EXTENDEE = ".google.protobuf.MethodOptions"
# protoc-gen-go-temporal's; another project publishes a `temporal/v1/temporal.proto` with other extensions.
_GO = {7233: "workflow", 7234: "activity"}


class Foreign:
    """Finds rpcs that are annotated with extensions of `temporal.v1`."""

    def __init__(self, files: Iterable[FileDescriptorProto]) -> None:
        self._names: Mapping[int, str] = {
            extension.number: extension.name
            for file in files
            if file.package == _PACKAGE
            for extension in file.extension
            if extension.extendee == _EXTENDEE
        }

    def check(
        self, file: FileDescriptorProto, source: Source, read: Callable[[MethodDescriptorProto], bool]
    ) -> Iterator[Diagnostic]:
        """Say once for a file that annotations are of a dialect that is not read, of rpcs that are not `read`."""
        if not self._names:
            return
        found = [
            (Place(source, (file.SERVICE_FIELD_NUMBER, number, service.METHOD_FIELD_NUMBER, index)), names)
            for number, service in enumerate(file.service)
            for index, rpc in enumerate(service.method)
            if not read(rpc) and (names := self._annotations(rpc))
        ]
        if found:
            place, names = found[0]
            go = _GO.items() <= self._names.items()
            dialect = "protoc-gen-go-temporal" if go else "a project other than protoc-gen-go-temporal"
            options = ", ".join(f"({_PACKAGE}.{name})" for name in names)
            yield Diagnostic(
                Code.FOREIGN_DIALECT,
                place,
                f"{options} is an annotation of {dialect}; this version of the plugin does not read it, "
                f"and ignores {len(found)} rpc{'' if len(found) == 1 else 's'} of the file",
                "annotate them with (protopact.v1.method), or leave the file to the other plugin",
            )

    def _annotations(self, rpc: MethodDescriptorProto) -> list[str]:
        if not rpc.HasField("options"):
            return []
        unknown = UnknownFieldSet(rpc.options)
        numbers = {unknown[index].field_number for index in range(len(unknown))}
        return [name for number, name in self._names.items() if number in numbers]
