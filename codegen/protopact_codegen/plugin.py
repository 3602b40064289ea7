"""The plugin: one request in, one response out.

A mistake of the user goes into the response, where buf and protoc show it. A mistake of the plugin is a traceback and
an exit status, so that it is reported as what it is.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, TextIO

from protopact_codegen import lint, options, reader, request, response
from protopact_codegen._version import __version__
from protopact_codegen.contract import Contract
from protopact_codegen.diagnostics import Code, Diagnostic, Severity, render, summary
from protopact_codegen.emit import emit
from protopact_codegen.libraries import find_library
from protopact_codegen.options import OptionsError
from protopact_codegen.request import RequestError
from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.check import check
from protopact_codegen.versioning.closure import closures
from protopact_codegen.versioning.lock import Lock, LockError

__all__ = ["main", "run"]

_SAVE = "PROTOPACT_SAVE_REQUEST"


def main() -> None:
    """Run as the console script `protoc-gen-protopact`, which takes its request from standard input, or `--version`."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"protoc-gen-protopact {__version__}\n")
        return
    sys.exit(run(sys.stdin.buffer, sys.stdout.buffer, sys.stderr, os.environ))


def run(stdin: BinaryIO, stdout: BinaryIO, stderr: TextIO, environ: Mapping[str, str]) -> int:
    """Answer the request on `stdin` with the response on `stdout`; warnings and notes go to `stderr`.

    Args:
        stdin: A serialized `CodeGeneratorRequest`.
        stdout: Takes a serialized `CodeGeneratorResponse`.
        stderr: Takes what is not part of the response.
        environ: `PROTOPACT_SAVE_REQUEST` is a path to which the request is written, for a report of a mistake of the
            plugin. Nothing else is read.

    Returns:
        The exit status: 0, whatever the contract is like; 1 when there is no request, or the plugin is broken.
    """
    try:
        data = stdin.read()
        if _SAVE in environ:
            Path(environ[_SAVE]).write_bytes(data)
        stdout.write(_answer(data, stderr))
    except RequestError as error:
        stderr.write(f"protoc-gen-protopact: {error}; buf or protoc run this plugin, and tell it what to generate\n")
        return 1
    except Exception:  # noqa: BLE001 - the outermost frame: what nobody foresaw is shown whole
        traceback.print_exc(file=stderr)
        stderr.write(
            "protoc-gen-protopact: this is a mistake of the plugin, not of the contract. Please report it, with the "
            f"file that {_SAVE}=/path/to/file in the environment makes the plugin write.\n"
        )
        return 1
    return 0


def _answer(data: bytes, stderr: TextIO) -> bytes:
    asked = request.parse(data)
    try:
        chosen = options.parse(asked.parameter)
    except OptionsError as error:
        return response.failure(f"protopact: the plugin's options are wrong\n{error}")
    contract, findings = reader.read(asked)
    library = find_library(chosen)
    findings += [*lint.check(contract), *library.check(contract), *library.check_output(contract)]
    live = None
    if chosen.lock and not any(each.code.severity is Severity.ERROR for each in findings):
        try:
            lock = Lock.require(Path(chosen.lock))
            live = lock.live
            findings += check(contract, live, lock.settings, asked.generate, retired=lock.retired, complete=True)
            if not any(each.code is Code.MISSING_FILE for each in findings):
                lock.settings_for(contract)
        except LockError as error:
            return response.failure(f"protopact: the contract cannot be checked\n{error}")
    refused = [each for each in findings if chosen.strict or each.code.severity is Severity.ERROR]
    _tell(contract, () if chosen.strict else findings, stderr)
    if refused:
        lines = render(refused)
        return response.failure("\n".join((summary(lines, Severity.ERROR), *lines)))
    return response.success(emit(contract, chosen, closures(capture(contract), live)))


def _tell(contract: Contract, findings: Iterable[Diagnostic], stderr: TextIO) -> None:
    lines = render(each for each in findings if each.code.severity is Severity.WARNING)
    if lines:
        stderr.write("\n".join((summary(lines, Severity.WARNING), *lines, "")))
    ignored = [(file.path, len(file.ignored)) for file in contract.files if file.ignored]
    if ignored:
        where = ", ".join(f"{count} in {path}" for path, count in ignored)
        stderr.write(f"protopact: rpcs without an annotation are ignored: {where}\n")
