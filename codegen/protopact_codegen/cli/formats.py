"""The formats of findings: for people, for programs, for GitHub, and for everything that reads SARIF."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import TypeAlias
from urllib.parse import quote

from protopact_codegen._version import __version__
from protopact_codegen.diagnostics import Code, Diagnostic, Severity, render, summary

__all__ = ["Format", "write"]

_Json: TypeAlias = "str | int | Sequence[_Json] | Mapping[str, _Json]"
_Files: TypeAlias = Mapping[str, str]

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


class Format(StrEnum):
    """How findings are printed."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"


def write(findings: Sequence[Diagnostic], form: Format, files: Mapping[str, str]) -> str:
    """Write findings.

    Args:
        findings: The findings, in their order.
        form: The format.
        files: Paths of the files from the working directory, by the paths under which contracts import them; those that
            are not there are written as they are imported.

    Returns:
        Lines without the end of the last one; empty when there is nothing to say.
    """
    return _FORMATS[form](findings, files)


def _text(findings: Sequence[Diagnostic], _: _Files) -> str:
    lines: list[str] = []
    for severity in Severity:
        rendered = render(finding for finding in findings if finding.code.severity is severity)
        lines += (summary(rendered, severity), *rendered) if rendered else ()
    return "\n".join(lines)


def _json(findings: Sequence[Diagnostic], files: _Files) -> str:
    return _dump([_plain(finding, files) for finding in findings])


def _plain(finding: Diagnostic, files: _Files) -> dict[str, str | int]:
    position = finding.position
    return {
        "path": files.get(position.path, position.path),
        **({"release": position.release} if position.release else {"line": position.line, "column": position.column}),
        "severity": finding.code.severity.value,
        "code": finding.code.value,
        "message": finding.message,
        "hint": finding.hint,
    }


def _github(findings: Sequence[Diagnostic], files: _Files) -> str:
    """Workflow commands, which GitHub shows beside the lines of a pull request."""
    lines: list[str] = []
    for finding in findings:
        plain = {name: str(value) for name, value in _plain(finding, files).items()}
        names = {"file": "path", "line": "line", "col": "column", "title": "code"}
        place = {name: plain[key] for name, key in names.items() if key in plain}
        properties = ",".join(f"{name}={_property(value)}" for name, value in place.items())
        lines.append(f"::{plain['severity']} {properties}::{_data(_words(finding))}")
    return "\n".join(lines)


def _words(finding: Diagnostic) -> str:
    return f"{finding.message}\nhint: {finding.hint}"


def _data(text: str) -> str:
    """Write what ends a message as GitHub's workflow commands want it written."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Write what ends a property as well."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _sarif(findings: Sequence[Diagnostic], files: _Files) -> str:
    """SARIF 2.1.0, the exchange format of static analysis, which code scanning reads."""
    codes = sorted({finding.code for finding in findings}, key=lambda code: code.value)
    driver: _Json = {"name": "protopact", "version": __version__, "rules": [_rule(code) for code in codes]}
    run: _Json = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, codes, files) for finding in findings],
    }
    return _dump({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]})


def _rule(code: Code) -> _Json:
    words = code.name.replace("_", " ").capitalize()
    return {
        "id": code.value,
        "name": words.title().replace(" ", ""),
        "shortDescription": {"text": f"{words}."},
        "defaultConfiguration": {"level": code.severity.value},
    }


def _result(finding: Diagnostic, codes: Sequence[Code], files: _Files) -> _Json:
    position = finding.position
    physical: dict[str, _Json] = {"artifactLocation": {"uri": quote(files.get(position.path, position.path))}}
    if not position.release:
        physical["region"] = {"startLine": position.line, "startColumn": position.column}
    return {
        "ruleId": finding.code.value,
        "ruleIndex": codes.index(finding.code),
        "level": finding.code.severity.value,
        "message": {"text": _words(finding)},
        "locations": [{"physicalLocation": physical}],
    }


def _dump(value: _Json) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


_FORMATS: Mapping[Format, Callable[[Sequence[Diagnostic], _Files], str]] = {
    Format.TEXT: _text,
    Format.JSON: _json,
    Format.GITHUB: _github,
    Format.SARIF: _sarif,
}
