"""The walk through the code that a workflow class reaches.

It begins with the methods that the engine calls and goes on into functions, methods and constructors of the project
that they name. What is named is looked up in the globals of the loaded function, so that every spelling of an import
comes to the same; what is not known for sure is left alone.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import itertools
import logging
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from types import CoroutineType, FunctionType
from typing import cast

from protopact import contract
from protopact.determinism import guard
from protopact.determinism.rules import RULES, Code, Rule, describe
from protopact.determinism.scope import Scope, scope_of
from protopact.determinism.source import Definition, Source, source_of
from protopact.determinism.value import (
    Known,
    Local,
    Map,
    Of,
    Value,
    is_unordered_set,
    plain,
    rule_of,
    unwrapped,
)
from protopact.workflow import Workflow, unsafe

__all__ = ["Finding", "walk"]

_PASSERS: tuple[object, ...] = (list, tuple, iter, reversed, map, filter, deque, itertools.chain)
"""They keep the order of what they are given, each element by itself: harmless where no order matters."""
_ORDER_TAKERS: tuple[object, ...] = (*_PASSERS, enumerate, zip, itertools.islice, itertools.product)
_PICKERS: tuple[object, ...] = (min, max)
_ORDERLESS: tuple[object, ...] = (sorted, set, frozenset, sum, any, all, len, *_PICKERS)
_LEVELS = frozenset(["debug", "info", "warning", "error", "exception", "critical", "log"])
_LOGGERS = (logging.Logger, logging.LoggerAdapter)
_TEXTS: tuple[object, ...] = (str, repr, ascii, format)
_OUR_PACKAGES = ("protopact", "temporalio")
_IGNORE_HINT = "Write `# protopact: ignore[PD101] why it is safe here`, with the codes that you mean."


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something that a workflow should not do.

    Attributes:
        path: File.
        line: Line, from 1.
        column: Column, from 1.
        code: What it is.
        message: What was found, and in which function.
        hint: What to do instead.
    """

    path: str
    line: int
    column: int
    code: Code = dataclasses.field(compare=False)
    message: str
    hint: str


@dataclass(frozen=True, eq=False, slots=True)
class _Task:
    """How a function was reached."""

    owner: type | None
    receiver: Value
    in_query: bool
    reached: str


def walk(cls: type[Workflow]) -> list[Finding]:
    """What a workflow class reaches that replay could not repeat."""
    return sorted(_Walk(cls).findings())


class _Walk:
    def __init__(self, cls: type[Workflow]) -> None:
        self._cls = cls
        self._packages = {each.__module__.partition(".")[0] for each in cls.__mro__} - {
            *_OUR_PACKAGES,
            "abc",
            "builtins",
        }
        self._tasks = deque[tuple[FunctionType, _Task]]()
        self._seen = dict[tuple[object, int], bool]()
        self._found = dict[tuple[str, int, int, Code], Finding]()

    def findings(self) -> Sequence[Finding]:
        for name, in_query in _entries(self._cls.__protopact__()):
            self.method(self._cls, name, in_query=in_query, reached=self._cls.__qualname__)
        while self._tasks:
            self._go(*self._tasks.popleft())
        return list(self._found.values())

    # -- where it goes

    def method(self, cls: type, name: str, *, in_query: bool, reached: str) -> None:
        """Go through a method of a class, its base classes' included."""
        for owner in cls.__mro__:
            if name in vars(owner):
                self.follow(Known(vars(owner)[name]), in_query=in_query, reached=reached, owner=owner, receiver=cls)
                return

    def follow(
        self, value: Value, *, in_query: bool, reached: str, owner: type | None = None, receiver: type | None = None
    ) -> None:
        """Go through a function, method, property or constructor of the project."""
        if not isinstance(value, Known):
            return
        known = value.value
        if isinstance(known, type):
            self._construct(known, in_query=in_query, reached=reached)
            return
        bound: Value = Of(receiver) if receiver is not None else None
        if isinstance(known, property):
            known = known.fget
        elif isinstance(known, functools.cached_property):
            known = cast("object", known.func)
        elif isinstance(known, classmethod | staticmethod):
            bound = Known(receiver) if isinstance(known, classmethod) else None
            known = plain(cast("object", known))
        for each in unwrapped(known):
            if isinstance(each, FunctionType) and self._is_own(each.__code__.co_filename, each.__module__):
                key = (each.__code__, id(receiver))
                if key not in self._seen or (self._seen[key] and not in_query):
                    self._seen[key] = in_query
                    self._tasks.append((each, _Task(owner, bound, in_query, reached)))

    def _construct(self, cls: type, *, in_query: bool, reached: str) -> None:
        module = sys.modules.get(cls.__module__)
        if self._is_own(getattr(module, "__file__", None), cls.__module__):
            for name in ("__new__", "__init__", "__post_init__"):
                self.method(cls, name, in_query=in_query, reached=reached)

    def _is_own(self, filename: str | None, module: str | None) -> bool:
        package = (module or "").partition(".")[0]
        if filename is None or package in _OUR_PACKAGES or filename.endswith("_protopact.py"):
            return False
        if guard.is_installed_package(filename):
            return package in self._packages
        return not guard.is_standard_library(filename)

    def _go(self, function: FunctionType, task: _Task) -> None:
        source = source_of(function.__code__.co_filename)
        node = source.definition(function.__code__) if source is not None else None
        if source is None or node is None:
            return
        scope = scope_of(function, node, owner=task.owner, receiver=task.receiver)
        _Reader(self, source, scope, function.__qualname__, task).read(node)

    # -- what it finds

    def report(self, finding: Finding, end_line: int, source: Source, *, in_query: bool) -> None:
        """Keep a finding, unless it is harmless or its line says so."""
        if in_query and finding.code.is_harmless_in_queries:
            return
        for line in range(finding.line, end_line + 1):
            if finding.code.value in source.ignored.get(line, ()):
                return
            if line in source.malformed:
                column = source.malformed[line]
                self._found[finding.path, line, column, Code.IGNORE_COMMENT] = Finding(
                    finding.path,
                    line,
                    column,
                    Code.IGNORE_COMMENT,
                    "an ignore comment needs codes and a reason",
                    _IGNORE_HINT,
                )
        self._found.setdefault((finding.path, finding.line, finding.column, finding.code), finding)


