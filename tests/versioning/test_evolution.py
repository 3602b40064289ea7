"""Random contracts, random edits, random live releases: what the check calls safe is safe, and what it refuses is not.

Payloads are really written by one version and read by another, histories really recorded and replayed. `make prove`
draws more: `make prove PROGRAMS=20000`.
"""

from __future__ import annotations

import copy
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import get_args

import pytest
from tests.differential.shards import PROGRAMS, SEED
from tests.versioning.built import Built, LossError, pairs
from tests.versioning.evolution import NOTHING, Version, edited, first
from tests.versioning.witness import Crossing, Finding, Witness

from protopact_codegen.options import MessageLibrary
from protopact_codegen.versioning.capture import capture
from protopact_codegen.versioning.check import check
from protopact_codegen.versioning.flows import Role, flows
from protopact_codegen.versioning.rules import CONTRACT, PAYLOAD
from protopact_codegen.versioning.settings import Clients, Deployment, Encoding, ServiceSettings, Settings

_VALUES = 12
_ROLES = {
    "workflow": (Role.WORKFLOW_REQUEST, Role.WORKFLOW_RESPONSE),
    "activity": (Role.ACTIVITY_REQUEST, Role.ACTIVITY_RESPONSE),
    "signal": (Role.SIGNAL,),
    "query": (Role.QUERY_REQUEST, Role.QUERY_RESPONSE),
    "update": (Role.UPDATE_REQUEST, Role.UPDATE_RESPONSE),
}

_CLIENTS = "newer clients and older workers, or the reverse: test_handover.py shows it, no payload and no history does"
UNWITNESSED = {
    **dict.fromkeys(("C1", "C3b", "C22", "C24b", "C27", "C28", "C28b", "C30", "C31b"), _CLIENTS),
    "P3": "what is there is read; harm comes with whoever uses the number or the name again",
    "C14": "tasks wait on a queue that nobody polls: nothing fails",
    "C15": "runs wait on a queue that nobody polls: nothing fails",
    "C17": "look-ups miss, and starts are not refused: nothing of a payload or a history fails",
    "C18": "only children without an id of the code's choice: a program may have none",
    "C19": "only children: a program may have none",
    "C5": "only where code calls it, which no contract says",
    "C5b": "only where code calls it, which no contract says",
    "C24c": "only where code does something because of it, which no contract says",
    "C28c": "queries are in no history",
    "C31c": "only where code does something because of it, which no contract says",
    "C48": "only where code cancels it, which no contract says",
    "C6": "only where code calls it, which no contract says",
    "C21": "only where code calls it, which no contract says",
    "C23": "only where code does something because of it, which no contract says",
    "C24": "only where code does something because of it, which no contract says",
    "C26": "other SDKs compare the name of a signal to another workflow, Core does not",
    "P0": "the worst is assumed of a change of type that was not measured",
    "P35": "the worst is assumed of two shapes that differ, even where what differs is seldom written",
    "P23": "the zero value of a field without presence, its name with it, is never written",
    "P28": "it is read; what an unset value means is the code's",
}
"""Rules without a witness, or with one only now and then, and why."""


def settings_of(random: Random) -> ServiceSettings:
    return ServiceSettings((random.choice([*Encoding]),), random.choice([*Deployment]), random.choice([*Clients]))


def library_of(random: Random, versions: Sequence[Version]) -> MessageLibrary:
    """A message library; betterproto2 knows neither proto2 nor editions."""
    return random.choice(get_args(MessageLibrary)) if {each.syntax for each in versions} == {"proto3"} else "google"


def losses(old: Built, new: Built, settings: ServiceSettings, random: Random) -> Iterator[str]:
    """What goes wrong between two versions, as far as random payloads show."""
    (encoding,) = settings.encodings
    for before, after in pairs(old.version, new.version):
        for role in _ROLES[before.kind]:
            for direction in sorted(flows(role, settings), key=lambda each: each.value):
                crossing = Crossing.of((old, before), (new, after), direction, request=role.request)
                for index in range(_VALUES if crossing.exists else 0):
                    # Some losses need a field, others its absence.
                    fullness = (0.8, 0.4)[index % 2]
                    value = crossing.writer.sample(crossing.wrote, random, request=role.request, fullness=fullness)
                    try:
                        crossing.pass_(value, encoding)
                    except LossError as loss:
                        yield f"{role.value} {before.name}, {direction.value}: {loss}"
                        break


def replay_problem(old: Built, new: Built, settings: ServiceSettings, random: Random) -> str:
    if settings.deployment is Deployment.PINNED:
        return ""
    try:
        new.replay(old.record(settings.encodings[0], random))
    except LossError as loss:
        return str(loss)
    return ""


