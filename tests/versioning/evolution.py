"""Random contracts that evolve: what they hold keeps an identity through every edit, so that what was meant is known.

A `Version` is a contract with the code on it. An edit changes a copy of it, as a developer would: the contract, and the
code as far as it has to follow.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from random import Random

__all__ = ["EDITS", "NOTHING", "Enum", "Field", "Message", "Rpc", "Step", "Value", "Version", "edited", "first"]

SCALARS = (
    *("int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "sfixed32", "sfixed64"),
    *("bool", "string", "bytes", "float", "double"),
)
SYNTAXES = ("proto3", "proto3", "proto2", "2023")
_IDS = count(1)


@dataclass
class Value:
    """A value of an enum."""

    id: int
    name: str
    number: int


@dataclass
class Enum:
    """An enum; `file` is the stem of the proto file that it stands in."""

    id: int
    name: str
    values: list[Value]
    reserved: list[int] = field(default_factory=list[int])
    file: str = "shop"


@dataclass
class Field:
    """A field; `type` is a scalar, or the id of a message or an enum.

    Its `label` is empty, `optional`, `repeated`, `map` from strings, or but for proto3 `required`; its `default` is as
    the file spells it.
    """

    id: int
    name: str
    number: int
    type: str | int
    label: str = ""
    oneof: str = ""
    json_name: str = ""
    default: str = ""


@dataclass
class Message:
    """A message; `file` is the stem of the proto file that it stands in."""

    id: int
    name: str
    fields: list[Field]
    aliases: list[str] = field(default_factory=list[str])
    reserved: list[str] = field(default_factory=list[str])
    file: str = "shop"


@dataclass
class Rpc:
    """An element; `handles` are the ids of what a workflow answers."""

    id: int
    kind: str
    name: str
    request: int
    response: int
    registered: str = ""
    aliases: list[str] = field(default_factory=list[str])
    options: dict[str, str] = field(default_factory=dict[str, str])
    handles: list[int] = field(default_factory=list[int])
    changes: dict[str, str] = field(default_factory=dict[str, str])
    steps: list[Step] = field(default_factory=list["Step"])


@dataclass
class Step:
    """What a workflow's code does: calls an activity or a child, receives a signal, sleeps.

    Attributes:
        what: `call`, `child`, `receive` or `sleep`.
        target: Id of the rpc; 0 for a sleep.
        change: The change that brings it; empty for what was always there.
    """

    what: str
    target: int = 0
    change: str = ""


@dataclass
class Version:
    """A contract and the code on it.

    Attributes:
        syntax: `proto2`, `proto3`, or the edition.
        home: Stem of the services' file.
    """

    rpcs: list[Rpc]
    messages: list[Message]
    enums: list[Enum]
    package: str = "shop.v1"
    syntax: str = "proto3"
    home: str = "shop"

    @property
    def types(self) -> list[Message | Enum]:
        return [*self.messages, *self.enums]

    def message(self, id_: int) -> Message:
        return next(each for each in self.messages if each.id == id_)

    def rpc(self, id_: int) -> Rpc | None:
        return next((each for each in self.rpcs if each.id == id_), None)

    def of_kind(self, *kinds: str) -> list[Rpc]:
        return [each for each in self.rpcs if each.kind in kinds]

    def find(self, type_: int) -> Message | Enum:
        return next(each for each in self.types if each.id == type_)

    def files(self, random: Random | None = None) -> dict[str, str]:
        """The proto files by their paths; with `random`, in another order and with comments."""
        said = 'syntax = "{}";' if self.syntax.startswith("proto") else 'edition = "{}";'
        made: dict[str, str] = {}
        apart = self._apart()
        for stem in ("parts", "shop") if apart else ("shop",):
            here = [each for each in self.types if (each.id in apart) is (stem == "parts")]
            parts = [self._service(random)] if stem == "shop" else []
            parts += [self._message(each, random) if isinstance(each, Message) else self._enum(each) for each in here]
            if random is not None:
                random.shuffle(parts)
                parts = [f"// Said.\n\n\n{part}" for part in parts]
            paths = ["google/protobuf/empty.proto", "protopact/v1/annotations.proto", *(made if stem == "shop" else ())]
            imports = "\n".join(f'import "{path}";' for path in paths)
            name = stem if stem == "parts" else self.home
            head = (said.format(self.syntax), f"package {self.package};", imports)
            made[f"{name}.proto"] = "\n\n".join((*head, *parts)) + "\n"
        return made

    def reached(self, type_: int) -> set[int]:
        """A message or enum, and what its fields lead to."""
        seen: set[int] = set()
        pending = [type_]
        while pending:
            id_ = pending.pop()
            found = self.find(id_) if id_ not in seen else None
            seen.add(id_)
            if isinstance(found, Message):
                pending += [each.type for each in found.fields if isinstance(each.type, int)]
        return seen

    def _apart(self) -> set[int]:
        """The types of the file `parts`, which imports nothing of the other one."""
        moved = {each.id for each in self.types if each.file == "parts"}
        return {id_ for id_ in moved if self.reached(id_) <= moved}

    def _service(self, random: Random | None) -> str:
        rpcs = [self._rpc(each) for each in self.rpcs]
        if random is not None:
            random.shuffle(rpcs)
        inside = "\n".join(rpcs)
        return f'service ShopService {{\n  option (protopact.v1.service) = {{task_queue: "shop"}};\n{inside}\n}}'

    def _rpc(self, rpc: Rpc) -> str:
        said = [f"{name}: {value}" for name, value in rpc.options.items()]
        said += [f'name: "{rpc.registered}"'] if rpc.registered else []
        said += [f'aliases: "{alias}"' for alias in rpc.aliases]
        for each in map(self.rpc, rpc.handles):
            said += [f'{each.kind}: {{ref: "{each.name}"}}'] if each is not None else []
        for id_, state in rpc.changes.items():
            said.append(f'change: {{id: "{id_}" since: "next"{" deprecated: true" if state == "deprecated" else ""}}}')
        response = "google.protobuf.Empty" if rpc.kind == "signal" else self.message(rpc.response).name
        head = f"  rpc {rpc.name}({self.message(rpc.request).name}) returns ({response})"
        return f"{head} {{ option (protopact.v1.method).{rpc.kind} = {{{' '.join(said)}}}; }}"

    def _message(self, message: Message, random: Random | None) -> str:
        lines = [f'option (protopact.v1.message).aliases = "{alias}";' for alias in message.aliases]
        lines += [f"reserved {self._reserved(each)};" for each in message.reserved]
        oneofs: dict[str, list[str]] = {}
        for each in message.fields:
            if each.oneof:
                oneofs.setdefault(each.oneof, []).append(self._field(each))
            else:
                lines.append(self._field(each))
        lines += [f"oneof {name} {{ {' '.join(inside)} }}" for name, inside in oneofs.items()]
        if random is not None:
            random.shuffle(lines)
        return f"message {message.name} {{\n  " + "\n  ".join(lines) + "\n}"

    def _reserved(self, what: str) -> str:
        return what if self.syntax.startswith("proto") else what.strip('"')

    def _field(self, each: Field) -> str:
        named = each.type if isinstance(each.type, str) else self.find(each.type).name
        options = [f'json_name = "{each.json_name}"'] if each.json_name else []
        label = "" if each.oneof else each.label
        if label == "map":
            named = f"map<string, {named}>"
        if each.default and self.defaults(each):
            options.append(f"default = {each.default}")
        if self.syntax == "proto2" and not each.oneof:
            label = label or "optional"
        if not self.syntax.startswith("proto"):
            presence = {"": "IMPLICIT", "required": "LEGACY_REQUIRED"}.get(label)
            if presence is not None and not each.oneof and not self._is_message(each):
                options.append(f"features.field_presence = {presence}")
            label = label if label == "repeated" else ""
        inside = f" [{', '.join(options)}]" if options else ""
        return f"{label.removeprefix('map')} {named} {each.name} = {each.number}{inside};".strip()

    def defaults(self, each: Field) -> bool:
        """Whether a field may have a default of its own."""
        known = self.syntax == "proto2" or (self.syntax != "proto3" and each.label != "")
        return known and each.label not in {"repeated", "map"} and each.type in {"int32", "string"} and not each.oneof

    def _is_message(self, each: Field) -> bool:
        return isinstance(each.type, int) and isinstance(self.find(each.type), Message)

    def _enum(self, enum: Enum) -> str:
        lines = [f"{each.name} = {each.number};" for each in enum.values]
        lines += [f"reserved {each};" for each in enum.reserved]
        return f"enum {enum.name} {{\n  " + "\n  ".join(lines) + "\n}"


def first(random: Random) -> Version:
    """Draw a contract with two workflows, two activities, a signal, a query and an update."""
    version = Version([], [], [], syntax=random.choice(SYNTAXES))
    for _ in range(2):
        id_ = next(_IDS)
        values = [Value(next(_IDS), f"E{id_}_V{number}", number) for number in range(3)]
        version.enums.append(Enum(id_, f"E{id_}", values))
    version.messages += [_message(random, version, "Part") for _ in range(2)]
    for kind in ("signal", "query", "update", "activity", "activity", "workflow", "workflow"):
        request, response = (_message(random, version, "Root") for _ in range(2))
        version.messages += [request, response]
        id_ = next(_IDS)
        rpc = Rpc(id_, kind, f"{kind.title()}{id_}", request.id, response.id)
        if kind == "activity":
            rpc.options["start_to_close_timeout"] = "{seconds: 60}"
        if kind == "workflow":
            rpc.handles = [each.id for each in version.of_kind("signal", "query", "update")]
            rpc.steps = _steps(random, version, rpc)
        version.rpcs.append(rpc)
    return version


def _steps(random: Random, version: Version, workflow: Rpc) -> list[Step]:
    known = [Step("call", each.id) for each in version.of_kind("activity")]
    known += [Step("receive", each.id) for each in version.of_kind("signal")]
    known += [Step("child", each.id) for each in version.of_kind("workflow") if each is not workflow]
    return [random.choice([*known, Step("sleep")]) for _ in range(random.randint(2, 4))] + [Step("sleep")]


def _message(random: Random, version: Version, stem: str) -> Message:
    id_ = next(_IDS)
    message = Message(id_, f"{stem}{id_}", [])
    for _ in range(random.randint(1, 4)):
        _add_field(random, version, message)
    return message


def _add_field(random: Random, version: Version, message: Message) -> None:
    id_ = next(_IDS)
    types: list[str | int] = [random.choice(SCALARS), random.choice(("int32", "string"))]
    types += [each.id for each in version.enums]
    types += [each.id for each in version.messages if each.name.startswith("Part") and each is not message]
    taken = {each.number for each in message.fields} | {int(each) for each in message.reserved if each.isdigit()}
    number = next(each for each in count(random.randint(1, 3)) if each not in taken)
    type_ = random.choice(types)
    made = Field(id_, f"f{id_}", number, type_, random.choice(_labels(version, type_)))
    if random.random() < 0.15:
        made.json_name = f"key{id_}"
    message.fields.append(made)


def _labels(version: Version, type_: str | int) -> tuple[str, ...]:
    """The labels that a field may have; what is required reaches no message, which may be its own."""
    required = ("required",) if version.syntax != "proto3" and isinstance(type_, str) else ()
    return ("", "", "optional", "repeated", "map", *required)


# -- edits

Edit = Callable[[Random, Version], bool]
"""Changes a version; False where it holds nothing of the kind."""


def _with_field(random: Random, version: Version) -> tuple[Message, Field] | None:
    pairs = [(message, each) for message in version.messages for each in message.fields]
    return random.choice(pairs) if pairs else None


def add_field(random: Random, version: Version) -> bool:
    message = random.choice(version.messages)
    _add_field(random, version, message)
    if random.random() < 0.2:
        message.fields[-1].oneof, message.fields[-1].label = f"o{message.id}", ""
    return True


def delete_field(random: Random, version: Version) -> bool:
    found = _with_field(random, version)
    if found is None:
        return False
    message, each = found
    message.fields.remove(each)
    if random.random() < 0.8:
        message.reserved += [str(each.number), f'"{each.name}"']
    return True


def rename_field(random: Random, version: Version) -> bool:
    found = _with_field(random, version)
    if found is None:
        return False
    _, each = found
    old, each.name = each.name, f"f{next(_IDS)}"
    if random.random() < 0.5:
        each.json_name = each.json_name or old
    return True


def rename_key(random: Random, version: Version) -> bool:
    found = _with_field(random, version)
    if found is not None:
        found[1].json_name = f"key{next(_IDS)}"
    return found is not None


def swap_keys(random: Random, version: Version) -> bool:
    """Swaps the JSON keys of two fields; keys that are names of fields cannot be another's, and are exchanged."""
    messages = [each for each in version.messages if len(each.fields) > 1]
    if not messages:
        return False
    one, other = random.sample(random.choice(messages).fields, 2)
    keys = [each.json_name if each.json_name != each.name else "" for each in (other, one)]
    one.json_name, other.json_name = (key or f"key{next(_IDS)}" for key in keys)
    return True


