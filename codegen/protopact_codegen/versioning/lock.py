"""The lock: a folder with the contract of every release that is live, one file for each.

A file of its own for each release is what lets two branches that cut different ones merge. Each names the releases
that it came after, so that one which is lost is missed; a retired one stays as a file that says why.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from protopact_codegen.contract import RELEASE, Contract
from protopact_codegen.versioning import notation
from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.closure import digests
from protopact_codegen.versioning.notation import NotationError, Reader
from protopact_codegen.versioning.settings import FILE as SETTINGS
from protopact_codegen.versioning.settings import Settings, SettingsError
from protopact_codegen.versioning.snapshot import Snapshot

__all__ = ["DEFAULT", "Lock", "LockError", "Release"]

DEFAULT = Path("protopact.lock")
"""Where the lock is unless somebody says otherwise."""

_FORMAT = 1
_SUFFIX = ".release"
_LONGEST = 100
_DIGEST = "digest"
_DIGESTED = re.compile(rf"\S+ {_DIGEST} [0-9a-f]+")
_COMMENT = (
    "# A release that protopact checks contracts against. Written by `protopact release`; commit it, do not edit it."
)
_MARKS = "<=>|"
_MARKER = re.compile(r"(<{7}|={7}|>{7}|\|{7})( |$)")
_HEADER = ("format", "release", "after", "retired", "checksum")


class LockError(Exception):
    """The lock cannot be used, or what is asked of it cannot be done; the message says where, why and what to do."""


@dataclass(frozen=True)
class Release:
    """A release of the lock.

    Attributes:
        name: Its name.
        after: Names of the releases that the lock had when it was cut.
        lines: Its contract in notation; when it is retired, what its workflows declare of changes, for as long as an
            older release is live, its runs depend on what became of those.
        digests: Digests of its workflows' closures by rpc, as code that was generated from it carries them; they stay
            when it is retired.
        retired: Why it was retired; empty while it is live.
        reader: Reads its lines; one for all live releases of a lock, which have most of them in common.
    """

    name: str
    after: tuple[str, ...]
    lines: tuple[str, ...]
    digests: Mapping[str, str] = field(default_factory=dict[str, str])
    retired: str = ""
    reader: Reader = field(default_factory=Reader, compare=False, repr=False)

    @cached_property
    def snapshot(self) -> Snapshot:
        """Its contract."""
        return self.reader.read(self.lines)

    @staticmethod
    def of(name: str, snapshot: Snapshot, after: tuple[str, ...] = ()) -> Release:
        """A release that is in no lock, to compare with."""
        return Release(name, after, tuple(notation.write(snapshot)))

    def render(self) -> str:
        """Its file's text."""
        header = [f"format {_FORMAT}", f"release {self.name}"]
        header += [f"after {' '.join(self.after)}"] if self.after else []
        header += [f"retired {self.retired}"] if self.retired else []
        lines = sorted((*self.lines, *(f"{rpc} {_DIGEST} {digest}" for rpc, digest in self.digests.items())))
        body = "".join(f"{line}\n" for line in lines)
        return "\n".join((_COMMENT, *header, f"checksum {_checksum(header, lines)}", "", body))