@pytest.mark.parametrize("seed", range(SEED, SEED + 24))
def test_what_is_called_safe_is_safe(seed: int, tmp_path: Path) -> None:
    prove_safe(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(8))
def test_what_is_called_safe_is_safe_at_length(shard: int, tmp_path: Path) -> None:
    for seed in range(PROGRAMS // 50):
        prove_safe(1000 * SEED + 100_000 * shard + seed, tmp_path / str(seed))


def changes_of(version: Version) -> set[str]:
    return {id_ for rpc in version.of_kind("workflow") for id_ in rpc.changes}


def prove_safe(seed: int, folder: Path) -> None:
    random = Random(seed)  # noqa: S311 - drawn again from the seed
    versions = [first(random)]
    names: list[str] = []
    for _ in range(random.randint(1, 4)):
        name, version = edited(random, versions[-1])
        names.append(name)
        versions.append(version)
    library = library_of(random, versions)
    built = [Built(version, folder, f"v{index}", library) for index, version in enumerate(versions)]
    *older, new = built
    live = [(f"v{index}", each) for index, each in enumerate(older) if random.random() < 0.7] or [("v0", older[0])]
    settings = settings_of(random)
    names_live = tuple(name for name, _ in live)
    releases = [each.release(name, names_live[:index]) for index, (name, each) in enumerate(live)]
    findings = check(new.contract, releases, Settings(settings))
    hit = {name for finding in findings for name in re.split(r", ", finding.message.partition("; live: ")[2])}
    for name, each in live:
        if name not in hit:
            told = f"seed {seed}, {library}, {versions[0].syntax}, {names}, {name}, {settings}"
            assert [*losses(each, new, settings, random)] == [], told
            # A change that came and went in between, and is in no live release, has left no trace: nobody can tell.
            cut = [each.version for _, each in live]
            passing = set[str]().union(*map(changes_of, versions)) - set[str]().union(*map(changes_of, cut))
            if passing <= changes_of(versions[-1]):
                assert replay_problem(each, new, settings, random) == "", told


@pytest.mark.parametrize("seed", range(6))
def test_edits_that_change_nothing_are_never_told(seed: int, tmp_path: Path) -> None:
    """Comments, order, layout, names of files, messages in another file of the package, proto3 as an edition."""
    random = Random(seed)  # noqa: S311 - drawn again from the seed
    version = first(random)
    edited_ = copy.deepcopy(version)
    for edit in NOTHING:
        edit(random, edited_)
    old, new = Built(version, tmp_path, "old"), Built(edited_, tmp_path, "new", shuffled=random)
    before, after = capture(old.contract), capture(new.contract)
    assert (before.messages, before.enums, before.elements) == (after.messages, after.enums, after.elements)
    for encoding in Encoding:
        for deployment in Deployment:
            settings = Settings(ServiceSettings((encoding,), deployment, Clients.OUTSIDE))
            assert check(new.contract, [old.release("v0")], settings, complete=True) == []


def witnesses(seeds: range, folder: Path) -> tuple[Counter[str], dict[str, list[int]]]:
    """For each rule how often it was told, and the seeds with which nothing went wrong."""
    told, silent = Counter[str](), defaultdict[str, list[int]](list)
    for seed in seeds:
        random = Random(seed)  # noqa: S311 - drawn again from the seed
        before = first(random)
        for _ in range(random.randint(0, 2)):
            _, before = edited(random, before)
        _, after = edited(random, before)
        library = library_of(random, (before, after))
        old, new = (Built(each, folder / str(seed), name, library) for each, name in ((before, "old"), (after, "new")))
        settings = ServiceSettings((random.choice([*Encoding]),), Deployment.ROLLING, Clients.OUTSIDE)
        witness = Witness(old, new, settings.encodings[0], random)
        for finding in map(Finding.of, check(new.contract, [old.release("v0")], Settings(settings))):
            told[finding.rule] += 1
            if not witness.shows(finding):
                silent[finding.rule].append(seed)
    return told, silent


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(4))
def test_what_is_refused_goes_wrong(shard: int, tmp_path: Path) -> None:
    """Every finding has a payload or a history that shows it, or its rule a reason why not."""
    start = 1000 * SEED + 1_000_000 * (shard + 1)
    told, silent = witnesses(range(start, start + PROGRAMS // 20), tmp_path)
    for rule in sorted({*PAYLOAD, *CONTRACT}, key=lambda rule: (rule[0], int(re.sub(r"\D", "", rule)), rule)):
        without = len(silent.get(rule, ()))
        reason = f": {UNWITNESSED[rule]}" if without and rule in UNWITNESSED else ""
        print(f"{rule}: told {told[rule]} times, {without} without a witness{reason}")  # noqa: T201 - what `make prove` shows
    assert {rule: seeds for rule, seeds in silent.items() if rule not in UNWITNESSED} == {}
