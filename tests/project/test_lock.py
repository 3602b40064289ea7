"""requirements/ pins, by hash, what pyproject.toml asks for, and nothing in it ties it to one machine or index."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {group: f"requirements/{group}.txt" for group in PROJECT["dependency-groups"]}
ENTRY = re.compile(
    r"^([a-z0-9-]+)==(\S+)(?: ; [^\\]+)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


def pins(group: str) -> dict[str, str]:
    text = (ROOT / LOCKS[group]).read_text()
    return {name: version for name, version, _ in ENTRY.findall(text)}


@pytest.mark.parametrize("group", LOCKS)
def test_the_lock_holds_pins_with_hashes_and_nothing_else(group: str) -> None:
    text = re.sub(r"^#.*\n", "", (ROOT / LOCKS[group]).read_text(), flags=re.MULTILINE)
    assert ENTRY.sub("", text) == ""


@pytest.mark.parametrize("group", LOCKS)
def test_the_lock_pins_what_the_group_asks_for(group: str) -> None:
    asked = dict(entry.split("==") for entry in PROJECT["dependency-groups"][group])
    locked = pins(group)
    assert {re.sub(r"\[.*\]", "", name): version for name, version in asked.items()}.items() <= locked.items(), (
        "make lock"
    )


def test_the_lock_holds_every_package_of_the_project_and_its_extras() -> None:
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    for extra in PROJECT["project"]["optional-dependencies"].values():
        wanted += extra
    names = {match[0] for entry in wanted if (match := re.match(r"[a-z0-9-]+", entry))}
    assert names <= pins("dev").keys(), "make lock"