def reuse_key(random: Random, version: Version) -> bool:
    """Deletes a field, and adds one that has a key of it in JSON, or is read under one."""
    found = _with_field(random, version)
    if found is None:
        return False
    message, old = found
    message.fields.remove(old)
    message.reserved += [str(old.number), f'"{old.name}"']
    _add_field(random, version, message)
    made = message.fields[-1]
    if old.oneof and random.random() < 0.5:
        made.label, made.oneof = "", old.oneof
    ways = ["key", "name"] if old.json_name and old.json_name != old.name else ["key", "spelling"]
    way = random.choice(ways)
    if way == "spelling":
        made.name = f"f_{old.name.removeprefix('f').removeprefix('_')}"
        made.name += "_" if made.name == old.name else ""
    elif way == "name":
        made.name, made.json_name = old.json_name, random.choice(("", f"key{next(_IDS)}"))
    else:
        made.json_name = random.choice((old.json_name or old.name, old.name))
    return True


def renumber(random: Random, version: Version) -> bool:
    found = _with_field(random, version)
    if found is not None:
        found[1].number = 100 + next(_IDS) % 1000
    return found is not None


_LIKELY: Mapping[str, tuple[str, ...]] = {
    "int32": ("int64", "sint32", "fixed32", "uint32", "string"),
    "int64": ("int32", "string", "sint64", "uint64"),
    "string": ("bytes",),
    "bool": ("int32", "int64"),
    "float": ("double",),
}


