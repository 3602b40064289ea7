"""The guard at run time: what workflow code may not call is refused where it is called.

Functions of `time`, `random`, `os`, `uuid`, `secrets` and `signal`, the start of threads and the waiting for them are
found by the attributes of their modules and classes, files, sockets and processes by an audit hook. Both are put in
place once for the process, and look first whether the caller's thread runs a workflow at this moment; everybody else
gets what they always got. Being in a workflow is being on its event loop, on either engine (`protopact.workflow`'s
`find_runtime`).

Who is to blame is told by the stack: the nearest frame outside of the standard library, so that a workflow answers for
what it has `tempfile` or `urllib` do. Logging, warnings, tracebacks, imports, finalizers, what Python's collector calls
and debuggers are nobody's.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib
import inspect
import re
import sys
import sysconfig
import threading
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType
from typing import Any, cast

from protopact.determinism.rules import AUDITED, RULES, Code, Rule
from protopact.errors import NondeterministicCallError
from protopact.workflow import RUNTIME_ATTRIBUTE, Runtime, unsafe

__all__ = ["install", "is_guarded", "is_installed_package", "is_standard_library"]

_BYSTANDERS = frozenset(
    [
        *("importlib", "linecache", "logging", "traceback", "tokenize", "warnings", "inspect", "weakref"),
        *("pdb", "bdb", "pydevd", "_pydevd_bundle", "debugpy", "coverage"),
    ]
)
"""Modules that act when they are asked to by nobody, or for people only: what they call is not the workflow's."""

_ENGINES = ("protopact", "temporalio")
"""Packages that run the workflow's code: beyond their frames the stack is not the workflow's."""

_OBSERVER = "temporalio.contrib.opentelemetry"
"""Watches workflows from beside their code: its spans have ids and times of their own, and it knows of replays."""

_LIBRARY = tuple(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib"))

_find_loop = asyncio._get_running_loop  # noqa: SLF001 - made for this; the public one raises
_get_frame = sys._getframe  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] # the only way to one's caller
_lock = threading.Lock()
_installed: dict[str, object] = {}
_is_listening = False


@functools.cache
def is_standard_library(filename: str) -> bool:
    """Whether a file of code belongs to Python itself."""
    return filename.startswith("<frozen ") or (filename.startswith(_LIBRARY) and not is_installed_package(filename))


@functools.cache
def is_installed_package(filename: str) -> bool:
    """Whether a file of code was installed with a package."""
    return "/site-packages/" in filename or "/dist-packages/" in filename


def is_guarded(value: object) -> bool:
    """Whether an object stands in for a function of a module."""
    return isinstance(value, _Guarded)


def install() -> None:
    """Put the guard in place for the life of the process, or again where something has replaced it. Idempotent."""
    global _is_listening  # noqa: PLW0603 - an audit hook is the process's, and stays
    with _lock:
        for rule in RULES.values():
            if rule.is_patched:
                _patch(rule)
        if not _is_listening:
            _is_listening = True
            sys.addaudithook(_listener())


def _patch(rule: Rule) -> None:
    call = rule.call
    path, _, attribute = call.rpartition(".")
    module, _, owner = path.partition(".")
    holder = importlib.import_module(module)
    if owner:
        holder = getattr(holder, owner)
    original = getattr(holder, attribute, None)
    if original is None or original is _installed.get(call):
        return  # this Python has no such function; or it is guarded already
    guarded = _method(original, rule) if owner else _Guarded(original, rule)
    _installed[call] = guarded
    setattr(holder, attribute, guarded)


_Function = Callable[..., Any]  # functions of the standard library, of any signature


