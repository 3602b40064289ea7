"""What is generated for an element keeps its names and types, whatever stands beside it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, MethodDescriptorProto, ServiceDescriptorProto
from tests.corpus.conftest import generate

from protopact.v1 import annotations_pb2


class Resolve(ast.NodeTransformer):
    """Writes imported names as where they come from, so that an alias makes no difference."""

    def __init__(self, origins: Mapping[str, str]) -> None:
        self.origins = origins

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.origins.get(node.id, node.id))


def origins(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Names that a module imports or looks up, and where they come from."""
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom):
            yield from (
                (each.asname or each.name, f"{'.' * node.level}{node.module}:{each.name}") for each in node.names
            )
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name | ast.Attribute):
            yield from ((ast.unparse(target), ast.unparse(node.value)) for target in node.targets)


def surface(source: str) -> dict[str, str]:
    """The public names of a generated module, each with its signature or base classes."""
    module = ast.parse(source)
    resolve = Resolve(dict(origins(module)))
    found = dict[str, str]()

    def visit(prefix: str, body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                found[f"{prefix}{node.name}"] = ", ".join(ast.unparse(resolve.visit(base)) for base in node.bases)
                visit(f"{prefix}{node.name}.", node.body)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.returns is not None
                signature = f"({ast.unparse(resolve.visit(node.args))}) -> {ast.unparse(resolve.visit(node.returns))}"
                found[f"{prefix}{node.name}"] = f"{type(node).__name__}{signature}"
            elif prefix and isinstance(node, ast.Assign):
                found[f"{prefix}{ast.unparse(node.targets[0])}"] = "channel"

    visit("", module.body)
    return found


def reaches(files: Mapping[str, FileDescriptorProto], start: str, goal: str) -> bool:
    """Whether the file `start` imports the file `goal`, directly or not."""
    return start == goal or any(reaches(files, each, goal) for each in files[start].dependency)


def transplanted(rpc: MethodDescriptorProto, home: str) -> MethodDescriptorProto:
    """A copy of an rpc that means the same in another service."""
    copy = MethodDescriptorProto()
    copy.CopyFrom(rpc)
    if copy.options.HasExtension(annotations_pb2.method) and copy.options.Extensions[annotations_pb2.method].HasField(
        "workflow"
    ):
        workflow = copy.options.Extensions[annotations_pb2.method].workflow
        workflow.task_queue = workflow.task_queue or "moved"
        for refs in (workflow.query, workflow.signal, workflow.update):
            for ref in refs:
                ref.ref = ref.ref if "." in ref.ref else f"{home}.{ref.ref}"
    return copy


def with_neighbour(
    whole: CodeGeneratorRequest,
    host: FileDescriptorProto,
    service: ServiceDescriptorProto,
    rpc: MethodDescriptorProto,
    home: FileDescriptorProto,
) -> CodeGeneratorRequest:
    """The file `host` alone, with one rpc more, which the file `home` declares."""
    files = {file.name: file for file in whole.proto_file}
    request = CodeGeneratorRequest(parameter=whole.parameter, file_to_generate=[host.name])
    request.proto_file.extend(file for file in whole.proto_file if not reaches(files, file.name, host.name))
    changed = request.proto_file.add()
    changed.CopyFrom(host)
    changed.dependency.extend({home.name, *home.dependency} - {*host.dependency})
    next(each for each in changed.service if each.name == service.name).method.append(rpc)
    return request


def test_a_neighbour_renames_nothing(whole: CodeGeneratorRequest) -> None:
    """Each rpc of the corpus becomes the neighbour of another file's rpcs, the files taking turns."""
    files = {file.name: file for file in whole.proto_file}
    places = [(files[path], service) for path in whole.file_to_generate for service in files[path].service]
    surfaces = dict[str, dict[str, str]]()
    for path in whole.file_to_generate:
        alone = CodeGeneratorRequest(parameter=whole.parameter, file_to_generate=[path], proto_file=whole.proto_file)
        surfaces[path] = surface(generate(alone).file[0].content)
    moved = collided = 0
    for home, own in places:
        hosts = {file.name: (file, service) for file, service in places if not reaches(files, home.name, file.name)}
        for index, rpc in enumerate(own.method):
            strangers = [place for place in hosts.values() if all(each.name != rpc.name for each in place[1].method)]
            host, service = strangers[index % len(strangers)]
            added = transplanted(rpc, f"{home.package}.{own.name}".lstrip("."))
            response = generate(with_neighbour(whole, host, service, added, home))
            if response.error:
                assert re.findall(r"PP[0-8]\d\d", response.error) == ["PP206"], response.error
                collided += 1
                continue
            moved += 1
            before, after = surfaces[host.name], surface(response.file[0].content)
            assert before == {name: after.get(name) for name in before}, f"{rpc.name} of {home.name} in {service.name}"
    assert moved > 200
    assert collided < 10