def retype(random: Random, version: Version) -> bool:
    found = _with_field(random, version)
    if found is None:
        return False
    _, each = found
    if isinstance(each.type, str):
        each.type = random.choice([*_LIKELY.get(each.type, ()), random.choice(SCALARS)])
    else:
        same = version.enums if isinstance(version.find(each.type), Enum) else version.messages
        parts = [other.id for other in same if other.name[0] == "E" or other.name.startswith("Part")]
        types: list[str | int] = [*parts, "int32", "string"]
        each.type = random.choice(types)
    each.default = ""
    return True


def relabel(random: Random, version: Version) -> bool:
    found = _with_field(random, version)
    if found is not None:
        found[1].label, found[1].oneof = random.choice(_labels(version, found[1].type)), ""
    return found is not None


def set_default(random: Random, version: Version) -> bool:
    fields = [each for message in version.messages for each in message.fields if version.defaults(each)]
    if not fields:
        return False
    each = random.choice(fields)
    each.default = str(random.randint(1, 9)) if each.type == "int32" else f'"text {random.randint(1, 9)}"'
    return True


def move_types(random: Random, version: Version) -> bool:
    """Moves a message or enum of the package, and what it needs, to another file, or back."""
    moved = random.choice(version.types)
    file = "shop" if moved.file == "parts" else "parts"
    for each in version.types:
        if each.id in version.reached(moved.id):
            each.file = file
    return True


