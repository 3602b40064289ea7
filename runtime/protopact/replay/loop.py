"""The event loop that workflow code runs on: a queue of callbacks, run in order until nothing is left.

It is an `asyncio.AbstractEventLoop`, and its tasks and futures are asyncio's own, so that everything of asyncio that is
made of callbacks works. It has no clock and waits for nothing: whoever drives it puts callbacks in and runs them. What
of asyncio reaches outside, and so could not be repeated by replay, is refused.

Tasks and futures hash by the order of their creation, not by memory address, so that the sets in which
`asyncio.TaskGroup`, `asyncio.wait` and `asyncio.as_completed` keep them iterate alike in every process.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import sys
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, NoReturn, Protocol, Self, TypeVar, TypeVarTuple, Unpack, cast

from protopact.errors import NondeterministicCallError, ReadOnlyContextError

__all__ = ["ExceptionContext", "ExceptionHandler", "Future", "Handle", "Loop", "Task", "TimerStarter", "Unwinding"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
ExceptionContext = dict[str, Any]  # asyncio's own type of what an exception handler is told
ExceptionHandler = Callable[[asyncio.AbstractEventLoop, ExceptionContext], object]

_HASH_BITS = 40
"""Low bits of a hash, which count creations; the bits above tell runs apart in asyncio's registry of all tasks."""

_SWEEP = 8
"""How many tasks, beyond twice the open ones, are collected before those that are done are let go."""

_MAX_CLOSES = 100
"""How often a coroutine that awaits on its way out is closed anew."""

_logger = logging.getLogger("protopact.workflow")


class Unwinding(BaseException):
    """Raised by what a coroutine calls while its run is let go."""


class Handle(functools.partial[object]):
    """A callback that waits for its turn; what `asyncio.Handle` is elsewhere, at half the cost."""

    __slots__ = ()

    def cancel(self) -> None:
        """Do nothing when the turn comes."""
        self.__setstate__((_nothing, (), {}, None))  # type: ignore[attr-defined] # typeshed leaves out what pickling uses

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.func is _nothing


class Future(asyncio.Future[T]):
    """A future that hashes by the order of creation."""

    __slots__ = ("_hash",)

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop=loop)
        self._hash = loop.next_hash()

    def __hash__(self) -> int:
        return self._hash


class Task(asyncio.Task[T]):
    """A task that hashes by the order of creation, and that its loop keeps alive until it is done.

    Attributes:
        context: Context that its coroutine runs in.
    """

    __slots__ = ("_hash", "context")

    def __init__(
        self, coro: Coroutine[Any, Any, T], loop: Loop, name: str, context: contextvars.Context | None = None
    ) -> None:
        if context is None:
            context = contextvars.copy_context()
        self.context = context
        self._hash = loop.next_hash()
        super().__init__(coro, loop=loop, name=name, context=context)
        loop.keep(self)

    def __hash__(self) -> int:
        return self._hash


class TimerStarter(Protocol):
    """Starts a durable timer that calls back after `delay` seconds."""

    def __call__(self, delay: float, handle: Handle) -> asyncio.TimerHandle:
        """Start the timer; its handle cancels it."""
        ...


_AsyncgenHook = Callable[[AsyncGenerator[Any, Any]], None] | None


class _Ready(Protocol):
    def append(self, handle: Callable[[], object], /) -> None: ...


class _Refuse:
    """Stands in for the queue where nothing may be started."""

    def append(self, _handle: Callable[[], object], /) -> NoReturn:
        raise ReadOnlyContextError(
            "a query or a validator must change nothing: expected it to read the workflow's state and return, found "
            "that it starts or wakes a task. Move that to a signal, an update or `run`."
        )


class _Forget:
    """Stands in for the queue of a run that is let go."""

    def append(self, _handle: Callable[[], object], /) -> None:
        pass


def _refused(name: str, instead: str) -> Any:  # noqa: ANN401 - takes the place of methods of any signature
    def refuse(*_args: object, **_kwargs: object) -> NoReturn:
        raise NondeterministicCallError(
            f"the event loop's `{name}` was called in a workflow, and what it does could not be repeated by replay. "
            f"{instead}"
        )

    return refuse


_OUTSIDE = "Do it in an activity: sockets, files, threads and processes belong there."
_DRIVEN = "The engine runs the loop: `await` what you wait for, or start it with `asyncio.create_task`."
_SIGNALS = "Declare a signal in the contract and receive it; operating system signals are the worker process's."


