"""Every public module says what it offers, has it, and documents it."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

import protopact
from protopact import completion, errors, policy

ROOT = Path(__file__).parents[2]
TYPE_VARIABLE = re.compile(r"(TypeVar|TypeVarTuple|ParamSpec)\(")


def public_modules() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder, package in ((ROOT / "runtime", "protopact"), (ROOT / "codegen", "protopact_codegen")):
        for path in sorted((folder / package).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if path.stem != "annotations_pb2" and not any(part.startswith("_") for part in parts if part != "__init__"):
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = public_modules()


def defined(path: Path) -> set[str]:
    """Public names that a module's own statements define, save type variables and the commands of the command line."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if not any(ast.unparse(decorator).startswith("app.") for decorator in node.decorator_list):
                names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Assign) and not TYPE_VARIABLE.match(ast.unparse(node.value)):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_offers_what_it_says_and_says_what_it_offers(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, "the module has no docstring"
    own = defined(MODULES[name])
    offered = getattr(module, "__all__", None)
    if offered is None:
        assert not own, f"no __all__, though the module defines {sorted(own)}"
        return
    missing = [entry for entry in offered if not hasattr(module, entry)]
    assert not missing, f"in __all__ and not in the module: {missing}"
    unsaid = sorted(own - set(offered))
    assert not unsaid, f"public and not in __all__ (a private name starts with _): {unsaid}"
    undocumented = [
        entry
        for entry in offered
        if (inspect.isclass(value := getattr(module, entry)) or inspect.isroutine(value))
        and not vars(value).get("__doc__", value.__doc__)
    ]
    assert not undocumented, f"no docstring: {undocumented}"


def test_what_applications_catch_and_pass_is_at_the_top() -> None:
    beneath = {*errors.__all__, *policy.__all__, completion.AsyncActivityHandle.__name__}
    assert beneath <= set(protopact.__all__)
