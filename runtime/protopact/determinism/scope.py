"""Names and expressions of a function, and what is known of them."""

from __future__ import annotations

import ast
import asyncio
import builtins
import inspect
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextvars import ContextVar
from types import CoroutineType, FunctionType
from typing import get_args, get_origin

from protopact.determinism.source import Definition, source_of
from protopact.determinism.value import (
    Known,
    Local,
    Map,
    Message,
    Of,
    Super,
    Unloaded,
    Value,
    attribute,
    class_value,
    is_unordered_set,
    known,
    lock_made_by,
)

__all__ = ["Scope", "scope_of"]

_DEPTH = 24
"""How far a name is followed from one assignment to the next."""

_SETS: tuple[object, ...] = (set, frozenset, AbstractSet)
_SET_TYPES: tuple[object, ...] = (set, frozenset)
_NUMBERS: tuple[object, ...] = (int, len, ord)
_LOOPS: tuple[object, ...] = (asyncio.get_running_loop, asyncio.get_event_loop)
_LISTS: tuple[object, ...] = (list, tuple, Sequence)
_SET_METHODS = frozenset(["union", "intersection", "difference", "symmetric_difference", "copy"])
_SET_OPERATORS = (ast.BitOr, ast.BitAnd, ast.Sub, ast.BitXor)

_Binding = (
    ast.expr | Definition | ast.alias | ast.arg | ast.For | ast.AsyncFor | ast.comprehension | ast.AnnAssign | None
)