class _Reader(ast.NodeVisitor):
    """Reads one function, and the functions in it that it uses."""

    def __init__(self, walk: _Walk, source: Source, scope: Scope, name: str, task: _Task) -> None:
        self._walk = walk
        self._source = source
        self._scope = scope
        self._where = name if name.startswith(task.reached) else f"{name}, reached from {task.reached}"
        self._in_query = task.in_query
        self._reached = task.reached
        self._read = set[int]()
        self._orderless = set[ast.expr]()
        self._is_logged = False

    def read(self, node: Definition) -> None:
        """Read a function: its defaults, and its body."""
        if id(node) in self._read:
            return
        self._read.add(id(node))
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.visit(default)
        for each in [node.body] if isinstance(node, ast.Lambda) else node.body:
            self.visit(each)

    def _inside(self, local: Local) -> None:
        outer = self._scope
        self._scope = Scope(local.node, outer.names, outer=local.scope)
        self.read(local.node)
        self._scope = outer

    def _report(self, node: ast.AST, code: Code, what: str, hint: str) -> None:
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        finding = Finding(self._source.filename, line, column + 1, code, f"{what} in {self._where}", hint)
        self._walk.report(finding, getattr(node, "end_lineno", line), self._source, in_query=self._in_query)

    def _report_rule(self, node: ast.AST, rule: Rule) -> None:
        self._report(node, rule.code, f"`{rule.call.removeprefix('builtins.')}`", rule.instead)

    def _follow(self, value: Value, holder: Value = None) -> None:
        receiver = holder.cls if isinstance(holder, Of) else None
        if isinstance(holder, Known) and isinstance(holder.value, type):
            receiver = holder.value
        self._walk.follow(value, in_query=self._in_query, reached=self._reached, receiver=receiver)

    # -- names

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._refer(node, self._scope.value(node))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.ctx, ast.Load) and self._refer_attribute(node):
            return
        self.visit(node.value)

    def _refer_attribute(self, node: ast.Attribute) -> bool:
        holder = self._scope.value(node.value)
        if (
            isinstance(holder, Known)
            and isinstance(holder.value, Random)
            and (drawn := RULES.get(f"random.{node.attr}"))
        ):
            self._report(node, drawn.code, f"`{node.attr}` of a generator that runs share", drawn.instead)
            return True
        if isinstance(holder, Of):
            for owner in holder.cls.__mro__:
                if node.attr in vars(owner):
                    self._walk.follow(
                        Known(vars(owner)[node.attr]),
                        in_query=self._in_query,
                        reached=self._reached,
                        owner=owner,
                        receiver=holder.cls,
                    )
                    break
        return self._refer(node, self._scope.value(node), holder)

    def _refer(self, node: ast.expr, value: Value, holder: Value = None, *, is_call: bool = False) -> bool:
        """Something is named; whether that is reported."""
        if isinstance(value, Local):
            self._inside(value)
            return False
        rule = rule_of(value)
        if rule is None:
            is_class = isinstance(value, Known) and isinstance(value.value, type)
            if not is_class or is_call:
                self._follow(value, holder)
            return False
        if not is_call and _is_class(value, rule):
            return False  # a name in `isinstance` does nothing
        self._report_rule(node, rule)
        return True

    # -- calls

    def visit_Call(self, node: ast.Call) -> None:
        value = self._scope.value(node.func)
        if _is_side_effect(value):
            return  # what it is given runs once, outside
        rule = rule_of(value)
        if rule is not None:
            if rule.call == "asyncio.as_completed" and node.args and _are_coroutines(self._scope.value(node.args[0])):
                what = "`asyncio.as_completed` of coroutines, which starts them in the order of their addresses,"
                self._report(node.func, Code.COROUTINE_ORDER, what, describe(Code.COROUTINE_ORDER))
            elif not _is_harmless(rule, node):
                self._report_rule(node.func, rule)
        elif isinstance(value, Known) and isinstance(value.value, type):
            self._refer(node.func, value, is_call=True)
            self._factories(node.func, value.value)
        else:
            self.visit(node.func)
        called = value.value if isinstance(value, Known) else None
        self._takes_order(node, called)
        was_logged = self._is_logged
        self._is_logged |= called is print or self._logs(node.func)
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            self.visit(argument)
        self._is_logged = was_logged

    def _logs(self, node: ast.expr) -> bool:
        """Whether it is a method of a logger, or may be, whose lines no replay compares."""
        if not isinstance(node, ast.Attribute) or node.attr not in _LEVELS:
            return False
        match self._scope.value(node.value):
            case None:
                return True
            case Of(cls):
                return issubclass(cls, _LOGGERS)
            case Known(holder):
                return holder is logging or isinstance(holder, _LOGGERS)
            case _:
                return False

    def _factories(self, node: ast.expr, cls: type) -> None:
        if dataclasses.is_dataclass(cls):
            for field in dataclasses.fields(cls):
                if field.default_factory is not dataclasses.MISSING:
                    self._refer(node, Known(field.default_factory))

    def _takes_order(self, node: ast.Call, called: object) -> None:
        is_ordering = _is_one_of(called, _PICKERS) and any(keyword.arg == "key" for keyword in node.keywords)
        if (_is_one_of(called, _ORDERLESS) and not is_ordering) or (
            _is_one_of(called, _PASSERS) and node in self._orderless
        ):
            self._orderless.update(node.args)
        elif _is_one_of(called, _ORDER_TAKERS):
            for argument in node.args:
                self._iterates(argument)
        elif is_ordering and len(node.args) == 1:
            self._iterates(node.args[0], "the first of equals in")
        elif _is_one_of(called, _TEXTS) and node.args:
            self._tells(node.args[0])
        else:
            self._takes_order_by_method(node)

    def _takes_order_by_method(self, node: ast.Call) -> None:
        match node.func:
            # Sets have no such methods, so whoever has it is a list, or like one.
            case ast.Attribute(attr="extend" | "extendleft" | "join") if len(node.args) == 1:
                self._iterates(node.args[0])
            case ast.Attribute(attr="fromkeys") if node.args:
                self._iterates(node.args[0])
            case ast.Attribute(attr="format", value=ast.Constant(value=str())):
                for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
                    self._tells(argument)
            case ast.Attribute(attr="pop") if not node.args and is_unordered_set(self._scope.value(node.func.value)):
                self._report(node, Code.SET_ORDER, "`pop` takes whichever element of a set", describe(Code.SET_ORDER))
            case _:
                pass

    # -- order

    def _iterates(self, node: ast.expr, how: str = "iteration over") -> None:
        value = self._scope.value(node)
        if is_unordered_set(value):
            self._report(node, Code.SET_ORDER, f"{how} a set", describe(Code.SET_ORDER))
        elif isinstance(value, Map):
            self._report(node, Code.MAP_ORDER, f"{how} the map {value.name}", describe(Code.MAP_ORDER))

    def _tells(self, node: ast.expr) -> None:
        """Something is turned into text, which nobody compares if it is for the log alone."""
        if not self._is_logged:
            self._iterates(node, "the text of")

    def visit_For(self, node: ast.For) -> None:
        self._iterates(node.iter)
        self.generic_visit(node)

    def visit_YieldFrom(self, node: ast.YieldFrom) -> None:
        self._iterates(node.value)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        # Names on the left, or a part of a list.
        if any(_is_part(target) for target in node.targets):
            self._iterates(node.value)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.op, ast.Add):  # sets cannot be added, but to a list
            self._iterates(node.value)
        self.generic_visit(node)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> None:
        self._tells(node.value)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant) and isinstance(node.left.value, str):
            for each in node.right.elts if isinstance(node.right, ast.Tuple) else [node.right]:
                self._tells(each)
        self.generic_visit(node)

    def visit_Set(self, node: ast.Set) -> None:
        self._orderless.update(node.elts)
        self.generic_visit(node)

    def visit_List(self, node: ast.List | ast.Tuple) -> None:
        if node in self._orderless:
            self._orderless.update(node.elts)
        self.generic_visit(node)

    visit_Tuple = visit_List  # noqa: N815 - ast's name

    def visit_Starred(self, node: ast.Starred) -> None:
        if isinstance(node.ctx, ast.Load) and node not in self._orderless:
            self._iterates(node.value)
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._comprehension(node)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._comprehension(node)

    def visit_SetComp(self, node: ast.SetComp) -> None:
        self._comprehension(node, is_orderless=True)

    def _comprehension(
        self, node: ast.ListComp | ast.GeneratorExp | ast.DictComp | ast.SetComp, *, is_orderless: bool = False
    ) -> None:
        for generator in node.generators:
            if is_orderless or node in self._orderless:
                self._orderless.add(generator.iter)
            else:
                self._iterates(generator.iter)
        self.generic_visit(node)

    # -- what is not run, or not judged

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)
        if not isinstance(node.target, ast.Name):
            self.visit(node.target)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for each in (*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(each)
        if node.decorator_list:
            self._inside(Local(node, self._scope))  # whatever the decorator makes of it, it is not named as itself

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - ast's name

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._inside(Local(node, self._scope))

    def visit_With(self, node: ast.With) -> None:
        if any(_is_lifted(self._scope, item.context_expr) for item in node.items):
            return
        self.generic_visit(node)


def _entries(described: contract.Workflow[object, object]) -> Iterator[tuple[str, bool]]:
    """The methods that an engine calls, and whether a query does."""
    yield "__init__", False
    yield "run", False
    for signal in described.signals:
        yield f"on_{signal.signal.method}", False
    for update in described.updates:
        yield update.update.method, False
        if update.validate:
            yield f"validate_{update.update.method}", False
    for query in described.queries:
        yield query.method, True


def _is_harmless(rule: Rule, node: ast.Call) -> bool:
    """Whether a call has what makes it harmless, or may have it.

    None says nothing: `random.Random(None)` seeds nothing, `time.gmtime(None)` is of now.
    """
    wanted = rule.harmless_with
    if wanted is None:
        return False
    if any(isinstance(each, ast.Starred) for each in node.args) or any(each.arg is None for each in node.keywords):
        return True
    given = {each.arg: each.value for each in node.keywords}.get(wanted.name)
    if len(node.args) > wanted.position:
        given = node.args[wanted.position]
    if given is None or isinstance(given, ast.Constant):
        return wanted.is_met_by(given and given.value)
    return True


def _is_one_of(value: object, some: Sequence[object]) -> bool:
    """Whether it is one of them; by identity, because values may compare as they like."""
    return any(value is each for each in some)


def _is_part(target: ast.expr) -> bool:
    is_slice = isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Slice)
    return is_slice or isinstance(target, ast.Tuple | ast.List)


def _is_class(value: Value, rule: Rule) -> bool:
    if isinstance(value, Known):
        return isinstance(value.value, type)
    return rule.call.rpartition(".")[2][:1].isupper()


def _are_coroutines(value: Value) -> bool:
    return isinstance(value, Of) and isinstance(value.element, Of) and value.element.cls is CoroutineType


def _is_side_effect(value: Value) -> bool:
    """Whether it is `workflow.side_effect`, which hands what it is given to the worker."""
    found = value.value if isinstance(value, Known) else None
    return (
        isinstance(found, FunctionType)
        and found.__name__ == "side_effect"
        and found.__module__.startswith("protopact.workflow")
    )


def _is_lifted(scope: Scope, node: ast.expr) -> bool:
    value = scope.value(node.func) if isinstance(node, ast.Call) else None
    return isinstance(value, Known) and value.value is unsafe.guard_lifted
