"""Temporal's sandbox, with what it must not import anew for each run.

The sandbox runs the module of a workflow class again for each run. Messages must not be made again with it: a class of
google's cannot, one of betterproto2's takes milliseconds, and a message that crossed would be of another class. So what
was generated passes through, and so do the message libraries and this package, which keep no state of a run.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator

from temporalio.worker.workflow_sandbox import SandboxRestrictions

from protopact import contract

__all__ = ["fitting", "passthrough_modules"]

_PACKAGES = ("protopact", "msgspec", "google.protobuf", "betterproto2")
_GENERATED = ("_pb2", "_pb2_grpc", "_protopact")
_POOL = "message_pool"
"""The module with which betterproto2's compiler marks the root of what it generates."""


def passthrough_modules() -> frozenset[str]:
    """Names of the modules that the sandbox must take from outside: generated ones that are loaded, and libraries."""
    names = {name for name in sys.modules if name.endswith(_GENERATED)}
    return frozenset({*_PACKAGES, *names, *_message_modules()})


class _Modules(set[str]):
    """Names of modules, and all names of generated ones: workflow code may be the first to import one."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and name.endswith(_GENERATED))


def fitting(restrictions: SandboxRestrictions) -> SandboxRestrictions:
    """The restrictions that fit generated workflow classes.

    Args:
        restrictions: What is restricted and passed through otherwise.
    """
    names = _Modules(restrictions.passthrough_modules | passthrough_modules())
    return dataclasses.replace(restrictions, passthrough_modules=names)


def _message_modules() -> Iterator[str]:
    for schema in contract.schemas():
        for message in contract.messages_of(schema):
            yield message.type.__module__
    for name, module in list(sys.modules.items()):
        if name.rpartition(".")[2] == _POOL:
            yield name
            # The pool of betterproto2 keeps each class that was generated.
            pool: object = getattr(module, "default_message_pool", None)
            for cls in getattr(pool, "type_to_url", ()):
                yield cls.__module__