class Scope:
    """One function: its names, and those around it.

    Args:
        node: The function.
        names: Globals.
        outer: The function around it.
        cells: What a closure holds.
        owner: The class that it is a method of.
        receiver: What its first parameter is.
    """

    def __init__(
        self,
        node: Definition,
        names: Mapping[str, object],
        *,
        outer: Scope | None = None,
        cells: Mapping[str, object] | None = None,
        owner: type | None = None,
        receiver: Value = None,
    ) -> None:
        self.names = names
        self.outer = outer
        self.owner: type | None = owner if owner is not None or outer is None else outer.owner
        self._cells = cells or {}
        self._depth = 0
        self._bound: dict[str, list[_Binding]] = {}
        self._modules: dict[str, str] = {}
        self._globals: set[str] = set()
        positional = [*node.args.posonlyargs, *node.args.args]
        self._receiver = (positional[0].arg, receiver) if positional and receiver is not None else None
        for argument in (*positional, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg):
            if argument is not None:
                is_one = argument is not node.args.vararg and argument is not node.args.kwarg
                self._bind(argument.arg, argument if is_one else None)
        for statement in node.body if not isinstance(node, ast.Lambda) else [node.body]:
            self._collect(statement)

    # -- names

    def _bind(self, name: str, binding: _Binding) -> None:
        self._bound.setdefault(name, []).append(binding)

    def _collect(self, node: ast.AST) -> None:  # noqa: C901, PLR0912 - one case for each way to bind a name
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._bind(node.name, node)
                return
            case ast.Lambda():
                return
            case ast.ClassDef():
                self._bind(node.name, None)
                return
            case ast.Global() | ast.Nonlocal():
                self._globals.update(node.names)
            case ast.Import():
                for alias in node.names:
                    name = alias.asname or alias.name.partition(".")[0]
                    self._bind(name, alias)
                    self._modules[name] = alias.name if alias.asname else name
            case ast.ImportFrom():
                base = "." * node.level + (node.module or "")
                for alias in node.names:
                    name = alias.asname or alias.name
                    self._bind(name, alias)
                    self._modules[name] = f"{base}.{alias.name}" if not node.level else ""
            case ast.Assign():
                for target in node.targets:
                    self._assign(target, node.value)
            case ast.AnnAssign():
                if isinstance(node.target, ast.Name):
                    self._bind(node.target.id, node)
            case ast.NamedExpr():
                self._assign(node.target, node.value)
            case ast.For() | ast.AsyncFor() | ast.comprehension():
                if isinstance(node.target, ast.Name):
                    self._bind(node.target.id, node)
                else:
                    self._assign(node.target, None)
            case ast.withitem() if node.optional_vars is not None:
                self._assign(node.optional_vars, None)
            case ast.ExceptHandler() if node.name:
                self._bind(node.name, None)
            case ast.MatchAs() | ast.MatchStar() if node.name:
                self._bind(node.name, None)
            case ast.MatchMapping() if node.rest:
                self._bind(node.rest, None)
            case _:
                pass
        for child in ast.iter_child_nodes(node):
            self._collect(child)

    def _assign(self, target: ast.expr, value: ast.expr | None) -> None:
        for node in ast.walk(target):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self._bind(node.id, value if node is target else None)

    def name(self, name: str) -> Value:
        """What a name stands for."""
        if name in self._bound and name not in self._globals:
            bindings = self._bound[name]
            values = [self._of_binding(name, each) for each in bindings]
            if len(values) == 1:
                return values[0]
            return values[0] if all(is_unordered_set(each) for each in values) else None
        if name in self._cells:
            return known(self._cells[name])
        if self.outer is not None:
            return self.outer.name(name)
        if name in self.names:
            return known(self.names[name])
        return Known(vars(builtins)[name]) if name in vars(builtins) else None

    def _of_binding(self, name: str, binding: _Binding) -> Value:  # noqa: PLR0911 - one case for each way to bind a name
        if self._depth > _DEPTH:
            return None
        self._depth += 1
        try:
            match binding:
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    return Local(binding, self) if not binding.decorator_list else None
                case ast.alias():
                    return _imported(self._modules[name])
                case ast.arg():
                    if self._receiver is not None and self._receiver[0] == name:
                        return self._receiver[1]
                    return self.annotated(binding.annotation)
                case ast.AnnAssign():
                    return self.annotated(binding.annotation)
                case ast.For() | ast.AsyncFor() | ast.comprehension():
                    each = self.value(binding.iter)
                    return each.element if isinstance(each, Of) else None
                case ast.expr():
                    return self.value(binding)
                case _:
                    return None
        finally:
            self._depth -= 1

    # -- annotations

    def annotated(self, node: ast.expr | None) -> Value:  # noqa: C901, PLR0911, PLR0912 - one case for each form of an annotation
        """What has an annotation."""
        match node:
            case ast.Constant(value=str() as text):
                try:
                    return self.annotated(ast.parse(text, mode="eval").body)
                except SyntaxError:
                    return None
            case ast.Name() | ast.Attribute():
                match self.value(node):
                    case Known(cls) if _is_one_of(cls, _SETS):
                        return Of(set)
                    case Known(type() as cls):
                        return class_value(cls)
                    case _:
                        return None
            case ast.Subscript():
                match self.value(node.value):
                    case Known(cls) if _is_one_of(cls, _SETS) or _is_typing(cls, "Set", "FrozenSet", "AbstractSet"):
                        return Of(set, self.annotated(node.slice))
                    case Known(cls) if _is_one_of(cls, _LISTS) or _is_typing(cls, "List", "Sequence"):
                        first = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) else node.slice
                        return Of(list, self.annotated(first))
                    case Known(other) if _is_typing(other, "Final", "Annotated", "ClassVar", "Optional"):
                        first = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) else node.slice
                        return self.annotated(first)
                    case _:
                        return None
            case ast.BinOp(op=ast.BitOr()):
                sides = [node.left, node.right]
                rest = [each for each in sides if not (isinstance(each, ast.Constant) and each.value is None)]
                return self.annotated(rest[0]) if len(rest) == 1 else None
            case _:
                return None

    # -- expressions

    def value(self, node: ast.expr) -> Value:  # noqa: C901, PLR0911, PLR0912 - one case for each kind of expression
        """What an expression is."""
        if self._depth > _DEPTH:
            return None
        self._depth += 1
        try:
            match node:
                case ast.Name():
                    return self.name(node.id)
                case ast.Attribute():
                    return self._attribute(node)
                case ast.Constant():
                    return Of(type(node.value))
                case ast.Set():
                    return Of(set, _common([self.value(each) for each in node.elts]))
                case ast.SetComp():
                    return Of(set, self.value(node.elt))
                case ast.List() | ast.Tuple():
                    return Of(list, _common([self.value(each) for each in node.elts]))
                case ast.ListComp() | ast.GeneratorExp():
                    return Of(list, self.value(node.elt))
                case ast.Lambda():
                    return Local(node, self)
                case ast.NamedExpr():
                    return self.value(node.value)
                case ast.Subscript():
                    items = self.value(node.value)
                    is_item = (
                        isinstance(items, Of) and issubclass(items.cls, list) and not isinstance(node.slice, ast.Slice)
                    )
                    return items.element if is_item and isinstance(items, Of) else None
                case ast.BinOp() if isinstance(node.op, _SET_OPERATORS):
                    return self._combined(node)
                case ast.IfExp():
                    return _common([self.value(node.body), self.value(node.orelse)])
                case ast.Call():
                    return self._called(node)
                case ast.Await():
                    return None
                case _:
                    return None
        finally:
            self._depth -= 1

    def _attribute(self, node: ast.Attribute) -> Value:
        holder = self.value(node.value)
        found = attribute(holder, node.attr)
        if isinstance(found, Known) and isinstance(found.value, property):
            return None  # the walk goes into it
        if found is None and isinstance(holder, Of):
            return _of_instance(holder.cls, node.attr)
        return found

    def _combined(self, node: ast.BinOp) -> Value:
        left, right = self.value(node.left), self.value(node.right)
        if all(isinstance(each, Of) and issubclass(each.cls, set | frozenset) for each in (left, right)):
            return Of(
                set,
                _common(
                    [left.element if isinstance(left, Of) else None, right.element if isinstance(right, Of) else None]
                ),
            )
        if is_unordered_set(left) or (_is_keys(node.left) and _is_keys(node.right)):
            return Of(set)
        return None

    def _called(self, node: ast.Call) -> Value:  # noqa: C901, PLR0911, PLR0912 - one case for each kind of callable
        if isinstance(node.func, ast.Attribute):
            holder = self.value(node.func.value)
            if isinstance(holder, Map):
                return holder if node.func.attr in ("items", "keys", "values") else None
            if isinstance(holder, Of) and issubclass(holder.cls, set | frozenset):
                return Of(set, holder.element if not node.args else None) if node.func.attr in _SET_METHODS else None
        match self.value(node.func):
            case Known(found) if found is super and self.owner is not None and (receiver := self._self()) is not None:
                return Super(receiver, self.owner)
            case Known(cls) if _is_one_of(cls, _SET_TYPES):
                first = self.value(node.args[0]) if node.args else None
                element = first.element if isinstance(first, Of) else None
                if isinstance(first, Of) and first.cls is range:
                    element = Of(int)
                return Of(set, element)
            case Known(cls) if cls is dict and len(node.args) == 1:
                copied = self.value(node.args[0])
                return copied if isinstance(copied, Map) else Of(dict)
            case Known(number) if _is_one_of(number, _NUMBERS):
                return Of(int)
            case Known(type() as cls):
                return class_value(cls)
            case Known(loop) if _is_one_of(loop, _LOOPS):
                return Of(asyncio.AbstractEventLoop)
            case Known(make) if (lock := lock_made_by(make)) is not None:
                return Of(lock)
            case Known(FunctionType() as function):
                return Of(CoroutineType) if inspect.iscoroutinefunction(function) else _returned(function)
            case Local(node=ast.AsyncFunctionDef()):
                return Of(CoroutineType)
            case _:
                return None

    def _self(self) -> type | None:
        """The class of what `self` is, here or in a method around."""
        if self._receiver is not None:
            receiver = self._receiver[1]
            if isinstance(receiver, Of):
                return receiver.cls
            return receiver.value if isinstance(receiver, Known) and isinstance(receiver.value, type) else None
        return self.outer._self() if self.outer is not None else None  # noqa: SLF001 - one of its own kind


