"""Every contract of the corpus is generated, imported and type-checked, for every library that can carry it."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from protopact import contract

if TYPE_CHECKING:
    from tests.corpus.conftest import Corpus

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent
ENVIRONMENT = os.environ | {
    "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
    "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",
}
LIBRARIES = ("betterproto2", "google")

pytestmark = pytest.mark.filterwarnings("error")


def described(module: ModuleType, kind: type) -> list[Any]:
    """The objects of a kind that a generated module describes its contract with."""
    return [value for value in vars(module).values() if isinstance(value, kind)]


def elements(module: ModuleType) -> list[Any]:
    kinds = (contract.Workflow, contract.Activity, contract.Signal, contract.Query, contract.Update)
    return [element for kind in kinds for element in described(module, kind)]


def messages(module: ModuleType) -> list[contract.Message[Any]]:
    found = [message for each in elements(module) for message in (each.request, getattr(each, "response", None))]
    return [message for message in found if message is not None and message.type is not type(None)]


def classes(module: ModuleType) -> list[Any]:
    """The generated classes, nested ones after what holds them."""
    found: list[Any] = [getattr(module, name) for name in module.__all__]
    for cls in found:
        found += filter(inspect.isclass, members(cls).values())
    return found


def members(cls: type) -> Mapping[str, Any]:
    return vars(cls)


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_file_has_a_module_that_can_be_imported(corpus: Corpus, library: str) -> None:
    modules = corpus.modules(library)
    sources = {service.source for module in modules for service in described(module, contract.Service)}
    assert sources == set(corpus.protos[library])


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_a_contract_declares_is_there_under_its_name(corpus: Corpus, library: str) -> None:
    for module in corpus.modules(library):
        workers = {cls.__protopact__().name: cls for cls in classes(module) if hasattr(cls, "run")}
        for name in module.__all__:
            service = getattr(module, name)
            described_as = service.__protopact__()
            for activity in described_as.activities:
                assert isinstance(inspect.getattr_static(service, activity.method), staticmethod)
            methods = {activity.method for activity in described_as.activities}
            assert not methods or service.Activities.__abstractmethods__ == methods
            for workflow in described_as.workflows:
                worker = workers[workflow.name]
                handlers = {each.method for each in workflow.queries}
                handlers |= {ref.update.method for ref in workflow.updates}
                assert worker.__abstractmethods__ == handlers | {"run"}
                signals = {ref.signal.method for ref in workflow.signals}
                assert all(inspect.getattr_static(worker, method).signal.method == method for method in signals)
                outside = {name for name in members(worker.Handle) if not name.startswith("_")}
                assert outside == handlers | signals | {f"start_{ref.update.method}" for ref in workflow.updates}
                assert all(hasattr(worker, f"validate_{ref.update.method}") == ref.validate for ref in workflow.updates)


@pytest.mark.parametrize("library", LIBRARIES)
def test_annotations_mean_the_same_at_run_time(corpus: Corpus, library: str) -> None:
    for module in corpus.modules(library):
        for cls in classes(module):
            for value in members(cls).values():
                function = getattr(value, "__func__", value)
                if inspect.isfunction(function):
                    hints = typing.get_type_hints(function)
                    assert Any not in hints.values()


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_message_is_the_class_of_its_library(corpus: Corpus, library: str) -> None:
    for module in corpus.modules(library):
        for message in messages(module):
            assert message.schema.library == library
            if library == "google":
                assert message.type.DESCRIPTOR.full_name == message.name
            else:
                pool = sys.modules["corpus_betterproto2.message_pool"].default_message_pool
                assert pool.type_to_url[message.type].removeprefix("type.googleapis.com/").lstrip(".") == message.name


def paths(module: ModuleType) -> Iterator[tuple[Any, contract.Field | tuple[str, ...]]]:
    """Every field of a template and of a search attribute, with the class of the message that has it."""
    for element in elements(module):
        templates = [getattr(element, "id", None)]
        for attribute in getattr(element, "search_attributes", ()):
            if isinstance(attribute.value, contract.Template):
                templates.append(attribute.value)
            else:
                yield element.request.type, attribute.value
        for template in filter(None, templates):
            yield from ((element.request.type, part) for part in template.parts if isinstance(part, contract.Field))


def walk(library: str, cls: Any, path: tuple[str, ...]) -> Any:  # noqa: ANN401 - whatever the library describes with
    """Follow attribute names through classes; what the last one is to the library."""
    found = cls.DESCRIPTOR if library == "google" else cls
    for name in path[:-1]:
        if library == "google":
            found = found.fields_by_name[name].message_type
        else:
            found = next(
                each for each in typing.get_args(typing.get_type_hints(found)[name]) if each is not types.NoneType
            )
    return found.fields_by_name[path[-1]] if library == "google" else typing.get_type_hints(found)[path[-1]]


@pytest.mark.parametrize("library", LIBRARIES)
def test_templates_name_attributes_of_the_library(corpus: Corpus, library: str) -> None:
    seen = 0
    for module in corpus.modules(library):
        for cls, field in paths(module):
            seen += 1
            if isinstance(field, tuple):
                assert walk(library, cls, field)
                continue
            last = walk(library, cls, field.path)
            optional = last.has_presence if library == "google" else types.NoneType in typing.get_args(last)
            assert field.optional == optional, field
    assert seen > 60


def test_betterproto2_modules_carry_the_schema_of_their_messages(corpus: Corpus) -> None:
    for module in corpus.modules("betterproto2"):
        for message in messages(module):
            found = FileDescriptorSet.FromString(message.schema.descriptors)
            pool = DescriptorPool()
            for file in found.file:  # dependencies come first
                pool.Add(file)
                assert not file.HasField("source_code_info")
                assert not file.service
                assert all(field.json_name for each in file.message_type for field in each.field)
            dynamic = GetMessageClass(pool.FindMessageTypeByName(message.name))
            assert json_format.MessageToJson(dynamic.FromString(bytes(message.type())))


def test_json_goes_by_the_contract_and_not_by_the_library(corpus: Corpus) -> None:
    module = next(each for each in corpus.modules("betterproto2") if each.__name__.endswith("templates_protopact"))
    fields = next(message for message in messages(module) if message.name.endswith(".Fields"))
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(fields.schema.descriptors).file:
        pool.Add(file)
    dynamic = GetMessageClass(pool.FindMessageTypeByName(fields.name))
    written = fields.type(from_="f", node_id="n", http_url="u", snake_case="s", wide=7, right=0)
    assert json.loads(json_format.MessageToJson(dynamic.FromString(bytes(written)))) == {
        "from": "f",
        "nodeID": "n",
        "HTTPUrl": "u",
        "snakeCase": "s",
        "wide": "7",
        "right": 0,
    }


def run(corpus: Corpus, *command: str) -> str:
    done = subprocess.run(
        [SCRIPTS / command[0], *command[1:]],
        cwd=corpus.root,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout


def test_mypy_is_content(corpus: Corpus) -> None:
    (corpus.root / "mypy.ini").write_text(
        "[mypy]\n"
        "strict = true\n"
        "python_version = 3.11\n"
        "explicit_package_bases = true\n"
        f"mypy_path = {corpus.root}:{corpus.outs['google']}:{ROOT / 'runtime'}\n"
        f"cache_dir = {ROOT / '.mypy_cache/corpus'}\n"
        "disallow_any_unimported = true\n"
        "[mypy-corpus_betterproto2.*,protopact.*]\n"  # judged elsewhere, or not ours
        "follow_imports = silent\n"
    )
    paths = [str(path) for library in LIBRARIES for path in corpus.paths(library)]
    assert run(corpus, "mypy", *paths) == f"Success: no issues found in {len(paths)} source files\n"


def test_pyright_is_content(corpus: Corpus) -> None:
    (corpus.root / "pyrightconfig.json").write_text(
        json.dumps(
            {
                "include": ["**/*_protopact.py"],
                "extraPaths": [".", "google", str(ROOT / "runtime")],
                "typeCheckingMode": "strict",
                "pythonVersion": "3.11",
                "venvPath": str(ROOT),
                "venv": SCRIPTS.parent.name,
            }
        )
    )
    assert run(corpus, "pyright", "--pythonpath", sys.executable).endswith("0 errors, 0 warnings, 0 informations\n")


def test_buf_and_protoc_write_the_same_bytes(corpus: Corpus, tmp_path: Path) -> None:
    for folder in ("any", "google"):
        shutil.copytree(Path(__file__).parent / "protos" / folder, tmp_path / "protos", dirs_exist_ok=True)
    shutil.copytree(ROOT / "runtime/protopact/v1", tmp_path / "include/protopact/v1")
    (tmp_path / "buf.yaml").write_text("version: v2\nmodules: [{path: protos}, {path: include}]\n")
    plugins = [{"local": "protoc-gen-protopact", "out": "out", "opt": ["messages=google"]}]
    (tmp_path / "buf.gen.yaml").write_text(json.dumps({"version": "v2", "plugins": plugins}))
    subprocess.run(["buf", "generate", "protos"], cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True)
    written = {path.relative_to(tmp_path / "out"): path.read_bytes() for path in (tmp_path / "out").rglob("*.py")}
    google = corpus.outs["google"]
    assert written == {path.relative_to(google): path.read_bytes() for path in corpus.paths("google")}


@pytest.mark.parametrize("library", LIBRARIES)
def test_comments_become_docstrings_word_for_word(corpus: Corpus, library: str) -> None:
    module = next(each for each in corpus.modules(library) if each.__name__.endswith(".comments_protopact"))
    service = module.CommentService
    assert service.__doc__ == (
        '"Quoted" service: """triple""", \'\'\'single\'\'\', a backslash \\ and \\n, ends in a quote"'
    )
    assert inspect.cleandoc(service.Run.__doc__).startswith(
        'Block """ comment \\\nwith stars, a {template} {{ jinja }} {% raw %}, and\n\n'
        '    indented code("x")\n\nends with a backslash \\\n'
    )
    assert service.act.__doc__ == (
        "Übergrößenträger 日本語 🙂 \u200bzero width, \u202e override, \\x00 \\u0041 \\N{DASH} %s {0} $x"
    )
    assert service.Run.Handle.poke.__doc__ == '"""'
    assert service.Run.look.__doc__ == '"'
    assert service.trailing.__doc__ == 'A trailing comment \\""" of the rpc.'
    source = Path(str(module.__file__)).read_text()
    assert "\u202e" not in source, "a reader sees every character"
