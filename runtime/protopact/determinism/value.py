"""What is known of an expression without running it: the very object, its class, or nothing."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
)
from typing import TYPE_CHECKING, Any, cast

from protopact.determinism import guard
from protopact.determinism.rules import RULES, Rule

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

    from protopact.determinism.scope import Scope

__all__ = [
    "Known",
    "Local",
    "Map",
    "Message",
    "Of",
    "Super",
    "Unloaded",
    "Value",
    "attribute",
    "class_value",
    "index_rules",
    "is_unordered_set",
    "known",
    "lock_made_by",
    "plain",
    "rule_of",
    "unwrapped",
]


@dataclass(frozen=True, eq=False, slots=True)
class Known:
    """The object itself: of a module's globals, or an attribute of one."""

    value: object


@dataclass(frozen=True, slots=True)
class Unloaded:
    """Something of a module that is not loaded, or loads it when asked: by its dotted name."""

    name: str


@dataclass(frozen=True, slots=True)
class Of:
    """An instance of a class; for a set or a list, what its elements are."""

    cls: type
    element: Value = None


@dataclass(frozen=True, eq=False, slots=True)
class Message:
    """A message of google's protobuf."""

    descriptor: Descriptor


@dataclass(frozen=True, slots=True)
class Map:
    """A map field of google's protobuf, or what keeps its order."""

    name: str


