"""Where Temporal's sandbox finds a workflow class: by the name of its module and its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Self, cast

from protopact.errors import RegistrationError
from protopact.workflow import Workflow

__all__ = ["ClassSource"]

_SCRIPT = "__main__"
_SANDBOXED_SCRIPT = "__temporal_main__"
"""Under this name the sandbox runs the file of the script anew, and not what a script does when it is one."""


@dataclass(frozen=True, slots=True)
class ClassSource:
    """A class that the sandbox can import, and the exceptions that are to be found there as well.

    Attributes:
        module: Module to import in the sandbox.
        path: Names that lead from the module to the class.
        failure_types: Modules and paths of the worker's own failure types.
    """

    module: str
    path: tuple[str, ...]
    failure_types: tuple[tuple[str, tuple[str, ...]], ...]

    @classmethod
    def of(cls, workflow: type[Workflow], failure_types: Sequence[type[BaseException]]) -> Self:
        """Where a workflow class is found.

        Raises:
            RegistrationError: It cannot be imported by its name.
        """
        where = f"workflow class {workflow.__module__}.{workflow.__qualname__}"
        path = tuple(workflow.__qualname__.split("."))
        if "<locals>" in path:
            raise RegistrationError(
                f"{where} is defined in a function, and Temporal's sandbox imports a class by the names of its module "
                "and its own. Define it at the top of a module, or serve it without the sandbox: "
                "temporal=TemporalWorkerOptions(sandboxed=False)"
            )
        module = sys.modules.get(workflow.__module__)
        if module is None or _follow(module, path) is not workflow:
            raise RegistrationError(
                f"{where} is not what its module {workflow.__module__} holds under that name, and Temporal's sandbox "
                "imports a class by the names of its module and its own. Give it the name that it says it has, or "
                "serve it without the sandbox: temporal=TemporalWorkerOptions(sandboxed=False)"
            )
        found = tuple((_sandboxed(each.__module__), tuple(each.__qualname__.split("."))) for each in failure_types)
        return cls(_sandboxed_module(module, where), path, found)

    def load(self) -> None:
        """Import in the sandbox what a run will ask for; while it is loading, imports are free."""
        _import(self.module)
        for module, _ in self.failure_types:
            _import(module)

    def imported(self) -> type[Workflow]:
        """The class, of the sandbox that this is called in."""
        return cast("type[Workflow]", _follow(sys.modules[self.module], self.path))

    def imported_failure_types(self) -> tuple[type[BaseException], ...]:
        """The worker's failure types, of the sandbox that this is called in."""
        return tuple(
            cast("type[BaseException]", _follow(sys.modules[module], path)) for module, path in self.failure_types
        )


def _sandboxed_module(module: ModuleType, where: str) -> str:
    name = _sandboxed(module.__name__)
    if name == _SANDBOXED_SCRIPT and getattr(module, "__file__", None) is None:
        raise RegistrationError(
            f"{where} is defined where there is no file (an interactive session, or python -c), and Temporal's sandbox "
            "runs the file anew. Write it into a module, or serve it without the sandbox: "
            "temporal=TemporalWorkerOptions(sandboxed=False)"
        )
    return name


def _sandboxed(module: str) -> str:
    """Name of a module in the sandbox: that of the script depends on how it was started."""
    if module != _SCRIPT:
        return module
    # `python -m package.module` knows the module's own name, under which its relative imports work.
    spec = getattr(sys.modules[_SCRIPT], "__spec__", None)
    return _SANDBOXED_SCRIPT if spec is None else spec.name


def _import(module: str) -> None:
    # Not importlib's function: the sandbox replaces this one.
    __import__(module, fromlist=("__name__",))


def _follow(module: ModuleType, path: Sequence[str]) -> Any:  # noqa: ANN401 - whatever stands there
    found: Any = module
    for name in path:
        found = getattr(found, name, None)
    return found
