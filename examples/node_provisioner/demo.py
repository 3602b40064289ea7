"""What protopact promises, shown on the node provisioner: `make demo`.

Each step shows the commands that a person would run, and runs them. The program ends with another exit code than 0 when
a promise does not hold. What it leaves behind may be looked at; the next demo begins anew.
"""

from __future__ import annotations

import filecmp
import json
import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = Path("nodes/provisioning/v1/node.proto")
GENERATED = Path("generated/betterproto2/nodes/provisioning/v1")
FOLDER = Path(".cache/demo")
PATIENCE = 120.0
"""Seconds after which a step that does not come to an end has failed."""

WRONG_CALL = """\
from generated.betterproto2.nodes.provisioning.v1 import AddNodeRequest, DeleteNodeRequest
from generated.betterproto2.nodes.provisioning.v1.node_protopact import NodeProvisionerService as node


async def call(client: node.Client) -> None:
    await client.start_add_node(AddNodeRequest(node_id="n1"))
    await client.start_add_node(DeleteNodeRequest(node_id="n1"))
"""

WRONG_CONTRACT = (("node/{node_id}", "node/{name}"), ('ref: "Resume"', 'ref: "Resum"'))
"""What is changed in the contract, each once: a field that does not exist, and an rpc that does not."""


class BrokenPromiseError(Exception):
    """Something did not happen that should have, or the other way round."""


class Worker:
    """A worker process; what it logs is shown and can be waited for."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, *command], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()

    def wait_for(self, text: str) -> None:
        """Wait until the worker has logged `text`."""
        deadline = time.monotonic() + PATIENCE
        line = "\n"
        while line and text not in line:
            try:
                line = self._lines.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                line = ""
        if not line:
            raise BrokenPromiseError(f"the worker did not come to say {text!r}")

    def stop(self) -> int:
        """Ask the worker to stop and return its exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def _read(self) -> None:
        for line in self.process.stderr or ():
            if line[0] != " " and not line.startswith("Traceback"):  # of a failed attempt, the last line will do
                say(f"    worker {self.process.pid}: {line.partition(' ({')[0].rstrip()}")
            self._lines.put(line)
        self._lines.put("")