@dataclass(frozen=True, eq=False, slots=True)
class Local:
    """A function within a function, or a lambda."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    scope: Scope


@dataclass(frozen=True, slots=True)
class Super:
    """`super()` in a method of `owner`, of an instance of `cls`."""

    cls: type
    owner: type


Value = Known | Unloaded | Of | Message | Map | Local | Super | None


def known(value: object) -> Value:
    """The object itself, or the set that it is.

    Not one that pretends to be of another class: a proxy would run code when it is looked at.
    """
    cls = type(value)
    if cls is set or cls is frozenset:
        return Of(cls, Of(int) if _is_ordered(cast("set[object] | frozenset[object]", value)) else None)
    return None if any("__class__" in vars(each) for each in cls.__mro__[:-1]) else Known(value)


def _is_ordered(value: set[object] | frozenset[object]) -> bool:
    """Whether a set has one order in every process: that of small integers, or of what cannot become two."""
    has_numbers = bool(value) and all(type(each) in (int, bool) for each in value)
    return has_numbers or (isinstance(value, frozenset) and len(value) < 2)  # noqa: PLR2004 - two have an order


def class_value(cls: type) -> Value:
    """An instance of a class."""
    descriptor = _descriptor(cls)
    return Of(cls) if descriptor is None else Message(descriptor)


def is_unordered_set(value: Value) -> bool:
    """Whether it is a set whose order differs from process to process; that of small integers does not."""
    if not isinstance(value, Of) or not issubclass(value.cls, set | frozenset):
        return False
    return not (isinstance(value.element, Of) and value.element.cls in (int, bool))


def attribute(value: Value, name: str) -> Value:  # noqa: PLR0911 - one case for each kind of value
    """What an attribute of a value is: looked up without running anything."""
    match value:
        case Known(ModuleType() as module):
            names = vars(module)
            return known(names[name]) if name in names else Unloaded(f"{module.__name__}.{name}")
        case Known(holder):
            return _of_object(holder, name)
        case Unloaded(dotted):
            return Unloaded(f"{dotted}.{name}")
        case Of(cls):
            return _looked_up(cls, name)
        case Super(cls, owner):
            mro = cls.__mro__
            rest = mro[mro.index(owner) + 1 :] if owner in mro else ()
            return next((known(plain(vars(each)[name])) for each in rest if name in vars(each)), None)
        case Message(descriptor):
            return _field(descriptor, name)
        case _:
            return None


def _of_object(holder: object, name: str) -> Value:
    if not isinstance(holder, type) and type(holder).__getattribute__ is not object.__getattribute__:
        return None  # it answers as it likes
    found = _static(holder, name)
    return None if found is _MISSING else known(plain(found))


_MISSING = object()


def _static(holder: object, name: str) -> object:
    try:
        return cast("object", inspect.getattr_static(holder, name, _MISSING))
    except Exception:  # noqa: BLE001 - classes are compared on the way, and some raise when they are
        return _MISSING


def _looked_up(cls: type, name: str) -> Value:
    for each in cls.__mro__:
        if name in vars(each):
            return known(plain(vars(each)[name]))
    return None


def plain(found: object) -> object:
    """The function in a static or class method."""
    if isinstance(found, staticmethod | classmethod):
        inner: object = getattr(cast("object", found), "__func__", None)
        return inner
    return found


def unwrapped(value: object) -> Iterator[object]:
    """A callable, and what it calls: through decorators, partials and methods."""
    seen = 0
    while value is not None and seen < 16:  # noqa: PLR2004 - a chain of decorators ends
        seen += 1
        yield value
        if isinstance(value, functools.partial):
            value = cast("object", value.func)
        elif isinstance(value, MethodType):
            value = value.__func__
        else:
            wrapped = _static(value, "__wrapped__") if callable(value) else _MISSING
            value = None if wrapped is _MISSING else wrapped


def lock_made_by(made: object) -> type | None:
    """The class of what `threading.Lock` or `threading.RLock` makes, of which not every Python makes a class."""
    return next((type(make()) for make in (threading.Lock, threading.RLock) if made is make), None)


# -- rules by object

_HASHED: tuple[type, ...] = (
    FunctionType,
    BuiltinFunctionType,
    MethodType,
    MethodDescriptorType,
    ClassMethodDescriptorType,
)
_index: dict[object, Rule] = {}
_indexed: set[str] = set()


def rule_of(value: Value) -> Rule | None:
    """The rule that a value falls under."""
    if isinstance(value, Unloaded):
        return RULES.get(value.name)
    if not isinstance(value, Known):
        return None
    for each in unwrapped(value.value):
        if (rule := _index.get(_key(each))) is not None:
            return rule
    return None


def _key(found: object) -> object:
    """Equal for equal functions, as for the `now` of `datetime`, made anew each time; identity for all else."""
    return found if isinstance(found, _HASHED) or guard.is_guarded(found) else ("id", id(found))


def index_rules() -> None:
    """Find the objects that the rules speak of, of the modules that are loaded by now."""
    for call, rule in RULES.items():
        if call in _indexed or (found := _find(call)) is None:
            continue
        _indexed.add(call)
        for each in found:
            for inner in unwrapped(each):
                _index.setdefault(_key(inner), rule)
                if isinstance(inner, MethodType) and not isinstance(inner.__self__, type):
                    break  # of the module's own instance: `random.randint`; the same of another one is no such call


def _find(call: str) -> list[object] | None:
    """The object, and the descriptor in its class; None while its module is not loaded."""
    path, _, name = call.rpartition(".")
    if (module := sys.modules.get(path)) is not None:
        return [vars(module)[name]] if name in vars(module) else None
    module_name, _, owner = path.rpartition(".")
    if (module := sys.modules.get(module_name)) is None:
        return None
    cls: object = vars(module).get(owner)
    cls = lock_made_by(cls) or cls
    if not isinstance(cls, type):
        return None
    try:
        static: object = inspect.getattr_static(cls, name)
    except AttributeError:
        return []
    return [getattr(cls, name), static, plain(static)]


# -- messages of google's protobuf


def _descriptor(cls: type) -> Descriptor | None:
    module = sys.modules.get("google.protobuf.message")
    if module is None or not issubclass(cls, importlib.import_module("google.protobuf.message").Message):
        return None
    descriptor: Descriptor | None = getattr(cls, "DESCRIPTOR", None)
    return descriptor


def _field(descriptor: Descriptor, name: str) -> Value:
    fields: Mapping[str, Any] = descriptor.fields_by_name  # field descriptors, of more versions than the stubs know
    field = fields.get(name)
    if field is None or field.message_type is None:
        return None
    if field.message_type.GetOptions().map_entry:
        return Map(f"{descriptor.full_name}.{name}")
    message = Message(field.message_type)
    repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
    return Of(list, message) if repeated else message