def rename_file(_: Random, version: Version) -> bool:
    version.home = "store" if version.home == "shop" else "shop"
    return True


def migrate(_: Random, version: Version) -> bool:
    """Writes proto3 as an edition, with the features that proto3 has."""
    if version.syntax != "proto3":
        return False
    version.syntax = "2023"
    return True


NOTHING = (move_types, rename_file, migrate)
"""Edits that change nothing of a message."""


def into_oneof(random: Random, version: Version) -> bool:
    message = random.choice([each for each in version.messages if each.fields] or [version.messages[0]])
    singular = [each for each in message.fields if each.label not in {"repeated", "map"}]
    for each in random.sample(singular, min(len(singular), random.randint(1, 2))):
        each.label, each.oneof = "", f"o{message.id}"
    return bool(singular)


def add_value(random: Random, version: Version) -> bool:
    enum, id_ = random.choice(version.enums), next(_IDS)
    enum.values.append(Value(id_, f"E{enum.id}_V{id_}", id_))
    return True


def remove_value(random: Random, version: Version) -> bool:
    enum = random.choice(version.enums)
    if len(enum.values) > 1:
        enum.reserved.append(enum.values.pop().number)
        return True
    return False


def reorder_values(random: Random, version: Version) -> bool:
    """Declares the values of a closed enum in another order; an open one begins with zero."""
    if version.syntax == "proto2":
        random.shuffle(random.choice(version.enums).values)
    return version.syntax == "proto2"