class Loop(asyncio.AbstractEventLoop):
    """The loop of one run.

    `with loop:` makes it the running loop. Whoever drives it runs what is `ready`.

    Args:
        start_timer: Starts a durable timer.

    Attributes:
        time_ns: Workflow time in nanoseconds since the Unix epoch; set by whoever drives the loop.
        is_replaying: Whether what runs has run before; errors that nobody awaits were reported then.
        ready: Callbacks that wait for their turn.
        is_unwound: Whether the run has been let go.
    """

    def __init__(self, start_timer: TimerStarter) -> None:
        self.time_ns = 0
        self.is_replaying = False
        self.ready: deque[Callable[[], object]] = deque()
        self.is_unwound = False
        self._queue: _Ready = self.ready
        self._start_timer = start_timer
        self._next_hash = 0
        self._tasks: list[Task[Any]] = []
        self._sweep_at = _SWEEP
        self._asyncgens: weakref.WeakSet[AsyncGenerator[Any, Any]] | None = None
        self._exception_handler: ExceptionHandler | None = None
        self._outer: asyncio.AbstractEventLoop | None = None
        self._outer_hooks: tuple[_AsyncgenHook, _AsyncgenHook] = (None, None)

    # What drives the loop.

    def __enter__(self) -> Self:
        outer = asyncio._get_running_loop()  # noqa: SLF001 - made for loops; the public one raises
        if outer is not None and (isinstance(outer, Loop) or asyncio.current_task(outer) is not None):
            raise RuntimeError(
                "a workflow was advanced from inside an asyncio task or another workflow: call it from a plain "
                "callback (`loop.call_soon`)"
            )
        self._outer = outer
        hooks = sys.get_asyncgen_hooks()
        self._outer_hooks = (hooks.firstiter, hooks.finalizer)
        sys.set_asyncgen_hooks(firstiter=self._track, finalizer=None)
        asyncio._set_running_loop(self)  # noqa: SLF001 - made for loops
        return self

    def __exit__(self, *_: object) -> None:
        asyncio._set_running_loop(self._outer)  # noqa: SLF001 - made for loops
        firstiter, finalizer = self._outer_hooks
        sys.set_asyncgen_hooks(firstiter=firstiter, finalizer=finalizer)
        self._outer = None

    def set_salt(self, salt: int) -> None:
        """Tell the run apart in asyncio's registry of all tasks: by a number that is the same in every process."""
        self._next_hash |= (salt & 0xFFFFF) << _HASH_BITS

    def next_hash(self) -> int:
        """Hash of the next task or future."""
        self._next_hash = value = self._next_hash + 1
        return value

    def keep(self, task: Task[Any]) -> None:
        """Keep a task alive until it is done: asyncio itself holds tasks weakly."""
        tasks = self._tasks
        tasks.append(task)
        if len(tasks) > self._sweep_at:
            tasks[:] = [task for task in tasks if not task.done()]
            self._sweep_at = 2 * len(tasks) + _SWEEP

    def open_tasks(self) -> list[Task[Any]]:
        """Tasks that are not done, in the order of their creation."""
        return [task for task in self._tasks if not task.done()]

    def set_read_only(self, read_only: bool) -> None:  # noqa: FBT001 - a switch
        """Refuse everything that starts or wakes something, or stop refusing."""
        self._queue = _Refuse() if read_only else self.ready

    def unwind(self) -> None:
        """Close every coroutine and asynchronous generator, newest first, with no effect on anything outside."""
        if self.is_unwound:
            return
        self.is_unwound = True
        self._queue = _Forget()
        self.ready.clear()
        if self._asyncgens is None and not self.open_tasks():
            return
        with self:
            while tasks := self.open_tasks():
                self._tasks.clear()
                for task in reversed(tasks):
                    setattr(task, "_log_destroy_pending", False)  # noqa: B010 - asyncio has no other way to say that a task ends unfinished on purpose
                    task.context.run(_close, task.get_coro())
            for generator in list(self._asyncgens or ()):
                contextvars.Context().run(_close, generator.aclose())

    def _track(self, generator: AsyncGenerator[Any, Any]) -> None:
        if self._asyncgens is None:
            self._asyncgens = weakref.WeakSet()
        self._asyncgens.add(generator)

    # What asyncio and workflow code call.

    def call_soon(  # type: ignore[override] # asyncio promises a class of its own; nothing asks for more than `cancel` and `cancelled`
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> Handle:
        """Queue a callback."""
        handle = Handle((contextvars.copy_context() if context is None else context).run, callback, *args)
        self._queue.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back after `delay` seconds, by a durable timer."""
        run = (contextvars.copy_context() if context is None else context).run
        return self._start_timer(delay, Handle(run, callback, *args))

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back at the loop's time `when`, by a durable timer of whole milliseconds, as in Temporal's SDK."""
        return self.call_later(round(when - self.time(), 3), callback, *args, context=context)

    def time(self) -> float:
        """Workflow time in seconds since the Unix epoch."""
        return self.time_ns / 1e9

    def create_future(self) -> Future[Any]:
        """A future of this loop."""
        return Future(self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
        **_options: object,
    ) -> Task[T]:
        """Start a task."""
        coroutine = cast("Coroutine[Any, Any, T]", coro)
        if self._queue is not self.ready:
            coroutine.close()
            if self.is_unwound:
                raise Unwinding
        count = self._next_hash & ((1 << _HASH_BITS) - 1)
        return Task(coroutine, self, f"task-{count}" if name is None else str(name), context)

    get_debug = staticmethod(bool)  # pyright: ignore[reportAssignmentType] # called without arguments, it is False
    """False. Each task and each future asks, so this is answered in C."""

    def is_running(self) -> bool:
        """True: code that sees this loop runs on it."""
        return True

    def is_closed(self) -> bool:
        """Whether the run has been let go."""
        return self.is_unwound

    def get_task_factory(self) -> None:
        """None: tasks are always this loop's own."""

    def get_exception_handler(self) -> ExceptionHandler | None:
        """What `set_exception_handler` set."""
        return self._exception_handler

    def set_exception_handler(self, handler: ExceptionHandler | None) -> None:
        """Call `handler` with errors that nobody awaits, instead of logging them."""
        self._exception_handler = handler

    def default_exception_handler(self, context: ExceptionContext) -> None:
        """Log an error that nobody awaits."""
        error = context.get("exception")
        _logger.error("%s", context.get("message") or "Unhandled exception in a workflow", exc_info=error)

    def call_exception_handler(self, context: ExceptionContext) -> None:
        """Report an error that nobody awaits."""
        if self.is_unwound or self.is_replaying:
            return
        if self._exception_handler is None:
            self.default_exception_handler(context)
        else:
            self._exception_handler(self, context)

    # What reaches outside.

    run_forever = _refused("run_forever", _DRIVEN)
    run_until_complete = _refused("run_until_complete", _DRIVEN)
    stop = _refused("stop", _DRIVEN)
    close = _refused("close", _DRIVEN)
    shutdown_asyncgens = _refused("shutdown_asyncgens", _DRIVEN)
    set_debug = _refused("set_debug", _DRIVEN)
    set_task_factory = _refused("set_task_factory", _DRIVEN)
    call_soon_threadsafe = _refused("call_soon_threadsafe", "Use `call_soon`; a workflow has one thread.")
    run_in_executor = _refused("run_in_executor", _OUTSIDE)
    set_default_executor = _refused("set_default_executor", _OUTSIDE)
    shutdown_default_executor = _refused("shutdown_default_executor", _OUTSIDE)
    getaddrinfo = _refused("getaddrinfo", _OUTSIDE)
    getnameinfo = _refused("getnameinfo", _OUTSIDE)
    create_connection = _refused("create_connection", _OUTSIDE)
    create_server = _refused("create_server", _OUTSIDE)
    create_unix_connection = _refused("create_unix_connection", _OUTSIDE)
    create_unix_server = _refused("create_unix_server", _OUTSIDE)
    create_datagram_endpoint = _refused("create_datagram_endpoint", _OUTSIDE)
    connect_accepted_socket = _refused("connect_accepted_socket", _OUTSIDE)
    connect_read_pipe = _refused("connect_read_pipe", _OUTSIDE)
    connect_write_pipe = _refused("connect_write_pipe", _OUTSIDE)
    start_tls = _refused("start_tls", _OUTSIDE)
    sendfile = _refused("sendfile", _OUTSIDE)
    subprocess_exec = _refused("subprocess_exec", _OUTSIDE)
    subprocess_shell = _refused("subprocess_shell", _OUTSIDE)
    add_reader = _refused("add_reader", _OUTSIDE)
    remove_reader = _refused("remove_reader", _OUTSIDE)
    add_writer = _refused("add_writer", _OUTSIDE)
    remove_writer = _refused("remove_writer", _OUTSIDE)
    sock_accept = _refused("sock_accept", _OUTSIDE)
    sock_connect = _refused("sock_connect", _OUTSIDE)
    sock_recv = _refused("sock_recv", _OUTSIDE)
    sock_recv_into = _refused("sock_recv_into", _OUTSIDE)
    sock_recvfrom = _refused("sock_recvfrom", _OUTSIDE)
    sock_recvfrom_into = _refused("sock_recvfrom_into", _OUTSIDE)
    sock_sendall = _refused("sock_sendall", _OUTSIDE)
    sock_sendfile = _refused("sock_sendfile", _OUTSIDE)
    sock_sendto = _refused("sock_sendto", _OUTSIDE)
    add_signal_handler = _refused("add_signal_handler", _SIGNALS)
    remove_signal_handler = _refused("remove_signal_handler", _SIGNALS)


def _nothing() -> None:
    """What a cancelled handle does."""


class _Closable(Protocol):
    def close(self) -> object: ...


def _close(coroutine: _Closable) -> None:
    """Close a coroutine, and again for each `await` on its way out."""
    for _ in range(_MAX_CLOSES):
        try:
            coroutine.close()
        except (SystemExit, KeyboardInterrupt):
            raise
        except RuntimeError:
            continue  # it awaited something on its way out: closed again, it goes on from there
        except BaseException:  # noqa: BLE001 - whatever a run that is let go raises has no effect
            return
        else:
            return
    _logger.error("A coroutine of a workflow that was let go awaits without end and is left behind: %r", coroutine)
