"""The imports of a generated module, under names that nothing in the contract can shadow.

What a module imports for itself gets a leading underscore, which no public name has. Message classes keep their own
names, unless such a name means something else somewhere in the module.
"""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Iterator
from itertools import accumulate, chain, groupby, repeat
from operator import add

from protopact_codegen.contract import File, Message
from protopact_codegen.emit_expression import WIDTH, text
from protopact_codegen.libraries import ClassRef, Library
from protopact_codegen.libraries.library import messages_of
from protopact_codegen.names import public_names, service_class

__all__ = ["PARAMETERS", "Imports"]

_STANDARD = {
    "abstractmethod": "abc",
    "Awaitable": "collections.abc",
    "timedelta": "datetime",
    "import_module": "importlib",
    "NoReturn": "typing",
    "TypeAlias": "typing",
    "Unpack": "typing",
}
_RUNTIME = ("activity", "client", "contract", "generated", "policy", "workflow")

PARAMETERS = frozenset({"cls", "options", "request", "run_id", "self", "signal", "update", "workflow_id"})
"""Names of parameters of generated functions."""

# What else a message class must not be called in a generated module.
_TAKEN = PARAMETERS | {
    *dir(builtins),
    *keyword.kwlist,
    "annotations",
    "Activities",
    "ChildHandle",
    "Client",
    "ExternalHandle",
    "Handle",
    "Local",
}


class Imports:
    """What one generated module imports."""

    def __init__(self, file: File, library: Library) -> None:
        self._library = library
        self._used = set[str]()
        services = map(service_class, file.services)
        self.private = {f"_{name}" for name in (*_STANDARD, *_RUNTIME, *services, "error", "typing")}
        public = {name.name for name in public_names(file)} | _TAKEN
        self._plain = dict[tuple[str, str], str]()
        self._dynamic = dict[ClassRef, str]()
        self._names = dict[str, str]()
        # The file's own package comes first, so that its names are the ones that stand as they are.
        for message in sorted(messages_of(file), key=lambda each: (each.package != file.package, each.name)):
            ref = library.class_ref(message, file)
            if ref.plain:
                top = (ref.module, ref.names[0])
                if top not in self._plain:
                    self._plain[top] = self._alias(ref.names[0], message.package, public)
                self._names[message.name] = ".".join((self._plain[top], *ref.names[1:]))
            else:
                alias = self._alias("_".join(("", *ref.names)), message.package, public)
                self._dynamic[ref] = self._names[message.name] = alias

    def use(self, name: str) -> str:
        """The name under which the module has what is called `name` in the standard library or the runtime."""
        self._used.add(name)
        return f"_{name}"

    def message(self, message: Message) -> str:
        """The expression for the class of a message, for annotations too; `None` for `google.protobuf.Empty`."""
        return "None" if message.empty else self._names[message.name]

    @property
    def any_messages(self) -> bool:
        """Whether the module imports any message class."""
        return bool(self._names)

    @property
    def any_private(self) -> bool:
        """Whether a class is imported whose own name starts with an underscore, as far as type checkers see."""
        names = [name for _, name in self._plain] + [name for ref in self._dynamic for name in ref.stub_names]
        return any(name.startswith("_") for name in names)

    def standard(self) -> Iterator[str]:
        """Import statements of the standard library."""
        if self._dynamic:
            yield "import typing as _typing"
        for name, module in _STANDARD.items():
            if name in self._used:
                yield f"from {module} import {name} as _{name}"

    def runtime(self) -> Iterator[str]:
        """Import statements of the runtime."""
        for name in _RUNTIME:
            if name in self._used:
                yield f"from protopact import {name} as _{name}"

    def messages(self) -> Iterator[str]:
        """Import statements of the message classes, as lines of a block that is indented by four."""
        ordered = sorted(self._plain, key=lambda key: (key[0].startswith("."), key))
        for module, keys in groupby(ordered, key=lambda key: key[0]):
            parts = [
                name if (alias := self._plain[key]) == name else f"{name} as {alias}"
                for key in keys
                for name in key[1:]
            ]
            line = f"from {module} import {', '.join(parts)}"
            if len(line) + 4 <= WIDTH:
                yield line
            else:
                yield f"from {module} import ("
                yield from (f"    {part}," for part in parts)
                yield ")"
        if self._dynamic:
            yield "if _typing.TYPE_CHECKING:"
            yield from (f"    {line}" for ref in sorted(self._dynamic) for line in self._static(ref))
            yield "else:"
            yield from (f"    {self._dynamic[ref]} = {self._lookup(ref)}" for ref in sorted(self._dynamic))

    def _alias(self, name: str, package: str, public: set[str]) -> str:
        bare = name.lstrip("_")
        qualified = "_".join(("", *filter(None, package.split(".")), bare))
        alias = next(
            alias
            for alias in chain((name, f"_{bare}"), accumulate(repeat("_"), add, initial=qualified))
            # Two leading underscores mean something else in the body of a class.
            if alias not in public and alias not in self.private and not alias.startswith("__")
        )
        self.private.add(alias)
        return alias

    def _static(self, ref: ClassRef) -> Iterator[str]:
        """What type checkers read for a class that no import statement reaches."""
        alias = self._dynamic[ref]
        if not ref.stub_names:
            module, name = self._library.message_base
            yield f"from {module} import {name} as {alias}"
        elif len(ref.stub_names) == 1:
            yield f"from {ref.module} import {ref.stub_names[0]} as {alias}"
        else:
            yield f"from {ref.module} import {ref.stub_names[0]} as {alias}_"
            yield f"{alias}: {self.use('TypeAlias')} = {'.'.join((f'{alias}_', *ref.stub_names[1:]))}"

    def _lookup(self, ref: ClassRef) -> str:
        package = ", __package__" if ref.module.startswith(".") else ""
        found = f"{self.use('import_module')}({text(ref.module)}{package})"
        for name in ref.names:
            found = f"getattr({found}, {text(name)})"
        return found
