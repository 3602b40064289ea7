"""The calls that replay could not repeat: the one table behind both nets.

Codes are stable. `docs/determinism.md` explains each; its table and the one here are held equal by a test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

__all__ = ["AUDITED", "RULES", "Argument", "Code", "Rule", "describe"]


class Code(Enum):
    """What code of a workflow does that it should not: the stable code and, in the name, what it means.

    1 answers that differ from call to call, 2 effects and waits outside, 3 order that differs from process to process,
    4 the check's own comments, 9 warnings.
    """

    CLOCK = "PD101"
    RANDOM = "PD102"
    UUID = "PD103"
    ENVIRONMENT = "PD104"

    FILE = "PD201"
    NETWORK = "PD202"
    PROCESS = "PD203"
    THREAD = "PD204"
    BLOCKING_SLEEP = "PD205"
    CONSOLE = "PD206"
    SIGNAL_HANDLER = "PD207"
    EVENT_LOOP = "PD208"

    SET_ORDER = "PD301"
    HASH_ORDER = "PD302"
    MAP_ORDER = "PD303"
    COROUTINE_ORDER = "PD304"

    IGNORE_COMMENT = "PD401"

    UNORDERED_TASKS = "PD901"

    @property
    def is_warning(self) -> bool:
        """Whether it is told and not refused: it is exact on the embedded engine, and not on Temporal."""
        return self.value.startswith("PD9")

    @property
    def is_harmless_in_queries(self) -> bool:
        """Whether a query may do it, whose answer no replay repeats."""
        return not self.value.startswith(("PD2", "PD4"))


@dataclass(frozen=True, slots=True)
class Argument:
    """What makes a call harmless: `time.gmtime(0)`, `queue.get(block=False)`.

    Attributes:
        position: Among the positional ones, from 0; of a method, `self` not counted.
        name: Of the parameter; empty if it is positional only.
        is_false: Whether it has to be given as false, rather than as anything but None.
    """

    position: int
    name: str = ""
    is_false: bool = False

    def is_met_by(self, value: object) -> bool:
        """Whether what is given, or None, makes the call harmless."""
        return value is not None and not (self.is_false and value)

    def is_given(self, args: Sequence[object], kwargs: Mapping[str, object]) -> bool:
        """Whether a call has it."""
        return self.is_met_by(args[self.position] if len(args) > self.position else kwargs.get(self.name))


@dataclass(frozen=True, slots=True)
class Rule:
    """A call, and what to do instead.

    Attributes:
        call: What is called, as one would write it with the module's own name: `time.time`.
        code: Why not.
        instead: What to do, as a sentence.
        harmless_with: What makes the call harmless, if anything does.
        is_patched: Whether the guard finds it at run time by the attribute of its module or class.
    """

    call: str
    code: Code
    instead: str
    harmless_with: Argument | None = None
    is_patched: bool = False


_NOW = "Use `workflow.now()` or `workflow.time_ns()`."
_ZONE = "Use `workflow.now()`, which is in UTC, and `datetime` with a zone of your choice: this one is the machine's."
_RANDOM = "Use `workflow.random()`, which draws the same numbers on every replay."
_FRESH = "Make it in an activity; `workflow.random()` draws the same numbers on every replay, and is no secret."
_UUID = "Use `workflow.uuid4()`."
_ENVIRONMENT = (
    "Pass it in the request, or read it in an activity: the machine that replays the workflow may be another one."
)
_FILE = "Do it in an activity: files belong there."
_NETWORK = "Do it in an activity: sockets belong there."
_PROCESS = "Do it in an activity: processes belong there."
_THREAD = "Do it in an activity: threads belong there. In a workflow, `asyncio.create_task` and `asyncio.gather` do."
_BLOCKING = (
    "Await asyncio's `Queue`, `Event`, `Condition` or `Semaphore`, or `workflow.wait_condition(...)`: this one stops "
    "the worker, until another thread does what no history tells."
)
_SLEEP = "Use `await workflow.sleep(...)` or `await asyncio.sleep(...)`, which are durable timers."
_CONSOLE = "Receive what people say as a signal or an update, or ask them in an activity."
_SIGNALS = "Declare a signal in the contract and receive it; operating system signals are the worker process's."
_LOOP = "The engine runs the loop: `await` what you wait for, or start it with `asyncio.create_task`."
_SET = "Iterate over `sorted(...)`, or keep a list or a dict, which remember the order of insertion."
_HASH = "Sort by a value of the contract, such as a name or an id."
_MAP = "Iterate over `sorted(...)`: the order of a protobuf map differs from process to process."


_COROUTINES = "Use `workflow.as_completed`, which starts coroutines in the order in which it is given them."


def _rules(
    owner: str,
    names: str,
    code: Code,
    instead: str,
    *,
    harmless_with: Argument | None = None,
    patched: bool = False,
) -> Iterator[Rule]:
    for name in names.split():
        yield Rule(f"{owner}.{name}", code, instead, harmless_with, patched)


def _all() -> Iterator[Rule]:
    yield from _clocks()
    yield from _randomness()
    yield from _surroundings()
    yield from _files()
    yield from _outside()
    yield from _waits()
    yield from _of_asyncio()


def _clocks() -> Iterator[Rule]:
    clock = (
        "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time process_time_ns thread_time "
        "thread_time_ns clock_gettime clock_gettime_ns"
    )
    yield from _rules("time", clock, Code.CLOCK, _NOW, patched=True)
    yield from _rules("time", "gmtime asctime", Code.CLOCK, _NOW, harmless_with=Argument(0), patched=True)
    yield from _rules("time", "strftime", Code.CLOCK, _NOW, harmless_with=Argument(1), patched=True)
    yield from _rules("time", "localtime ctime mktime", Code.CLOCK, _ZONE, patched=True)
    yield from _rules("time", "sleep", Code.BLOCKING_SLEEP, _SLEEP, patched=True)
    yield from _rules("datetime.datetime", "now utcnow today", Code.CLOCK, _NOW)
    yield from _rules("datetime.date", "today", Code.CLOCK, _NOW)
    yield from _rules("datetime.datetime", "fromtimestamp", Code.CLOCK, _ZONE, harmless_with=Argument(1, "tz"))
    yield from _rules("datetime.datetime", "astimezone", Code.CLOCK, _ZONE, harmless_with=Argument(0, "tz"))
    yield from _rules("datetime.date", "fromtimestamp", Code.CLOCK, _ZONE)


def _randomness() -> Iterator[Rule]:
    draws = (
        "random randint randrange randbytes getrandbits choice choices shuffle sample uniform triangular betavariate "
        "expovariate gammavariate gauss lognormvariate normalvariate vonmisesvariate paretovariate weibullvariate "
        "binomialvariate seed getstate setstate"
    )
    yield from _rules("random", draws, Code.RANDOM, _RANDOM, patched=True)
    yield from _rules("random", "Random", Code.RANDOM, _RANDOM, harmless_with=Argument(0))
    yield from _rules("random", "SystemRandom", Code.RANDOM, _FRESH)
    yield from _rules("random.SystemRandom", "random getrandbits randbytes", Code.RANDOM, _FRESH, patched=True)
    tokens = "token_bytes token_hex token_urlsafe choice randbelow randbits"
    yield from _rules("secrets", tokens, Code.RANDOM, _FRESH, patched=True)
    yield from _rules("os", "urandom getrandom", Code.RANDOM, _FRESH, patched=True)
    yield from _rules("uuid", "uuid1 uuid4 uuid6 uuid7 getnode", Code.UUID, _UUID, patched=True)


def _surroundings() -> Iterator[Rule]:
    own = "getenv getcwd getcwdb cpu_count process_cpu_count getloadavg getlogin times"
    yield from _rules("os", own, Code.ENVIRONMENT, _ENVIRONMENT, patched=True)
    yield from _rules("os", "environ environb getpid getppid uname", Code.ENVIRONMENT, _ENVIRONMENT)
    platform = "node platform uname system release version machine processor python_version"
    yield from _rules("platform", platform, Code.ENVIRONMENT, _ENVIRONMENT)
    yield from _rules("socket", "gethostname getfqdn", Code.ENVIRONMENT, _ENVIRONMENT)


def _files() -> Iterator[Rule]:
    yield from _rules("builtins", "open", Code.FILE, _FILE)
    yield from _rules("os", "stat lstat access", Code.FILE, _FILE, patched=True)
    acts = (
        "open listdir scandir walk fwalk mkdir makedirs remove unlink rename renames replace rmdir removedirs truncate "
        "chmod chown link symlink readlink utime chdir statvfs mkfifo"
    )
    yield from _rules("os", acts, Code.FILE, _FILE)
    looks = "exists lexists isfile isdir islink ismount getsize getmtime getatime getctime samefile"
    yield from _rules("os.path", looks, Code.FILE, _FILE)
    yield from _rules("os.path", "abspath realpath expanduser", Code.ENVIRONMENT, _ENVIRONMENT)
    path = (
        "open read_text read_bytes write_text write_bytes exists is_file is_dir is_symlink is_mount stat lstat iterdir "
        "glob rglob walk mkdir rmdir unlink rename replace touch chmod symlink_to hardlink_to readlink owner samefile"
    )
    yield from _rules("pathlib.Path", path, Code.FILE, _FILE)
    yield from _rules("pathlib.Path", "cwd home resolve absolute expanduser", Code.ENVIRONMENT, _ENVIRONMENT)
    yield from _rules(
        "shutil", "copy copy2 copyfile copytree move rmtree disk_usage which make_archive", Code.FILE, _FILE
    )
    temporary = "TemporaryFile NamedTemporaryFile SpooledTemporaryFile TemporaryDirectory mkstemp mkdtemp gettempdir"
    yield from _rules("tempfile", temporary, Code.FILE, _FILE)
    yield from _rules("glob", "glob iglob", Code.FILE, _FILE)
    yield from _rules("sqlite3", "connect", Code.FILE, _FILE)


def _outside() -> Iterator[Rule]:
    sockets = "socket socketpair create_connection create_server fromfd getaddrinfo gethostbyname gethostbyaddr"
    yield from _rules("socket", sockets, Code.NETWORK, _NETWORK)
    yield from _rules("urllib.request", "urlopen urlretrieve", Code.NETWORK, _NETWORK)
    yield from _rules(
        "subprocess", "run call check_call check_output getoutput getstatusoutput Popen", Code.PROCESS, _PROCESS
    )
    acts = (
        "system popen fork forkpty kill killpg execv execve execvp execvpe execl execle execlp execlpe posix_spawn "
        "posix_spawnp spawnl spawnle spawnlp spawnlpe spawnv spawnve spawnvp spawnvpe wait waitpid abort _exit"
    )
    yield from _rules("os", acts, Code.PROCESS, _PROCESS)
    yield from _rules("multiprocessing", "Process Pool Queue Pipe Manager", Code.PROCESS, _PROCESS)
    yield from _rules("concurrent.futures", "ProcessPoolExecutor", Code.PROCESS, _PROCESS)
    yield from _rules("concurrent.futures", "ThreadPoolExecutor", Code.THREAD, _THREAD)
    yield from _rules("threading.Thread", "start", Code.THREAD, _THREAD, patched=True)
    yield from _rules("_thread", "start_new_thread", Code.THREAD, _THREAD, patched=True)
    yield from _rules("threading", "Thread Timer", Code.THREAD, _THREAD)
    yield from _rules("asyncio", "to_thread", Code.THREAD, _THREAD)
    yield from _rules("builtins", "input", Code.CONSOLE, _CONSOLE)
    yield from _rules("getpass", "getpass", Code.CONSOLE, _CONSOLE)
    yield from _rules("getpass", "getuser", Code.ENVIRONMENT, _ENVIRONMENT)
    yield from _rules("signal", "signal alarm setitimer pause sigwait", Code.SIGNAL_HANDLER, _SIGNALS, patched=True)


def _waits() -> Iterator[Rule]:
    at_once = Argument(0, "blocking", is_false=True)
    yield from _rules("threading.Thread", "join", Code.THREAD, _BLOCKING, patched=True)
    yield from _rules("threading.Event", "wait", Code.THREAD, _BLOCKING, patched=True)
    yield from _rules("threading.Condition", "wait wait_for", Code.THREAD, _BLOCKING, patched=True)
    yield from _rules("threading.Barrier", "wait", Code.THREAD, _BLOCKING, patched=True)
    yield from _rules("threading.Semaphore", "acquire", Code.THREAD, _BLOCKING, harmless_with=at_once, patched=True)
    for lock in ("Lock", "RLock"):
        yield from _rules(f"threading.{lock}", "acquire", Code.THREAD, _BLOCKING, harmless_with=at_once)
    at_once = Argument(0, "block", is_false=True)
    yield from _rules("queue.Queue", "get", Code.THREAD, _BLOCKING, harmless_with=at_once, patched=True)
    yield from _rules("queue.SimpleQueue", "get", Code.THREAD, _BLOCKING, harmless_with=at_once)
    at_once = Argument(1, "block", is_false=True)
    yield from _rules("queue.Queue", "put", Code.THREAD, _BLOCKING, harmless_with=at_once, patched=True)
    yield from _rules("queue.Queue", "join", Code.THREAD, _BLOCKING, patched=True)
    yield from _rules("concurrent.futures", "wait as_completed", Code.THREAD, _BLOCKING)


def _of_asyncio() -> Iterator[Rule]:
    yield from _rules("asyncio", "run new_event_loop", Code.EVENT_LOOP, _LOOP, patched=True)
    yield from _rules("asyncio", "Runner set_event_loop run_coroutine_threadsafe", Code.EVENT_LOOP, _LOOP)
    network = "open_connection start_server open_unix_connection start_unix_server"
    yield from _rules("asyncio", network, Code.NETWORK, _NETWORK)
    yield from _rules("asyncio", "create_subprocess_exec create_subprocess_shell", Code.PROCESS, _PROCESS)
    loop = "asyncio.AbstractEventLoop"
    drives = "run_forever run_until_complete stop close call_soon_threadsafe set_default_executor"
    yield from _rules(loop, drives, Code.EVENT_LOOP, _LOOP)
    yield from _rules(loop, "run_in_executor", Code.THREAD, _THREAD)
    yield from _rules(loop, "subprocess_exec subprocess_shell", Code.PROCESS, _PROCESS)
    yield from _rules(loop, "add_signal_handler remove_signal_handler", Code.SIGNAL_HANDLER, _SIGNALS)
    network = (
        "getaddrinfo getnameinfo create_connection create_server create_unix_connection create_unix_server "
        "create_datagram_endpoint add_reader add_writer sock_recv sock_sendall sock_connect sock_accept"
    )
    yield from _rules(loop, network, Code.NETWORK, _NETWORK)
    for name in ("wait", "as_completed", "TaskGroup"):
        yield Rule(
            f"asyncio.{name}",
            Code.UNORDERED_TASKS,
            f"Use `workflow.{name}`, which keeps tasks in order on both engines; asyncio's keeps them in sets, ordered "
            "by memory address on Temporal.",
        )
    yield Rule("builtins.hash", Code.HASH_ORDER, _HASH)
    yield Rule("builtins.id", Code.HASH_ORDER, _HASH)


RULES: Mapping[str, Rule] = {rule.call: rule for rule in _all()}
"""Every call, by the name of what is called."""


def _events(names: str, code: Code, instead: str) -> dict[str, tuple[Code, str]]:
    return dict.fromkeys(names.split(), (code, instead))


AUDITED: Mapping[str, tuple[Code, str]] = {
    **_events(
        "open os.listdir os.scandir os.mkdir os.remove os.rename os.rmdir os.truncate os.chmod os.chown os.lockf "
        "os.chflags os.link os.symlink os.utime os.chdir os.mkfifo os.mknod os.getxattr os.setxattr os.listxattr "
        "os.removexattr shutil.copyfile shutil.copytree shutil.move shutil.rmtree shutil.make_archive tempfile.mkstemp "
        "tempfile.mkdtemp mmap.__new__ fcntl.fcntl fcntl.flock fcntl.ioctl fcntl.lockf sqlite3.connect",
        Code.FILE,
        _FILE,
    ),
    **_events(
        "socket.__new__ socket.connect socket.bind socket.getaddrinfo socket.getnameinfo socket.gethostbyname "
        "socket.gethostbyaddr socket.getservbyname socket.getservbyport socket.sendto socket.sendmsg urllib.Request "
        "http.client.connect http.client.send",
        Code.NETWORK,
        _NETWORK,
    ),
    **_events("socket.gethostname socket.sethostname", Code.ENVIRONMENT, _ENVIRONMENT),
    **_events(
        "subprocess.Popen os.system os.exec os.fork os.forkpty os.posix_spawn os.spawn os.kill os.killpg os.startfile "
        "pty.spawn signal.pthread_kill webbrowser.open",
        Code.PROCESS,
        _PROCESS,
    ),
    **_events("_thread.start_new_thread _thread.start_joinable_thread", Code.THREAD, _THREAD),
    **_events("builtins.input", Code.CONSOLE, _CONSOLE),
}
"""Events of Python's audit hooks (see its table of audit events) that the guard hears: code, and what to do instead."""

_ORDER = {Code.SET_ORDER: _SET, Code.MAP_ORDER: _MAP, Code.COROUTINE_ORDER: _COROUTINES}


def describe(code: Code) -> str:
    """What to do instead, for what has no call of its own.

    Raises:
        KeyError: The code is one of calls.
    """
    return _ORDER[code]