def rename_value(random: Random, version: Version) -> bool:
    enum = random.choice(version.enums)
    random.choice(enum.values).name = f"E{enum.id}_R{next(_IDS)}"
    return True


def renumber_value(random: Random, version: Version) -> bool:
    enum = random.choice(version.enums)
    if len(enum.values) < 2:
        return False
    one, other = random.choice(enum.values[1:]), random.choice(enum.values[1:])
    if one is other:
        one.number = 1000 + next(_IDS)
    else:
        one.number, other.number = other.number, one.number
    return True


def rename_message(random: Random, version: Version) -> bool:
    message = random.choice(version.messages)
    old, message.name = message.name, f"{message.name[:4]}{next(_IDS)}"
    if random.random() < 0.5:
        message.aliases.append(f"{version.package}.{old}")
    return True


def rename_package(random: Random, version: Version) -> bool:
    """Renames the package, with every old name declared, or none."""
    old, version.package = version.package, f"shop.v{next(_IDS)}"
    if random.random() < 0.7:
        for message in version.messages:
            message.aliases.append(f"{old}.{message.name}")
        for rpc in version.rpcs:
            full = f"{old}.ShopService.{rpc.name}"
            if rpc.kind == "activity":
                rpc.registered = rpc.registered or full
            elif not rpc.registered:
                rpc.aliases.append(full)
    return True


def rename_rpc(random: Random, version: Version) -> bool:
    rpc = random.choice(version.rpcs)
    old, rpc.name = rpc.name, f"{rpc.kind.title()}{next(_IDS)}"
    full = f"{version.package}.ShopService.{old}"
    way = random.choice(("alias", "name", "none"))
    if way == "alias" and not rpc.registered:
        rpc.aliases.append(full)
    elif way == "name":
        rpc.registered = rpc.registered or full
    return True


def swap_names(random: Random, version: Version) -> bool:
    """Swaps the registered names of two rpcs of a kind, and their messages with them, so that no payload notices."""
    alike = [rpcs for kind in ("activity", "signal", "query", "update") if len(rpcs := version.of_kind(kind)) > 1]
    if not alike:
        return False
    one, other = random.sample(random.choice(alike), 2)
    names = [each.registered or f"{version.package}.ShopService.{each.name}" for each in (other, one)]
    one.registered, other.registered = names
    one.request, other.request = other.request, one.request
    one.response, other.response = other.response, one.response
    return True


