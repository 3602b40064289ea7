"""The settings of a lock: how payloads are written and read, how workers are deployed, whose the clients are.

A line for each, and lines of a service where it differs:

    encoding json/protobuf lenient
    deployment rolling
    clients inside
    nodes.v1.NodeService deployment pinned
    nodes.v1.NodeService clients outside
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum

__all__ = ["FILE", "Clients", "Deployment", "Encoding", "ServiceSettings", "Settings", "SettingsError"]

FILE = "settings"
"""Name of the file in the folder of the lock."""


class Encoding(Enum):
    """How payloads are written, and what a reader does with what it does not know."""

    BINARY = "binary/protobuf"
    STRICT_JSON = "json/protobuf strict"
    LENIENT_JSON = "json/protobuf lenient"


class Deployment(Enum):
    """How a new version of the workers takes over."""

    IN_PLACE = "in-place"
    ROLLING = "rolling"
    PINNED = "pinned"


class Clients(Enum):
    """Whether clients are deployed together with the workers, or elsewhere at times of their own."""

    INSIDE = "inside"
    OUTSIDE = "outside"


class SettingsError(Exception):
    """A line of the settings means nothing; `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What holds for one service."""

    encodings: tuple[Encoding, ...] = (Encoding.LENIENT_JSON,)
    deployment: Deployment = Deployment.ROLLING
    clients: Clients = Clients.INSIDE


_TEXT = """\
# How payloads and deployments are: what `protopact check` assumes. Edit it, and have it reviewed.
# One line for each encoding in use: binary/protobuf, json/protobuf lenient (protopact's own reading, which tolerates
# unknown fields) or json/protobuf strict (Temporal's stock converter, which refuses them).
{encodings}
# in-place (all workers stop, then the new ones start, and there is no way back), rolling (old and new workers at the
# same time, or a way back), or pinned (a run stays with the workers that started it).
deployment {deployment}
# inside (clients are deployed together with the workers) or outside (some are deployed elsewhere).
clients {clients}
# Where a service differs, its full name stands before: `nodes.v1.NodeService deployment pinned`.
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings: what holds in general, and what holds for services by full name.

    Attributes:
        general: What holds where no service differs.
        services: What holds for a service that differs.
        lines: The first line about each of those, counted from 1.
    """

    general: ServiceSettings = field(default_factory=ServiceSettings)
    services: Mapping[str, ServiceSettings] = field(default_factory=dict[str, ServiceSettings])
    lines: Mapping[str, int] = field(default_factory=dict[str, int])

    def of(self, *services: str) -> ServiceSettings:
        """What holds for a service, given by its full names, those that it had before last."""
        return next((self.services[each] for each in services if each in self.services), self.general)

    def check(self, known: Collection[str]) -> None:
        """Check that the services that differ are among those that are known.

        Raises:
            SettingsError: One is not.
        """
        for name, line in self.lines.items():
            if name not in known:
                near = get_close_matches(name, known)
                meant = f"; is {' or '.join(near)} meant? Correct the name" if near else "; correct the name"
                raise SettingsError(
                    line, f"neither the contract nor a live release has a service {name}{meant}, or remove the line"
                )

    def render(self) -> str:
        """The text of the file for what holds in general."""
        return _TEXT.format(
            encodings="\n".join(f"encoding {encoding.value}" for encoding in self.general.encodings),
            deployment=self.general.deployment.value,
            clients=self.general.clients.value,
        )

    @staticmethod
    def parse(text: str) -> Settings:
        """Parse the text of the file.

        Raises:
            SettingsError: A line means nothing, or says again what is said already, or one is not there.
        """
        said: dict[str, dict[str, list[str]]] = {"": {}}
        lines: dict[str, int] = {}
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if words and not words[0].startswith("#"):
                scope = "" if words[0] in _VALUES else words.pop(0)
                name, value = (words or [""])[0], " ".join(words[1:])
                _check(number, line, name, value)
                if scope:
                    lines.setdefault(scope, number)
                values = said.setdefault(scope, {}).setdefault(name, [])
                if values and name != "encoding":
                    raise SettingsError(number, f"{name} is said twice; remove one of the two lines")
                values.append(value)
        for name, expected in _VALUES.items():
            if name not in said[""]:
                what = f"{name} is not said; add a line: {name} {' or '.join(expected)}"
                raise SettingsError(len(text.splitlines()), what)
        general = _settings(ServiceSettings(), said.pop(""))
        return Settings(general, {scope: _settings(general, values) for scope, values in said.items()}, lines)


def _check(number: int, line: str, name: str, value: str) -> None:
    if name not in _VALUES:
        raise SettingsError(number, f"{line!r} sets nothing; the settings are {', '.join(_VALUES)}")
    if value not in _VALUES[name]:
        raise SettingsError(number, f"{name} is {value!r}; expected {' or '.join(_VALUES[name])}")


def _settings(base: ServiceSettings, said: Mapping[str, Sequence[str]]) -> ServiceSettings:
    return ServiceSettings(
        tuple(dict.fromkeys(map(Encoding, said.get("encoding", ())))) or base.encodings,
        Deployment(said["deployment"][0]) if "deployment" in said else base.deployment,
        Clients(said["clients"][0]) if "clients" in said else base.clients,
    )


_VALUES: Mapping[str, tuple[str, ...]] = {
    "encoding": tuple(each.value for each in Encoding),
    "deployment": tuple(each.value for each in Deployment),
    "clients": tuple(each.value for each in Clients),
}
