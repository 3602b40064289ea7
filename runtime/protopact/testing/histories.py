"""Stored histories, and the replayer that checks code against them: what `protopact replay` and pytest share."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

from protopact.errors import HistoryError, NondeterminismError, RegistrationError, WorkflowTaskError
from protopact.history import History
from protopact.replay import Replayer
from protopact.workflow import Workflow

__all__ = ["describe", "find", "load_replayer", "load_workflows", "read"]


def find(paths: Iterable[Path]) -> list[Path]:
    """The files that are named, and the `*.json` files of the folders that are, whatever their depth.

    Raises:
        HistoryError: A path is not there, or a folder holds no such file.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            files = sorted(path.rglob("*.json"))
            if not files:
                raise HistoryError(f"{path} holds no history: no file in it ends with .json")
            found += files
        elif path.exists():
            found.append(path)
        else:
            raise HistoryError(f"{path} is neither a history nor a folder of histories")
    return found


def read(path: Path, *, allow_damage: bool = False) -> History:
    """The history in a file. One that does not say whose it is belongs to the workflow that the file is named after.

    Args:
        path: The file, in Temporal's JSON.
        allow_damage: See `History.from_json`.

    Raises:
        HistoryError: It cannot be read; the message names the file.
    """
    try:
        history = History.from_json(path.read_text(encoding="utf-8-sig"), allow_damage=allow_damage)
    except UnicodeDecodeError as error:
        raise HistoryError(f"{path}: the history is not Temporal's JSON: it is not UTF-8 ({error})") from error
    except HistoryError as error:
        raise HistoryError(f"{path}: {error}") from error
    if history.damage is not None:
        history.damage = HistoryError(f"{path}: {history.damage}")
    history.workflow_id = history.workflow_id or path.stem
    return history


def load_workflows(names: Iterable[str]) -> list[type[Workflow]]:
    """Workflow classes by their names.

    Args:
        names: `module:Class`, or `module` for every workflow class that the module defines; several may stand in one
            name, with commas between them.

    Raises:
        RegistrationError: A name cannot be resolved.
    """
    found: dict[type[Workflow], None] = {}
    for name in (part.strip() for each in names for part in each.split(",")):
        if not name:
            continue
        module, _, path = name.partition(":")
        loaded = _module(module)
        if path:
            given = _attribute(loaded, path, "a workflow class")
            if not (inspect.isclass(given) and issubclass(given, Workflow)):
                raise RegistrationError(f"{name}: expected a workflow class, found {given!r}")
            found[given] = None
            continue
        classes = [each for each in vars(loaded).values() if inspect.isclass(each) and each.__module__ == module]
        defined = [each for each in classes if issubclass(each, Workflow) and not inspect.isabstract(each)]
        if not defined:
            raise RegistrationError(f"{name}: the module defines no workflow class; name one: {name}:Class")
        found.update(dict.fromkeys(defined))
    return list(found)


def load_replayer(name: str) -> Replayer:
    """A replayer by its name.

    Args:
        name: `module:name` of a `Replayer`, or of a function that takes nothing and returns one.

    Raises:
        RegistrationError: The name cannot be resolved, or is something else.
    """
    module, _, path = name.partition(":")
    if not path:
        raise RegistrationError(f"{name}: expected module:name of a Replayer or of a function that returns one")
    given = _attribute(_module(module), path, "a Replayer")
    found: object = given
    if callable(given) and not isinstance(given, type):
        try:
            found = given()
        except Exception as error:
            raise RegistrationError(f"{name} cannot be called: {type(error).__name__}: {error}") from error
    if not isinstance(found, Replayer):
        raise RegistrationError(f"{name}: expected a Replayer or a function that returns one, found {found!r}")
    return found


def describe(error: WorkflowTaskError) -> str:
    """A failed replay in words: the report of a nondeterminism, or what the code raised and where."""
    if isinstance(error, NondeterminismError) or error.__cause__ is None:
        return str(error)
    frames: Sequence[traceback.FrameSummary] = traceback.extract_tb(error.__cause__.__traceback__)
    last = next((frame for frame in reversed(frames) if _is_users(frame.filename)), None)
    if last is None:
        return str(error)
    return f"{error}\n  {last.filename}:{last.lineno}, in {last.name}\n    {last.line}"


_OURS = str(Path(__file__).parents[1])


def _is_users(filename: str) -> bool:
    return not filename.startswith((_OURS, sys.base_prefix, "<"))


def _module(name: str) -> ModuleType:
    if not name:
        raise RegistrationError("expected module:Class, found no module")
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise RegistrationError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error


def _attribute(module: ModuleType, path: str, what: str) -> object:
    found: object = module
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise RegistrationError(f"{module.__name__}:{path}: expected {what}, found nothing of that name") from None
    return found