def scope_of(function: FunctionType, node: Definition, *, owner: type | None, receiver: Value) -> Scope:
    """The scope of a function that is loaded."""
    cells = dict[str, object]()
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            cells[name] = cell.cell_contents
        except ValueError:
            continue  # not bound yet
    return Scope(node, function.__globals__, cells=cells, owner=owner, receiver=receiver)


def _imported(dotted: str) -> Value:
    if not dotted:
        return None
    if (module := sys.modules.get(dotted)) is not None:
        return Known(module)
    path, _, name = dotted.rpartition(".")
    module = sys.modules.get(path)
    return known(vars(module)[name]) if module is not None and name in vars(module) else Unloaded(dotted)


def _is_one_of(value: object, some: Sequence[object]) -> bool:
    """Whether it is one of them; by identity, because values may compare as they like."""
    return any(value is each for each in some)


def _is_typing(value: object, *names: str) -> bool:
    return _is_one_of(value, [getattr(typing, name) for name in names if hasattr(typing, name)])


def _is_keys(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "keys"


def _common(values: Sequence[Value]) -> Value:
    """What all of them are: sets where each is one, numbers where each is one."""
    if not values:
        return None
    first = values[0]
    if isinstance(first, Of) and all(isinstance(each, Of) and each.cls is first.cls for each in values):
        return first
    return first if isinstance(first, Message | Map) and len(values) == 1 else None


def _returned(function: FunctionType) -> Value:
    """What the annotation of a function promises."""
    return _promised(_annotations(function).get("return"), function.__globals__)


def _annotations(of: FunctionType | type) -> Mapping[str, object]:
    try:
        return inspect.get_annotations(of)
    except NameError:  # one that names what is imported for type checkers alone
        return {}


def _promised(annotation: object, names: Mapping[str, object]) -> Value:
    """What has an annotation that was evaluated, or is a string."""
    if isinstance(annotation, str):
        node = _lambda(annotation)
        return None if node is None else Scope(node, names).annotated(node.body)
    origin: object = get_origin(annotation)
    if origin in _SETS or origin in _LISTS:
        element = _promised(next(iter(get_args(annotation)), None), names)
        return Of(set if origin in _SETS else list, element)
    return class_value(annotation) if isinstance(annotation, type) else None


def _lambda(text: str) -> ast.Lambda | None:
    try:
        body = ast.parse(text, mode="eval").body
    except SyntaxError:
        return None
    return ast.Lambda(args=ast.arguments([], [], None, [], [], None, []), body=body)


_resolving: ContextVar[frozenset[tuple[int, str]]] = ContextVar("protopact_resolving", default=frozenset())


def _of_instance(cls: type, name: str) -> Value:
    """An attribute that instances have: as the class annotates it, or as its methods assign it."""
    resolving = _resolving.get()
    if (id(cls), name) in resolving:
        return None  # assigned from itself
    token = _resolving.set(resolving | {(id(cls), name)})
    try:
        return _annotated_or_assigned(cls, name)
    finally:
        _resolving.reset(token)


def _annotated_or_assigned(cls: type, name: str) -> Value:
    for each in cls.__mro__:
        if (annotation := _annotations(each).get(name)) is not None:
            module = sys.modules.get(each.__module__)
            return _promised(annotation, {} if module is None else vars(module))
    found = list[Value]()
    for owner, function in _methods(cls):
        for assigned, scope in _assigned(owner, function, cls, name):
            if isinstance(assigned, ast.AnnAssign):
                found.append(scope.annotated(assigned.annotation))
            else:
                found.append(scope.value(assigned.value))
    if found and (len(found) == 1 or all(is_unordered_set(each) for each in found)):
        return found[0]
    return None


def _methods(cls: type) -> Iterator[tuple[type, FunctionType]]:
    for owner in cls.__mro__:
        for each in vars(owner).values():
            if isinstance(each, FunctionType) and each.__module__ == owner.__module__:
                yield owner, each


def _assigned(
    owner: type, function: FunctionType, cls: type, name: str
) -> Iterator[tuple[ast.Assign | ast.AnnAssign, Scope]]:
    if name not in function.__code__.co_names:
        return
    source = source_of(function.__code__.co_filename)
    definition = source.definition(function.__code__) if source is not None else None
    if definition is None or not definition.args.args:
        return
    receiver = definition.args.args[0].arg
    for node in ast.walk(definition):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            if (
                isinstance(target, ast.Attribute)
                and target.attr == name
                and isinstance(target.value, ast.Name)
                and target.value.id == receiver
                and isinstance(node, ast.Assign | ast.AnnAssign)
            ):
                yield node, scope_of(function, definition, owner=owner, receiver=Of(cls))