class Lock:
    """The releases of a folder; read anew by each object.

    Raises:
        LockError: A file of it cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.exists = folder.is_dir()
        if folder.exists() and not self.exists:
            raise LockError(f"{folder} is a file; the lock is a folder, which `protopact release cut NAME` makes")
        paths = sorted(folder.glob(f"*{_SUFFIX}")) if self.exists else []
        reader = Reader()
        self.releases: Mapping[str, Release] = {path.name.removesuffix(_SUFFIX): _read(path, reader) for path in paths}
        for release in self.releases.values():
            for name in release.after:
                if name not in self.releases:
                    raise LockError(
                        f"{self._path(name)} is lost: {release.name} was cut after {name}, and a release that is over "
                        "is retired, not deleted; bring the file back from version control"
                    )

    @property
    def live(self) -> tuple[Release, ...]:
        """The releases that are not retired, each after those that it came after."""
        return tuple(release for release in self.all if not release.retired)

    @property
    def retired(self) -> tuple[Release, ...]:
        """The releases that are retired, each after those that it came after."""
        return tuple(release for release in self.all if release.retired)

    @property
    def all(self) -> tuple[Release, ...]:
        """Every release, each after those that it came after."""
        return tuple(sorted(self.releases.values(), key=_age))

    @cached_property
    def settings(self) -> Settings:
        """How payloads are written, and what is deployed how.

        Raises:
            LockError: The file of settings cannot be used.
        """
        path = self.folder / SETTINGS
        if not path.is_file():
            raise LockError(f"{path} is lost; bring it back from version control, or cut a release for a new one")
        text = _text(path)
        conflict = _conflict(text)
        if conflict:
            raise LockError(
                f"{path}:{conflict}: markers of a merge conflict: two branches have said this differently; leave one "
                "line for each setting, and remove the markers"
            )
        try:
            return Settings.parse(text)
        except SettingsError as error:
            raise LockError(f"{path}:{error.line}: {error}") from error

    def settings_for(self, contract: Contract) -> Settings:
        """The settings, which name services of a contract and of live releases only.

        Raises:
            LockError: The file of settings cannot be used, or names another one.
        """
        if self.settings.services:
            snapshots = (capture(contract), *(release.snapshot for release in self.live))
            known = {element.service for snapshot in snapshots for element in snapshot.elements.values()}
            try:
                self.settings.check(known)
            except SettingsError as error:
                raise LockError(f"{self.folder / SETTINGS}:{error.line}: {error}") from error
        return self.settings

    def find(self, name: str) -> Release:
        """A release by its name, live or retired.

        Raises:
            LockError: There is none.
        """
        found = self.releases.get(name)
        if found is None:
            raise LockError(
                f"there is no release {name!r} in {self.folder}; "
                + (
                    f"there are {', '.join(self.releases)}"
                    if self.releases
                    else "`protopact release cut NAME` makes one"
                )
            )
        return found

    def find_live(self, name: str) -> Release:
        """A live release by its name.

        Raises:
            LockError: There is none, or it is retired.
        """
        found = self.find(name)
        if found.retired:
            raise LockError(f"the release {name} is retired ({found.retired}), and its contract is gone")
        return found

    @classmethod
    def require(cls, folder: Path) -> Lock:
        """Read a lock that must be there.

        Raises:
            LockError: There is none, or none with a release, or a file of it cannot be used.
        """
        lock = cls(folder)
        if not lock.exists:
            raise LockError(
                f"there is no lock at {folder}; if it never was there, `protopact release cut NAME` makes it from the "
                "contract that is deployed; if it was, bring it back from version control"
            )
        if not lock.releases:
            raise LockError(
                f"{folder} holds no release; if it held some, bring them back from version control; if it never did, "
                "`protopact release cut NAME` makes the first from the contract that is deployed"
            )
        return lock

    def cut(self, name: str, snapshot: Snapshot) -> bool:
        """Add a live release.

        Returns:
            Whether anything was written: False when the release is there with the same contract.

        Raises:
            LockError: The name is no name, or is taken by another contract.
        """
        if RELEASE.fullmatch(name) is None or name.endswith(_SUFFIX) or len(name) > _LONGEST:
            raise LockError(
                f"{name!r} is no name of a release: letters, digits and `.`, `_`, `+`, `-` are, {_LONGEST} at most, as "
                "in v1.4"
            )
        alike = next((each for each in self.releases if each != name and each.lower() == name.lower()), None)
        if alike is not None:
            raise LockError(f"{name} and {alike} are one file where letters have no case; choose another name")
        lines = tuple(notation.write(snapshot))
        known = self.releases.get(name)
        if known is not None and known.retired:
            raise LockError(f"the release {name} was cut before, and is retired ({known.retired}); choose another name")
        if known is not None and known.lines != lines:
            changed = len(set(known.lines) ^ set(lines))
            differ = "1 line differs" if changed == 1 else f"{changed} lines differ"
            raise LockError(
                f"the release {name} is cut already, from another contract: {differ} (`protopact release "
                f"diff {name}`); a release does not change: choose another name"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self.folder / SETTINGS
        if not settings.exists():
            settings.write_text(Settings().render(), encoding="utf-8")
        if known is not None:
            return False
        release = Release(name, tuple(sorted(self.releases)), lines, digests(snapshot))
        self._path(name).write_text(release.render(), encoding="utf-8")
        return True

    def retire(self, name: str, reason: str) -> None:
        """Retire a live release: nothing is checked against it any more.

        Raises:
            LockError: There is no such release, it is retired already, or the reason is empty.
        """
        release = self.find(name)
        if release.retired:
            raise LockError(f"the release {name} is retired already: {release.retired}")
        reason = " ".join(reason.split())
        if not reason:
            raise LockError("the reason is empty; it stays in the lock, for whoever asks later: say it")
        kept = tuple(notation.declared(release.lines))
        retired = Release(name, release.after, kept, release.digests, reason)
        self._path(name).write_text(retired.render(), encoding="utf-8")

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{_SUFFIX}"


def _age(release: Release) -> tuple[int, str]:
    return len(release.after), release.name


def _checksum(header: Sequence[str], lines: Sequence[str]) -> str:
    return sha256("\n".join((*header, "", *lines)).encode()).hexdigest()[:32]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise LockError(f"{path} is no text; bring it back from version control") from error


def _conflict(whole: str) -> int:
    """The line of the first marker of a merge conflict, counted from 1; 0 without one."""
    if any(mark * 7 in whole for mark in _MARKS):
        return next((number for number, line in enumerate(whole.split("\n"), 1) if _MARKER.match(line)), 0)
    return 0


def _read(path: Path, reader: Reader) -> Release:
    whole = _text(path)
    text = whole.removesuffix("\n").split("\n")  # a default may hold what else ends a line
    conflict = _conflict(whole)
    if conflict:
        raise LockError(
            f"{path}:{conflict}: markers of a merge conflict: two branches have cut or retired this release "
            "differently; take one side whole (`git checkout --ours` or `--theirs`), or cut it under another name"
        )
    blank = text.index("") if "" in text else len(text)
    header = [line for line in text[:blank] if not line.startswith("#")]
    words = {word: rest for word, _, rest in (line.partition(" ") for line in header)}
    edited = f"; bring {path.name} back from version control, or cut the release under another name"
    version = words.get("format", "")
    if version.isdigit() and int(version) > _FORMAT:
        raise LockError(
            f"{path}: the format of the lock is {version}, and this protopact reads {_FORMAT}: install a newer "
            "protopact"
        )
    name = path.name.removesuffix(_SUFFIX)
    if version != str(_FORMAT) or words.get("release") != name or not set(words) <= set(_HEADER):
        raise LockError(f"{path}: this is not the file of the release {name}{edited}")
    lines = tuple(text[blank + 1 :])
    if words.get("checksum") != _checksum([line for line in header if not line.startswith("checksum ")], lines):
        raise LockError(f"{path} was edited by hand, or merged: its checksum does not hold{edited}")
    marked = {line for line in lines if f" {_DIGEST} " in line and _DIGESTED.fullmatch(line)}
    digested = {rpc: digest for rpc, _, digest in (line.split(" ") for line in sorted(marked))}
    contract = tuple(line for line in lines if line not in marked)
    after = tuple(words.get("after", "").split())
    retired = words.get("retired", "")
    release = Release(name, after, contract, digested, retired, Reader() if retired else reader)
    try:
        _ = release.snapshot
    except NotationError as error:
        number = blank + 2 + lines.index(contract[error.index])
        raise LockError(f"{path}:{number}: {error}{edited}") from error
    return release
