"""Who imports whom: the rows of docs/design.md, read from there, and the packages that one room alone may know."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Packages of others that belong to one room.
KEEPERS = {
    "typer": ("protopact.cli", "protopact_codegen.cli"),
    "sqlite3": ("protopact.embedded",),
    "fcntl": ("protopact.embedded",),
    "temporalio": ("protopact.temporal",),
    "pytest": ("protopact.pytest_plugin",),
    "betterproto2": ("protopact.payload",),
    "jinja2": ("protopact_codegen",),
}
# The core does no I/O, reads no clock, and knows no threads.
NOT_IN_THE_CORE = re.compile(
    r"concurrent|fcntl|http|io|multiprocessing|os|pathlib|queue|secrets|select|selectors|shutil|signal|socket|sqlite3|ssl"
    r"|subprocess|tempfile|threading|time|urllib"
)
NOT_CALLED_IN_THE_CORE = re.compile(r"(datetime|date)\.(now|utcnow|today)|uuid\.uuid[14]|random\.(?!Random\b)\w+")


def modules(package: str, folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted((folder / package).rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


RUNTIME = modules("protopact", ROOT / "runtime")
CODEGEN = modules("protopact_codegen", ROOT / "codegen")
ALL = RUNTIME | CODEGEN


def imports(name: str, *, nested: bool = True) -> Iterator[tuple[int, str]]:
    """Line and name of each module that a module imports; `from package import module` names the module.

    What is imported for the type checker alone does not count.
    """
    path = ALL[name]
    tree = ast.parse(path.read_text(), str(path))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for block in [node for node in ast.walk(tree) if isinstance(node, ast.If)]:
        if ast.unparse(block.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            block.body = []
    for node in ast.walk(tree) if nested else tree.body:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            source = ".".join(filter(None, (base, node.module)))
            for alias in node.names:
                yield node.lineno, target if (target := f"{source}.{alias.name}") in ALL else source


def inside(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def rows() -> list[list[str]]:
    """The rows of the runtime in docs/design.md: names, then two spaces, then words."""
    text = (ROOT / "docs/design.md").read_text()
    block = text.partition("Arrows of the runtime")[2].split("```")[1]
    found: list[list[str]] = []
    for line in block.strip().splitlines():
        *names, _words = re.split(r"\s{2,}", line.strip())
        found.append(["protopact." + name.partition(" ")[0].rstrip("/").replace("/", ".") for name in names])
    return found


ROWS = rows()


def row(name: str) -> int:
    """Position of a module's row; what has no neighbours stands above all, the package itself below all."""
    if name == "protopact":
        return len(ROWS)
    if name == "protopact._version" or inside(name, "protopact.v1"):
        return -1
    rooms = [(len(room), index) for index, names in enumerate(ROWS) for room in names if inside(name, room)]
    assert rooms, f"{name} stands in no row of docs/design.md"
    return max(rooms)[1]


def test_the_design_names_rows() -> None:
    assert len(ROWS) > 5
    assert all(ROWS)


@pytest.mark.parametrize("name", RUNTIME)
def test_a_module_imports_only_what_stands_above_it(name: str) -> None:
    mine = row(name)
    below = [
        f"{RUNTIME[name].relative_to(ROOT)}:{line}: imports {target}, which stands below"
        for line, target in imports(name)
        if target in RUNTIME and target != "protopact" and row(target) > mine
    ]
    assert not below, "\n".join(below)


def test_the_shells_do_not_import_each_other() -> None:
    shells = next(names for names in ROWS if "protopact.embedded" in names)
    for one, other in itertools.permutations(shells, 2):
        crossing = [
            f"{name}:{line}"
            for name in RUNTIME
            if inside(name, one)
            for line, target in imports(name)
            if inside(target, other)
        ]
        assert not crossing, f"{one} imports {other}: {crossing}"


@pytest.mark.parametrize("modules", [RUNTIME, CODEGEN], ids=["runtime", "codegen"])
def test_there_is_no_circle(modules: dict[str, Path]) -> None:
    graph = {
        name: {target for _, target in imports(name, nested=False) if target in modules and target != name}
        for name in modules
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other: {' -> '.join(reversed(error.args[1]))}")


def test_the_plugin_and_the_runtime_do_not_know_each_other() -> None:
    crossing = [
        f"{ALL[name].relative_to(ROOT)}:{line}: imports {target}"
        for package, other in ((RUNTIME, "protopact_codegen"), (CODEGEN, "protopact"))
        for name in package
        for line, target in imports(name)
        if inside(target, other)
    ]
    assert not crossing, "\n".join(crossing)


def test_packages_of_others_stay_in_their_room() -> None:
    strays = [
        f"{ALL[name].relative_to(ROOT)}:{line}: imports {target}, which belongs to {' and '.join(keepers)}"
        for name in ALL
        for line, target in imports(name)
        if (keepers := KEEPERS.get(target.partition(".")[0])) and not any(inside(name, keeper) for keeper in keepers)
    ]
    assert not strays, "\n".join(strays)


def test_the_core_has_no_effects() -> None:
    core = [name for name in RUNTIME if inside(name, "protopact.replay")]
    assert core
    found = [
        f"{RUNTIME[name].relative_to(ROOT)}:{line}: imports {target}"
        for name in core
        for line, target in imports(name)
        if NOT_IN_THE_CORE.fullmatch(target.partition(".")[0])
    ]
    found += [
        f"{RUNTIME[name].relative_to(ROOT)}:{node.lineno}: calls {ast.unparse(node.func)}"
        for name in core
        for node in ast.walk(ast.parse(RUNTIME[name].read_text()))
        if isinstance(node, ast.Call) and NOT_CALLED_IN_THE_CORE.fullmatch(ast.unparse(node.func))
    ]
    assert not found, "\n".join(found)


def test_only_declared_packages_are_imported() -> None:
    """What an installed wheel lacks is found here, not by its user."""
    declared = {"msgspec", "google", "typer", *KEEPERS} | set(sys.stdlib_module_names)
    strays = [
        f"{ALL[name].relative_to(ROOT)}:{line}: imports {target}"
        for name in ALL
        for line, target in imports(name)
        if target.partition(".")[0] not in declared
        and target.partition(".")[0] not in ("protopact", "protopact_codegen")
    ]
    assert not strays, "\n".join(strays)


def test_importing_generated_code_loads_no_engine() -> None:
    """Workflow modules, command lines and type-checking plugins import it often, and run nothing."""
    script = (
        "import sys, protopact, protopact.workflow, protopact.activity, protopact.client, protopact.generated\n"
        "print(*(name for name in sys.modules if name.startswith(('protopact.embedded', 'protopact.replay'))))"
    )
    assert subprocess.check_output([sys.executable, "-c", script], cwd=ROOT / "runtime", text=True).strip() == ""