def remove_rpc(random: Random, version: Version) -> bool:
    rpc = random.choice(version.rpcs)
    if len(version.of_kind("workflow")) == 1 and rpc.kind == "workflow":
        return False
    version.rpcs.remove(rpc)
    for each in version.rpcs:
        each.handles = [id_ for id_ in each.handles if id_ != rpc.id]
        each.steps = [step for step in each.steps if step.target != rpc.id]
    return True


def add_rpc(random: Random, version: Version) -> bool:
    kind = random.choice(("signal", "query", "update", "activity", "workflow"))
    request, response = (_message(random, version, "Root") for _ in range(2))
    version.messages += [request, response]
    id_ = next(_IDS)
    rpc = Rpc(id_, kind, f"{kind.title()}{id_}", request.id, response.id)
    if kind == "activity":
        rpc.options["start_to_close_timeout"] = "{seconds: 60}"
    elif kind == "workflow":
        rpc.steps = [Step("sleep")]
    else:
        random.choice(version.of_kind("workflow")).handles.append(id_)
    version.rpcs.append(rpc)
    return True


def set_option(random: Random, version: Version) -> bool:
    rpc = random.choice(version.of_kind("workflow", "activity"))
    options = [("task_queue", f'"q{next(_IDS)}"'), ("retry_policy", f"{{max_attempts: {random.randint(1, 9)}}}")]
    if rpc.kind == "workflow":
        options += [("id", f'"{rpc.kind}-{next(_IDS)}"'), ("run_timeout", "{seconds: 36000}")]
    else:
        options.append(("heartbeat_timeout", "{seconds: 5}"))
    options.append(("wait_for_cancellation", random.choice(("true", "false"))))
    name, value = random.choice(options)
    rpc.options[name] = value
    return True


def add_change(random: Random, version: Version) -> bool:
    rpc = random.choice(version.of_kind("workflow"))
    id_ = f"change-{next(_IDS)}"
    rpc.changes[id_] = "active"
    activities = version.of_kind("activity")
    step = Step("call", random.choice(activities).id, id_) if activities else Step("sleep", 0, id_)
    rpc.steps.insert(random.randrange(len(rpc.steps) + 1), step)
    return True


def end_change(random: Random, version: Version) -> bool:
    """Deprecates a change, or removes it."""
    changed = [(rpc, id_) for rpc in version.of_kind("workflow") for id_ in rpc.changes]
    if not changed:
        return add_change(random, version)
    rpc, id_ = random.choice(changed)
    if random.random() < 0.5:
        rpc.changes[id_] = "deprecated"
    else:
        del rpc.changes[id_]
    return True


EDITS: tuple[Edit, ...] = (
    *(
        add_field,
        delete_field,
        rename_field,
        rename_key,
        swap_keys,
        reuse_key,
        renumber,
        retype,
        retype,
        relabel,
        into_oneof,
    ),
    *(set_default, move_types, rename_file, migrate),
    *(
        add_value,
        remove_value,
        rename_value,
        renumber_value,
        reorder_values,
        rename_message,
        rename_package,
        rename_rpc,
        swap_names,
        remove_rpc,
        add_rpc,
    ),
    *(set_option, add_change, end_change),
)


def edited(random: Random, version: Version) -> tuple[str, Version]:
    """A copy with one edit, and the name of the edit."""
    while True:
        edit = random.choice(EDITS)
        after = copy.deepcopy(version)
        if edit(random, after) and _compiles(after):
            return edit.__name__, after


def _compiles(version: Version) -> bool:
    """Whether the enums in maps begin with zero."""
    in_maps = {each.type for message in version.messages for each in message.fields if each.label == "map"}
    return all(enum.values[0].number == 0 for enum in version.enums if enum.id in in_maps)
