"""The protocol: pluginrpc, in which a call is a process that is named a procedure and reads one request.

A mistake of the user is an error of the response, which buf shows. A mistake of the plugin is a traceback and an exit
status.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import BinaryIO

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from protopact_codegen._version import __version__
from protopact_codegen.checkplugin.comparison import CheckError, annotate
from protopact_codegen.checkplugin.messages import POOL, Message, message
from protopact_codegen.checkplugin.rules import categories, rules
from protopact_codegen.versioning.lock import LockError

__all__ = ["main", "run"]

_SERVICE = "buf.plugin.check.v1"
_INVALID_ARGUMENT, _FAILED_PRECONDITION = 3, 9


def main() -> None:
    """Run as the console script `buf-plugin-protopact`, which buf calls."""
    sys.exit(run(sys.argv[1:], sys.stdin.buffer, sys.stdout.buffer))


def run(arguments: list[str], stdin: BinaryIO, stdout: BinaryIO) -> int:
    """Do one call.

    Args:
        arguments: `--protocol`, `--spec`, or a procedure; `--format binary` or `--format json` beside it.
        stdin: A serialized `pluginrpc.v1.Request` for a procedure.
        stdout: Takes the answer.

    Returns:
        The exit status 0; errors of the user are in the answer.

    Raises:
        SystemExit: The arguments are none of these.
    """
    parser = argparse.ArgumentParser("buf-plugin-protopact", description="A check plugin: name it in buf.yaml.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--format", choices=("binary", "json"), default="binary", help="how messages are written")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--protocol", action="store_true", help="print the version of pluginrpc")
    what.add_argument("--spec", action="store_true", help="print the procedures")
    what.add_argument("procedure", nargs="?", choices=_PROCEDURES, help="answer the request on standard input")
    chosen = parser.parse_args(arguments)
    as_json = chosen.format == "json"
    if chosen.protocol:
        stdout.write(b"1\n")
    elif chosen.spec:
        procedures = [message("pluginrpc.v1.Procedure", path=path) for path in _PROCEDURES]
        stdout.write(_write(message("pluginrpc.v1.Spec", procedures=procedures), as_json=as_json))
    else:
        stdout.write(_write(_answer(chosen.procedure, stdin.read(), as_json=as_json), as_json=as_json))
    return 0


def _answer(procedure: str, data: bytes, *, as_json: bool) -> Message:
    kind, answer = _PROCEDURES[procedure]
    response = message("pluginrpc.v1.Response")
    try:
        request = message("pluginrpc.v1.Request")
        if as_json:
            json_format.Parse(data or b"{}", request, descriptor_pool=POOL)
        else:
            request.ParseFromString(data)
        asked = message(f"{_SERVICE}.{kind}Request")
        asked.ParseFromString(request.value.value)
        answered = answer(asked)
    except (CheckError, LockError) as error:
        response.error.code, response.error.message = _FAILED_PRECONDITION, f"protopact: {error}"
    except (DecodeError, json_format.ParseError) as error:
        response.error.code, response.error.message = _INVALID_ARGUMENT, f"standard input holds no request ({error})"
    else:
        response.value.type_url = f"type.googleapis.com/{answered.DESCRIPTOR.full_name}"
        response.value.value = answered.SerializeToString(deterministic=True)
    return response


def _write(answer: Message, *, as_json: bool) -> bytes:
    if as_json:
        return json_format.MessageToJson(answer, descriptor_pool=POOL).encode()
    data: bytes = answer.SerializeToString(deterministic=True)
    return data


def _check(asked: Message) -> Message:
    return message(f"{_SERVICE}.CheckResponse", annotations=annotate(asked))


def _list_rules(_: Message) -> Message:
    return message(f"{_SERVICE}.ListRulesResponse", rules=rules())


def _list_categories(_: Message) -> Message:
    return message(f"{_SERVICE}.ListCategoriesResponse", categories=categories())


# By path: the name that request and response begin with, and what answers. All rules fit on one page.
_PROCEDURES: Mapping[str, tuple[str, Callable[[Message], Message]]] = {
    f"/{_SERVICE}.CheckService/Check": ("Check", _check),
    f"/{_SERVICE}.CheckService/ListRules": ("ListRules", _list_rules),
    f"/{_SERVICE}.CheckService/ListCategories": ("ListCategories", _list_categories),
}
