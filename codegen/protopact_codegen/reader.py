"""The reader: annotated proto files to the frozen IR, through the dialect that annotates them.

It resolves what stands in the contract by name: messages, references, fields of templates. What it cannot resolve is
a diagnostic; whether what it has resolved can work is the business of lint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property

import google.protobuf
from google.protobuf.descriptor_pb2 import Edition, FileDescriptorProto, ServiceDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from protopact_codegen.contract import (
    Allow,
    Contract,
    Element,
    File,
    Kind,
    Message,
    Query,
    QueryRef,
    Service,
    Signal,
    SignalRef,
    Update,
    UpdateRef,
    Workflow,
)
from protopact_codegen.diagnostics import Code, Diagnostic, quote
from protopact_codegen.dialects import Declaration, Method, Reference
from protopact_codegen.dialects.foreign import Foreign
from protopact_codegen.dialects.protopact import Protopact
from protopact_codegen.digest import Digester
from protopact_codegen.request import Request
from protopact_codegen.source import Place, Source

__all__ = ["read"]

_SERVICES = FileDescriptorProto.SERVICE_FIELD_NUMBER
_METHODS = ServiceDescriptorProto.METHOD_FIELD_NUMBER


def read(request: Request) -> tuple[Contract, list[Diagnostic]]:
    """Read the annotations of the files to generate.

    Returns:
        The contract, without what could not be resolved, and everything that is wrong.
    """
    reader = _Reader(request)
    files = tuple(file for path in request.generate if (file := reader.file(path)) is not None)
    return Contract(files, reader.sources, reader.aliases, reader.allows(request.generate)), reader.diagnostics


class _Reader:
    """One reading: what has been resolved so far, and what is wrong."""

    def __init__(self, request: Request) -> None:
        self.diagnostics: list[Diagnostic] = []
        self.sources: Mapping[str, Source] = {path: Source(file) for path, file in request.files.items()}
        self._files = request.files
        self._dialect = Protopact()
        self._foreign = Foreign(request.files.values())
        self._pool = DescriptorPool()
        self._loaded: set[str] = set()
        self._messages: dict[str, Message] = {}
        self._declarations: dict[str, Declaration] = {}
        self._digester = Digester()

    @cached_property
    def aliases(self) -> Mapping[str, tuple[str, ...]]:
        """Former names of messages, by their names."""
        return dict(each for file in self._files.values() for each in self._dialect.aliases(file))

    def allows(self, paths: Iterable[str]) -> tuple[Allow, ...]:
        """What some files pass of the check against releases."""
        return tuple(each for path in paths for each in self._dialect.allows(self._files[path], self.sources[path]))

    def file(self, path: str) -> File | None:
        """Read a file; None when it has no annotated rpc, or cannot be read."""
        proto = self._files[path]
        source = self.sources[path]
        self.diagnostics += self._dialect.check(proto, source)
        self.diagnostics += self._foreign.check(proto, source, self._dialect.annotates)
        annotated = [
            (index, service)
            for index, service in enumerate(proto.service)
            if any(self._dialect.annotates(rpc) for rpc in service.method)
        ]
        if not annotated or not self._load(path):
            return None
        edition = Edition.DESCRIPTOR.values_by_number.get(proto.edition)
        syntax = proto.syntax or "proto2"
        return File(
            path=path,
            package=proto.package,
            syntax=syntax,
            edition=edition.name.removeprefix("EDITION_") if edition is not None and syntax == "editions" else "",
            services=tuple(self._service(proto, index, service) for index, service in annotated),
            ignored=tuple(
                _join(_join(proto.package, service.name), rpc.name)
                for service in proto.service
                for rpc in service.method
                if not self._dialect.annotates(rpc)
            ),
            descriptor=self._pool.FindFileByName(path),
            # Compilers keep the position of an edition under the syntax.
            place=Place(source, (proto.SYNTAX_FIELD_NUMBER,)),
            aliases=tuple(
                sorted(each for name in self._closure(path) for each in self._dialect.aliases(self._files[name]))
            ),
        )

    def _closure(self, path: str) -> list[str]:
        """Paths of a file and of all that it imports."""
        found = [path]
        for each in found:
            found += [imported for imported in self._files[each].dependency if imported not in found]
        return found

    def _load(self, path: str) -> bool:
        """Add a file and what it imports to the pool of descriptors."""
        if path not in self._loaded:
            file = self._files[path]
            if not all(self._load(imported) for imported in file.dependency):
                return False
            try:
                self._pool.AddSerializedFile(file.SerializeToString())
            except TypeError as error:
                message = f"{path} cannot be read with protobuf {google.protobuf.__version__}: {error}"
                hint = "install a newer protobuf beside the plugin, or use an older edition"
                self.diagnostics.append(Diagnostic(Code.UNREADABLE_FILE, Place(self.sources[path], ()), message, hint))
                return False
            self._loaded.add(path)
        return True

    def _service(self, file: FileDescriptorProto, number: int, service: ServiceDescriptorProto) -> Service:
        path = (_SERVICES, number)
        full_name = _join(file.package, service.name)
        task_queue = self._dialect.task_queue(service)
        elements: list[Element] = []
        for index, rpc in enumerate(service.method):
            if not self._dialect.annotates(rpc):
                continue
            declaration = self._declaration(file, number, index)
            if isinstance(declaration.element, Workflow):
                elements.append(self._link(declaration.element, declaration.references))
            elif declaration.element is not None:
                elements.append(declaration.element)
        source = self.sources[file.name]
        return Service(
            name=service.name,
            full_name=full_name,
            file=file.name,
            task_queue=task_queue,
            elements=tuple(elements),
            digest=self._digester.digest(full_name, task_queue, elements),
            doc=source.comment(path),
            deprecated=service.options.deprecated,
            place=self._dialect.service_place(source, path),
        )

    def _declaration(self, file: FileDescriptorProto, service: int, rpc: int) -> Declaration:
        owner = file.service[service]
        proto = owner.method[rpc]
        service_name = _join(file.package, owner.name)
        full_name = _join(service_name, proto.name)
        known = self._declarations.get(full_name)
        if known is None:
            path = (_SERVICES, service, _METHODS, rpc)
            source = self.sources[file.name]
            method = Method(
                proto=proto,
                full_name=full_name,
                service=service_name,
                file=file.name,
                request=self._message(proto.input_type),
                response=self._message(proto.output_type),
                task_queue=self._dialect.task_queue(owner),
                doc=source.comment(path),
                place=Place(source, path),
            )
            known = self._declarations[full_name] = self._dialect.declare(method, self.diagnostics)
        return known

    def _message(self, type_name: str) -> Message:
        message = self._messages.get(type_name)
        if message is None:
            descriptor = self._pool.FindMessageTypeByName(type_name.removeprefix("."))
            place = self.sources[descriptor.file.name].place(descriptor.full_name)
            aliases = self.aliases.get(descriptor.full_name, ())
            message = self._messages[type_name] = Message(descriptor, place, aliases)
        return message

    @cached_property
    def _rpcs(self) -> Mapping[str, tuple[FileDescriptorProto, int, int]]:
        return {
            _join(_join(file.package, service.name), rpc.name): (file, number, index)
            for file in self._files.values()
            for number, service in enumerate(file.service)
            for index, rpc in enumerate(service.method)
        }

    def _link(self, workflow: Workflow, references: Iterable[Reference]) -> Workflow:
        """Give a workflow the handlers that it names."""
        seen: set[tuple[Kind, str]] = set()
        queries: list[QueryRef] = []
        signals: list[SignalRef] = []
        updates: list[UpdateRef] = []
        for reference in references:
            element = self._resolve(workflow, reference)
            if element is None:
                continue
            if (element.kind, element.full_name) in seen:
                what = f"names {quote(reference.ref)} a second time"
                self._refuse(workflow, reference, Code.DUPLICATE_REFERENCE, what, "remove one of the two")
                continue
            seen.add((element.kind, element.full_name))
            match element:
                case Query():
                    queries.append(QueryRef(element, reference.index))
                case Signal():
                    signals.append(SignalRef(element, reference.index, reference.start))
                case Update():
                    updates.append(
                        UpdateRef(
                            element,
                            reference.index,
                            reference.start,
                            element.validate if reference.validate is None else reference.validate,
                            workflow.id_conflict_policy or reference.id_conflict_policy,
                        )
                    )
                case _:
                    pass
        return replace(workflow, queries=tuple(queries), signals=tuple(signals), updates=tuple(updates))

    def _resolve(self, workflow: Workflow, reference: Reference) -> Element | None:
        ref, kind = reference.ref, reference.kind.value
        name = ref if "." in ref else _join(workflow.service, ref)
        found = self._rpcs.get(name)
        if found is None:
            self._unknown(workflow, reference)
            return None
        file, number, index = found
        if not self._dialect.annotates(file.service[number].method[index]):
            what = f"names {quote(ref)}, which carries no annotation"
            self._refuse(workflow, reference, Code.REFERENCE_KIND, what, f"annotate {name} as {_article(kind)}")
            return None
        if not self._load(file.name):
            return None
        element = self._declaration(file, number, index).element
        if element is not None and element.kind is not reference.kind:
            actual = element.kind.value
            what = f"names {quote(ref)}, which is {_article(actual)}"
            hint = (
                f"move it to `{actual}`" if isinstance(element, Query | Signal | Update) else f"name {_article(kind)}"
            )
            self._refuse(workflow, reference, Code.REFERENCE_KIND, what, hint)
            return None
        return element

    def _unknown(self, workflow: Workflow, reference: Reference) -> None:
        ref = reference.ref
        ends = sorted(name for name in self._rpcs if ref and name.endswith(f".{ref}"))
        code = Code.UNKNOWN_REFERENCE
        if not ref:
            what, hint = "is empty", f"name {_article(reference.kind.value)} of the service"
        elif len(ends) > 1 and "." in ref:
            code = Code.AMBIGUOUS_REFERENCE
            what, hint = f"names {quote(ref)}, which may be {' or '.join(ends)}", "write the full name"
        elif ends:
            what, hint = f"names {quote(ref)}, which does not exist", f"did you mean {' or '.join(ends)}?"
        else:
            own = [name.rpartition(".")[2] for name in self._rpcs if name.rpartition(".")[0] == workflow.service]
            close = get_close_matches(ref, own, n=1)
            what = f"names {quote(ref)}, which does not exist"
            if "." in ref:
                hint = "write the rpc's full name, `package.Service.Rpc`, and import its file"
            elif close:
                hint = f"did you mean {close[0]}?"
            else:
                hint = f"declare the rpc in {workflow.service}, or name one of another service by its full name"
        self._refuse(workflow, reference, code, what, hint)

    def _refuse(self, workflow: Workflow, reference: Reference, code: Code, what: str, hint: str) -> None:
        steps = (reference.kind.value, reference.index, "ref")
        message = f"workflow {workflow.full_name}: {workflow.place.spell(*steps)} {what}"
        self.diagnostics.append(Diagnostic(code, workflow.place, message, hint, steps))


def _join(scope: str, name: str) -> str:
    return f"{scope}.{name}" if scope else name


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "au" else f"a {kind}"