class Demo:
    """The steps. What they write is in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._engine = f"sqlite:///{folder}/nodes.db"
        module = ("-m", "examples.node_provisioner.worker")
        self._worker = (*module, "--engine", self._engine, "--cloud", f"{folder}/cloud")
        self._client = ("python", "-m", "examples.node_provisioner.client", "--engine", self._engine)

    def run(self) -> None:
        """Run every step, and say how long each took."""
        steps: tuple[tuple[str, Callable[[], None]], ...] = (
            ("A contract becomes typed Python", self.generate),
            ("The application is checked against it", self.check),
            ("A worker is killed in the middle of an activity, and another one goes on", self.kill),
            ("What happened is a history", self.history),
            ("A call with the wrong message is refused by mypy", self.refuse_call),
            ("A contract that cannot work is refused by buf generate", self.refuse_contract),
        )
        began = time.monotonic()
        for number, (title, step) in enumerate(steps, start=1):
            say(f"\n{bold(f'[{number}/{len(steps)}] {title}')}")
            start = time.monotonic()
            step()
            say(dim(f"    {time.monotonic() - start:.1f} s"))
        say(f"\n{bold('Every promise held')}, in {time.monotonic() - began:.1f} s.")

    def generate(self) -> None:
        """Generate from the contract, and compare with what is committed."""
        shell("buf", "generate", "--output", self._folder, quiet=True)
        files = sorted(file.name for file in (ROOT / GENERATED).glob("*.py"))
        written = ROOT / self._folder / GENERATED
        _, changed, missing = filecmp.cmpfiles(ROOT / GENERATED, written, files, shallow=False)
        for file in changed + missing:
            raise BrokenPromiseError(f"{GENERATED / file} is not what the contract says; run `make generate`")
        for file in files:
            lines = (written / file).read_text().count("\n")
            say(f"    {GENERATED / file}: {lines} lines, as committed")

    def check(self) -> None:
        """Type-check the application."""
        shell("mypy", "--strict", "examples/node_provisioner")

    def kill(self) -> None:
        """Kill a worker in the middle of an activity, and let another one finish."""
        ledger = ROOT / self._folder / "cloud/ledger.jsonl"
        with Worker(*self._worker) as worker:
            show("python", *self._worker)
            shell(*self._client, "add", "n1")
            worker.wait_for("boots: kernel")
            os.kill(worker.process.pid, signal.SIGKILL)
            show("kill", "-9", worker.process.pid)
        with Worker(*self._worker) as worker:
            show("python", *self._worker)
            shell(*self._client, "result", "n1")
            if (code := worker.stop()) != 128 + signal.SIGTERM:
                raise BrokenPromiseError(f"the worker stopped with exit code {code}")
        effects = [json.loads(line)["do"] for line in ledger.read_text().splitlines()]
        say(f"    What happened in the cloud, each once: {', '.join(effects)}")
        if effects != ["create", "announce"]:
            raise BrokenPromiseError("expected one virtual machine and one announcement")

    def history(self) -> None:
        """Show the history."""
        text = shell("protopact", "history", "show", "node/n1", "--engine", self._engine)
        for part in ("AddNode node/n1  completed", "activity WaitForVmReady", "attempt 2", '"vmId": "vm-1"'):
            if part not in text:
                raise BrokenPromiseError(f"the history does not show {part!r}")

    def refuse_call(self) -> None:
        """Let mypy refuse a wrong call."""
        program = self._folder / "wrong_call.py"
        (ROOT / program).write_text(WRONG_CALL)
        say(indent(WRONG_CALL.partition("\n\n\n")[2]))
        text = shell("mypy", "--strict", program, expect=1)
        if f"{program.name}:7: error" not in text or "Found 1 error" not in text:
            raise BrokenPromiseError("expected one error of mypy, in line 7")

    def refuse_contract(self) -> None:
        """Let the plugin refuse a wrong contract."""
        module = self._folder / "wrong"
        contract = ROOT / module / CONTRACT
        contract.parent.mkdir(parents=True)
        text = (ROOT / "proto_examples" / CONTRACT).read_text()
        for right, wrong in WRONG_CONTRACT:
            say(f"    {CONTRACT.name}: {right}  becomes  {wrong}")
            text = text.replace(right, wrong, 1)
        contract.write_text(text)
        (ROOT / module / "buf.yaml").write_text("version: v2\n")
        shell("protopact", "proto", "export", module)
        text = shell("buf", "generate", "--template", "buf.gen.yaml", "--output", module, module, expect=1)
        if any(text.count(f"{CONTRACT}:{line}:") != 1 for line in wrong_lines(contract)):
            raise BrokenPromiseError("expected an error for each wrong line of the contract")


def wrong_lines(contract: Path) -> list[int]:
    """The numbers of the lines that were made wrong."""
    lines = contract.read_text().splitlines()
    return [next(n for n, line in enumerate(lines, start=1) if wrong in line) for _, wrong in WRONG_CONTRACT]


def shell(*command: object, expect: int = 0, quiet: bool = False) -> str:
    """Show and run a command from the repository's root, show what it says, and return that.

    Args:
        *command: The name of a program beside this Python, and its arguments.
        expect: The exit code that keeps the promise.
        quiet: Whether to show what it says only when its exit code is another one.

    Raises:
        BrokenPromiseError: Its exit code is another one.
    """
    show(*command)
    program, *arguments = map(str, command)
    path = Path(sys.executable).with_name(program)
    environment = os.environ | {"PATH": f"{path.parent}{os.pathsep}{os.environ['PATH']}"}
    if sys.stdout.isatty():
        environment |= {"FORCE_COLOR": "1"}
    ran = subprocess.run(  # noqa: S603 - our own command
        [path, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if ran.returncode != expect or not quiet:
        say(indent(ran.stdout))
    if ran.returncode != expect:
        raise BrokenPromiseError(f"{program} ended with exit code {ran.returncode}, not {expect}")
    return re.sub(r"\033(\[[\d;]*m|\(B)", "", ran.stdout)


def show(*command: object) -> None:
    """Show a command."""
    say(bold(f"  $ {shlex.join(map(str, command))}"))


def indent(text: str) -> str:
    """Text that belongs to a step."""
    return "\n".join(f"    {line}".rstrip() for line in text.rstrip().splitlines())


def bold(text: str) -> str:
    """Bold on a terminal."""
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


def dim(text: str) -> str:
    """Dim on a terminal."""
    return f"\033[2m{text}\033[0m" if sys.stdout.isatty() else text


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)  # noqa: T201 - what the demo is for


def main() -> None:
    """Run the demo, in the folder that the command line names."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    shutil.rmtree(ROOT / folder, ignore_errors=True)
    (ROOT / folder).mkdir(parents=True)
    try:
        Demo(folder).run()
    except (BrokenPromiseError, subprocess.TimeoutExpired) as error:
        sys.exit(f"\nA promise was broken: {error}")


if __name__ == "__main__":
    main()
