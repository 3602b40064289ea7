"""The plugin's options: a dataclass, parsed from the parameter of the request."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

__all__ = ["MessageLibrary", "Options", "OptionsError", "parse"]

MessageLibrary: TypeAlias = Literal["betterproto2", "google"]
"""Names of the message libraries."""

_LIBRARIES: tuple[MessageLibrary, ...] = get_args(MessageLibrary)


class OptionsError(Exception):
    """The invocation's options are wrong; the message has a line for each."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the invocation asks for.

    Attributes:
        messages: Message library whose classes the generated code uses.
        import_root: Python package under which the generated messages are importable; empty when `out` is on the path.
        strict: Whether warnings are errors.
        lock: Folder of the lock whose releases the contract is checked against; empty for no check.
        parameter: The options as given, for the header of generated files.
    """

    messages: MessageLibrary = "betterproto2"
    import_root: str = ""
    strict: bool = False
    lock: str = ""
    parameter: str = ""


def parse(parameter: str) -> Options:
    """Parse `name=value,name=value`.

    Raises:
        OptionsError: An option is unknown, given twice, or has a value that it cannot have.
    """
    given: dict[str, str] = {}
    problems: list[str] = []
    for item in filter(None, (item.strip() for item in parameter.split(","))):
        name, equals, value = item.partition("=")
        if name in given:
            problems.append(f"the option `{name}` is given twice")
        elif name in _PROBLEMS:
            problems += filter(None, [_PROBLEMS[name](value if equals else None)])
        else:
            problems.append(
                f"there is no option `{name}`; the options are `messages`, `import_root`, `strict` and `lock`"
            )
        given[name] = value
    if problems:
        raise OptionsError("\n".join(problems))
    return Options(
        messages=_LIBRARIES[_LIBRARIES.index(given["messages"])] if "messages" in given else "betterproto2",
        import_root=given.get("import_root", ""),
        strict=given.get("strict", "false") != "false",
        lock=given.get("lock", ""),
        parameter=parameter,
    )


def _library_problem(value: str | None) -> str:
    return "" if value in _LIBRARIES else _unknown_library(value or "")


def _root_problem(value: str | None) -> str:
    if not value or _is_package(value):
        return ""
    return f"`import_root={value}` is no Python package; write dotted names: import_root=gen.messages"


def _strict_problem(value: str | None) -> str:
    if value is None or value in {"true", "false"}:
        return ""
    return f"`strict={value}` is neither `strict=true` nor `strict=false`"


def _lock_problem(value: str | None) -> str:
    return "" if value else "`lock` has no value; write the folder of the lock: lock=protopact.lock"


# What is wrong with an option's value, None when there is none; empty when nothing is.
_PROBLEMS: Mapping[str, Callable[[str | None], str]] = {
    "messages": _library_problem,
    "import_root": _root_problem,
    "strict": _strict_problem,
    "lock": _lock_problem,
}


def _is_package(name: str) -> bool:
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in name.split("."))


def _unknown_library(value: str) -> str:
    valid = "valid are `messages=betterproto2` (the default) and `messages=google`"
    if value == "betterproto":
        return (
            "`messages=betterproto` is not supported: betterproto has no release any more, and betterproto2 is its "
            "successor; install betterproto2 with betterproto2-compiler, generate the messages with it, and write "
            "`messages=betterproto2`"
        )
    return f"`messages={value}` is not supported; {valid}"
