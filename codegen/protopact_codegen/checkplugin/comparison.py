"""One call of the check: the files that buf hands over, to findings, to annotations."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from protopact_codegen import lint, reader
from protopact_codegen.checkplugin.messages import Message, message
from protopact_codegen.checkplugin.rules import CODES, is_breaking
from protopact_codegen.contract import Contract
from protopact_codegen.diagnostics import Code, Diagnostic, Severity, render
from protopact_codegen.request import Request
from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.check import check
from protopact_codegen.versioning.lock import Lock, Release
from protopact_codegen.versioning.settings import Settings
from protopact_codegen.versioning.snapshot import Snapshot

__all__ = ["CheckError", "annotate"]

_LOCATION = "buf.plugin.descriptor.v1.FileLocation"
_AGAINST = "against"


class CheckError(Exception):
    """The check cannot be made as it was asked for; the message says why and what to do."""


def annotate(asked: Message) -> list[Message]:
    """Answer a `CheckRequest` with `buf.plugin.check.v1.Annotation`s.

    Raises:
        CheckError: An option is wrong, a rule is unknown, or a contract to be compared has errors of its own.
        LockError: The lock cannot be used.
    """
    lock = _lock(asked.options)
    wanted = _codes(asked.rule_ids)
    own, against = _paths(asked.file_descriptors), _paths(asked.against_file_descriptors)
    contract, findings = _read(asked.file_descriptors)
    if any(map(is_breaking, wanted)) and (lock is not None or asked.against_file_descriptors):
        errors = [finding for finding in findings if finding.code.severity is Severity.ERROR]
        _refuse("the contract", (error for error in errors if error.code not in wanted))
        if not errors:
            findings += _compare(contract, asked, lock, {*own, *against})
    found = sorted((finding for finding in findings if finding.code in wanted), key=lambda finding: finding.order)
    return [_annotation(finding, own, against) for finding in found]


def _lock(options: Iterable[Message]) -> str | None:
    found = None
    for option in options:
        if option.key != "lock":
            raise CheckError(f"there is no option `{option.key}`; the only one is `lock`, the folder of the lock")
        found = option.value.string_value
        if not found:
            raise CheckError("`lock` is no text; write the folder of the lock: `lock: protopact.lock`")
    return found


def _codes(ids: Iterable[str]) -> Collection[Code]:
    known = {code.value: code for code in CODES}
    unknown = [each for each in ids if each not in known]
    if unknown:
        raise CheckError(f"there is no rule {unknown[0]}; `buf config ls-lint-rules` lists them")
    return {known[each] for each in ids} or set(CODES)


def _paths(files: Iterable[Message]) -> list[str]:
    return sorted(file.file_descriptor_proto.name for file in files if not file.is_import)


def _read(files: Iterable[Message]) -> tuple[Contract, list[Diagnostic]]:
    protos = {file.file_descriptor_proto.name: file.file_descriptor_proto for file in files}
    contract, findings = reader.read(Request("", tuple(_paths(files)), protos))
    return contract, [*findings, *lint.check(contract)]


def _compare(contract: Contract, asked: Message, lock: str | None, paths: Collection[str]) -> list[Diagnostic]:
    if lock is None:
        before, findings = _read(asked.against_file_descriptors)
        _refuse("what it is compared with", (each for each in findings if each.code.severity is Severity.ERROR))
        return check(contract, [Release.of(_AGAINST, capture(before))], Settings(), passable=False)
    found = Lock.require(Path(lock))
    releases = [_within(release, paths) for release in found.live]
    return check(contract, releases, found.settings, retired=found.retired, complete=releases == list(found.live))


def _within(release: Release, paths: Collection[str]) -> Release:
    """A release without the services of other modules, which buf hands over in calls of their own."""
    old = release.snapshot
    services = {name: service for name, service in old.services.items() if service.file in paths}
    if len(services) == len(old.services):
        return release
    elements = {name: each for name, each in old.elements.items() if each.service in services}
    answered = {handler.rpc for each in elements.values() for handler in each.handlers}
    elements |= {name: old.elements[name] for name in sorted(answered - elements.keys())}
    return Release.of(release.name, Snapshot(services, elements, old.messages, old.enums), release.after)


def _refuse(what: str, errors: Iterable[Diagnostic]) -> None:
    lines = render(errors)
    if lines:
        raise CheckError("\n".join((f"{what} cannot be compared before it is without errors:", *lines)))


def _annotation(finding: Diagnostic, own: Sequence[str], against: Sequence[str]) -> Message:
    path = finding.position.path
    text = f"{finding.code.value} {finding.message}\n    hint: {finding.hint}"
    made = message("buf.plugin.check.v1.Annotation", rule_id=finding.code.value, message=text)
    place = message(_LOCATION, file_name=path, source_path=finding.anchor)
    if path in own:
        made.file_location.CopyFrom(place)
    elif path in against:
        made.against_file_location.CopyFrom(place)
    return made
