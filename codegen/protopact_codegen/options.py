"""The plugin's options: a dataclass, parsed from the parameter of the request."""

from __future__ import annotations

import keyword
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
        parameter: The options as given, for the header of generated files.
    """

    messages: MessageLibrary = "betterproto2"
    import_root: str = ""
    strict: bool = False
    parameter: str = ""


def parse(parameter: str) -> Options:
    """Parse `name=value,name=value`.

    Raises:
        OptionsError: An option is unknown, given twice, or has a value that it cannot have.
    """
    messages: MessageLibrary = "betterproto2"
    import_root = ""
    strict = False
    seen: set[str] = set()
    problems: list[str] = []
    for item in filter(None, (item.strip() for item in parameter.split(","))):
        name, equals, value = item.partition("=")
        if name in seen:
            problems.append(f"the option `{name}` is given twice")
        elif name == "messages" and value in _LIBRARIES:
            messages = _LIBRARIES[_LIBRARIES.index(value)]
        elif name == "messages":
            problems.append(_unknown_library(value))
        elif name == "import_root" and (not value or _is_package(value)):
            import_root = value
        elif name == "import_root":
            problems.append(f"`import_root={value}` is no Python package; write dotted names: import_root=gen.messages")
        elif name == "strict" and (value in {"true", "false"} or not equals):
            strict = value != "false"
        elif name == "strict":
            problems.append(f"`strict={value}` is neither `strict=true` nor `strict=false`")
        else:
            problems.append(f"there is no option `{name}`; the options are `messages`, `import_root` and `strict`")
        seen.add(name)
    if problems:
        raise OptionsError("\n".join(problems))
    return Options(messages, import_root, strict, parameter)


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