class _Guarded:
    """Stands in for a function of a module; equal to it, so that `os.stat in os.supports_fd` goes on to hold.

    It is no function, because a function that stands in a class turns into a method: `clock = time.monotonic`.
    """

    __slots__ = ("__dict__", "_original", "_rule")

    def __init__(self, original: _Function, rule: Rule) -> None:
        functools.update_wrapper(self, original)
        self.__module__ = rule.call.rpartition(".")[0]  # where pickle finds it: `os.stat` says `posix`
        self._original = original
        self._rule = rule

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - of the function that it stands in for
        runtime = getattr(_find_loop(), RUNTIME_ATTRIBUTE, None)
        if runtime is not None:
            _judge_call(runtime, self._rule, args, kwargs)
        return self._original(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        return other is self or bool(self._original == other)

    def __hash__(self) -> int:
        return hash(self._original)

    def __repr__(self) -> str:
        return repr(self._original)

    def __reduce__(self) -> str:
        return str(self._original.__name__)


def _method(original: _Function, rule: Rule) -> _Function:
    @functools.wraps(original)
    def guarded(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - of the method that it stands in for
        runtime = getattr(_find_loop(), RUNTIME_ATTRIBUTE, None)
        if runtime is not None:
            _judge_call(runtime, rule, args[1:], kwargs)
        return original(*args, **kwargs)

    return guarded


def _judge_call(runtime: Runtime, rule: Rule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    harmless_with = rule.harmless_with
    if harmless_with is None or not harmless_with.is_given(args, kwargs):
        _judge(runtime, f"{rule.call}()", rule.code, rule.instead, _get_frame(2))


def _listener() -> Callable[[str, tuple[Any, ...]], None]:
    # All that the hook needs is its own: it outlives the names of this module when the process ends.
    find, find_loop, attribute = AUDITED.get, _find_loop, RUNTIME_ATTRIBUTE
    get_frame, judge = _get_frame, _judge

    def listen(event: str, args: tuple[Any, ...]) -> None:
        if (found := find(event)) is None or (runtime := getattr(find_loop(), attribute, None)) is None:
            return
        call = f"{event}({args[0]!r})" if args and isinstance(args[0], str) else f"{event}()"
        judge(runtime, call, *found, get_frame(1))

    return listen


def _judge(runtime: Runtime, call: str, code: Code, instead: str, caller: FrameType) -> None:
    """Refuse a call, unless it is nobody's or nobody minds.

    Raises:
        NondeterministicCallError: It is the workflow's.
    """
    if unsafe.is_guard_lifted():
        return
    in_query = runtime.in_query()
    if in_query and code.is_harmless_in_queries:
        return
    culprits, asked = _culprits(caller)
    if not culprits:
        return
    if asked is not None:
        module = re.sub(r"^(genericpath|posixpath)$", "os.path", str(asked.f_globals.get("__name__")))
        call = f"{module}.{asked.f_code.co_qualname}()`, which calls `{call}`,"
    else:
        call = f"{call}`"
    error = NondeterministicCallError(
        f"{code.value}: `{call} was called in a {'query' if in_query else 'workflow'}, {_places(culprits)}, and what "
        f"it does could not be repeated by replay. {instead}"
    )
    if not in_query:
        runtime.fail_task(error)
    raise error


def _culprits(caller: FrameType) -> tuple[list[FrameType], FrameType | None]:
    """The frames of the workflow, innermost first, and what they called of the standard library.

    There is none where a bystander, an observer, the collector or the engine itself has made the call.
    """
    of_collector = [_code_of(callback) for callback in gc.callbacks]
    culprits = list[FrameType]()
    asked: FrameType | None = None
    frame: FrameType | None = caller
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        module = name.partition(".")[0]
        code = frame.f_code
        filename = code.co_filename
        if module in _BYSTANDERS or filename.startswith("<frozen importlib") or code.co_name == "__del__":
            return [], None
        if code in of_collector:
            return [], None
        if module in _ENGINES:
            if name.startswith(_OBSERVER):
                return [], None
            break
        if not is_standard_library(filename):
            culprits.append(frame)
        elif not culprits:
            asked = frame
        frame = frame.f_back
    return culprits, asked


def _code_of(callback: object) -> CodeType | None:
    """What runs when a callback is called: of a function, a method, a partial, or an object that can be called."""
    while isinstance(callback, functools.partial):
        callback = cast("object", callback.func)
    function = getattr(callback, "__func__", callback)
    if not isinstance(function, FunctionType):
        function = inspect.getattr_static(type(callback), "__call__", None)
    return function.__code__ if isinstance(function, FunctionType) else None


def _places(culprits: list[FrameType]) -> str:
    """The line of the workflow, and the line of the package that it called."""
    written = [frame for frame in culprits if not frame.f_code.co_filename.startswith("<")] or culprits
    own = next((frame for frame in written if not is_installed_package(frame.f_code.co_filename)), written[0])
    place = f"at {own.f_code.co_filename}:{own.f_lineno} in {own.f_code.co_qualname}"
    if own is written[0]:
        return place
    return f"{place} through {written[0].f_code.co_filename}:{written[0].f_lineno}"
