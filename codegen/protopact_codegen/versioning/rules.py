"""The rules: what each change does to a payload, and to a run, in the notation of the table they were measured in.

One row is one change. `old→new / new→old`: what a reader of the new contract makes of what the old one wrote, and the
reverse. ✓ the same, ~ another value or none, silently, ✗ an error; in JSON first as a reader sees it that refuses what
it does not know, then, after L, one that tolerates it, where that differs. Measured with google's protobuf;
`tests/versioning/payloads` does so again for each row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from protopact_codegen.versioning.settings import Encoding

__all__ = ["CONTRACT", "PAYLOAD", "ContractRule", "Direction", "Outcome", "PayloadRule", "Verdict"]


class Outcome(Enum):
    """What a reader makes of a payload that another contract wrote."""

    SAME = "✓"
    LOSS = "~"
    ERROR = "✗"

    @property
    def bad(self) -> bool:
        """Whether it must not happen; silent loss is as bad as an error."""
        return self is not Outcome.SAME


class Direction(Enum):
    """Who wrote, and who reads."""

    FORWARD = "old→new"
    BACKWARD = "new→old"


class Verdict(Enum):
    """What a change asks for, the worst last."""

    SAFE = "safe"
    ORDER = "order"
    DRAIN = "drain"
    PATCH = "patch"
    BREAK = "break"

    @property
    def rank(self) -> int:
        """Its place among the verdicts, the worst last."""
        return list(Verdict).index(self)


@dataclass(frozen=True, slots=True)
class PayloadRule:
    """One change of a message or enum.

    Attributes:
        name: Its row; with a letter, a variant of it.
        change: What changes.
        outcomes: What happens under each encoding in each direction.
        hint: The way out, where it is another than that of the verdict.
        warns: Whether it is warned of even where it is safe, because what is read means something else.
        seen: Whether the contract shows that anybody is hurt; otherwise only what an older release wrote is.
    """

    name: str
    change: str
    outcomes: Mapping[Encoding, Mapping[Direction, Outcome]]
    hint: str = ""
    warns: bool = False
    seen: bool = True


@dataclass(frozen=True, slots=True)
class ContractRule:
    """One change of an element.

    Attributes:
        name: Its row; with a letter, a variant of it: mostly `b`, where the old name is kept as an alias, `c`,
            where another element has it, and `d`, where an alias goes.
        change: What changes.
        verdict: What open runs and histories ask for.
        consequence: What happens to them; where it is safe, what happens to newer clients.
        hint: The way out.
        older: Whether clients from before the change are hurt by workers from after it.
        newer: Whether clients from after the change are hurt by workers from before it.
        calls: Whether it is runs that clients call by what changed, rather than workers that they start runs on.
        lasts: Whether a run is hurt even where it stays with the workers that started it.
        seen: Whether the contract shows that anybody is hurt; otherwise only code does.
    """

    name: str
    change: str
    verdict: Verdict
    consequence: str
    hint: str
    older: bool = False
    newer: bool = False
    calls: bool = False
    lasts: bool = False
    seen: bool = True


def _cell(text: str) -> dict[Direction, tuple[Outcome, Outcome]]:
    """Outcomes of a strict and of a tolerant reader: `✓/✗ L✓`."""
    cell: dict[Direction, tuple[Outcome, Outcome]] = {}
    for direction, side in zip(Direction, text.split("/"), strict=True):
        strict, _, lenient = side.partition(" L")
        cell[direction] = Outcome(strict), Outcome(lenient or strict)
    return cell


def _payload(
    name: str, change: str, binary: str, json: str, hint: str = "", *, warns: bool = False, seen: bool = True
) -> PayloadRule:
    as_binary, as_json = _cell(binary), _cell(json)
    outcomes = {
        Encoding.BINARY: {direction: as_binary[direction][0] for direction in Direction},
        Encoding.STRICT_JSON: {direction: as_json[direction][0] for direction in Direction},
        Encoding.LENIENT_JSON: {direction: as_json[direction][1] for direction in Direction},
    }
    return PayloadRule(name, change, outcomes, hint, warns, seen)


_RESERVE = 'reserve both, `reserved {number}; reserved "{name}";`, so that neither comes back as something else'
_PIN = 'keep the key of the JSON: `[json_name = "{key}"]`'
_KEY = "leave {key} to the field that it was of: give the other one another name, or another `json_name`"
_BESIDE = "leave the field as it is, and add another one beside it, with another number and another name"
_BACK = "bring {name} back, with `[deprecated = true]`, and write it no more"
_APART = "leave the fields where they are, and add others in a oneof beside them, with numbers and names of their own"
_MESSAGE = "give the rpc its message back; to change it, change the fields within, or add an rpc beside it"
_KEEP_ALIAS = "keep it until no run or history of these releases is left"
_MESSAGE_ALIAS = 'say its old name in the message: `option (protopact.v1.message).aliases = "{old}";`'

# A string may hold any text, also what no integer or time is written as: P14, P15 and P38 say so of older readers.
_PAYLOAD_ROWS = (
    #        row    change                                    binary  JSON
    _payload("P1", "a field is added", "✓/✓", "✓/✗ L✓"),
    _payload("P2", "a field is deleted and reserved", "✓/✓", "✗ L✓/✓", _BACK),
    _payload("P3", "a field is deleted and not reserved", "✓/✓", "✗ L✓/✓", _RESERVE),
    _payload("P4", "a number is used again for another field", "~/~", "✗ L~/✗ L~", _BESIDE),
    _payload("P4b", "a key in JSON is used again for another field", "✓/✓", "~/~", _KEY),
    _payload("P4c", "a field gets as its name a key in JSON that another one had", "✓/✓", "~/✓", _KEY),
    _payload("P4d", "a field gets as its key in JSON a name that another one had", "✓/✓", "✓/~", _KEY),
    _payload("P5", "a number of an enum is used again", "~/~", "✗/✗", "give the value a number of its own"),
    _payload("P6", "a field gets another number", "~/~", "✓/✓", "give it its old number back"),
    _payload("P7", "a field is renamed", "✓/✓", "✗ L~/✗ L~", _PIN),
    _payload("P8", "a field is renamed, and keeps its key in JSON", "✓/✓", "✓/✓"),
    _payload("P9", "a field gets another key in JSON", "✓/✓", "✗ L~/✗ L~", _PIN),
    _payload("P9b", "a field gets its proto name as key in JSON", "✓/✓", "✗ L~/✓", _PIN),
    _payload("P9c", "a field gives up its proto name as key in JSON", "✓/✓", "✓/✗ L~", _PIN),
    _payload("P10", "an integer type gets wider", "✓/~", "✓/✗"),
    _payload("P11", "an integer type gets narrower", "~/✓", "✗/✓", _BESIDE),
    _payload("P12", "an integer type changes its sign", "~/~", "✗/✗", _BESIDE),
    _payload("P13", "a number is encoded another way", "~/~", "✓/✓", _BESIDE),
    _payload("P13b", "a float becomes a double", "~/~", "✓/✗", _BESIDE),
    _payload("P13c", "a double becomes a float", "~/~", "✗/✓", _BESIDE),
    _payload("P14", "an integer of 32 bits becomes a string", "~/~", "✗/✗", _BESIDE),
    _payload("P15", "an integer of 64 bits becomes a string", "~/~", "✓/✗", _BESIDE),
    _payload("P16", "a string becomes bytes", "✓/✗", "✗/~", _BESIDE),
    _payload("P17", "a bool becomes an integer", "✓/~", "✗/✗", _BESIDE),
    _payload("P18", "an enum becomes an integer", "✓/✓", "✗/✓", _BESIDE),
    _payload("P19", "an integer becomes an open enum", "✓/✓", "✓/✗"),
    _payload("P20", "an open enum gets a value", "✓/✓", "✓/✗"),
    _payload("P21", "a closed enum gets a value", "✓/~", "✓/✗"),
    _payload("P22", "a value of an enum is removed", "✓/✓", "✗/✓", _BACK),
    _payload("P22b", "a value of a closed enum is removed", "~/✓", "✗/✓", _BACK),
    _payload("P23", "a value of an enum is renamed", "✓/✓", "✗/✗", "keep the old name before it, with `allow_alias`"),
    _payload("P24", "a value of an enum gets a second name, the old one first", "✓/✓", "✓/✓"),
    _payload("P24b", "a value of an enum gets a second name, the new one first", "✓/✓", "✓/✗"),
    _payload("P25", "a value of an enum gets another number", "~/~", "✓/✓", "give it its old number back"),
    _payload("P26", "a singular field becomes repeated", "✓/~", "✗/✗", _BESIDE),
    _payload("P27", "a repeated field becomes singular", "~/✓", "✗/✗", _BESIDE),
    _payload(
        "P28", "a field learns or forgets whether it is set", "✓/✓", "✓/✓", "look where the code reads it", warns=True
    ),
    _payload("P29", "a field moves into a new oneof", "✓/✓", "✓/✓"),
    _payload("P30", "several fields move into one oneof", "~/✓", "✗/✓", _APART),
    _payload(
        "P31", "a oneof gets a case", "✓/~", "✓/✗ L~", "put {name} beside the oneof, as a field that stands alone"
    ),
    _payload("P32", "a case of a oneof is removed", "~/✓", "✗ L~/✓", _BACK),
    _payload(
        "P33", "the fields of a oneof leave it", "✓/~", "✓/✗", "leave the fields in the oneof, and add others beside it"
    ),
    _payload("P34", "a field gets another message or enum of the same shape", "✓/✓", "✓/✓"),
    _payload("P35", "a field gets another message or enum of another shape", "~/~", "✗/✗", _BESIDE),
    _payload("P35b", "a message is delimited another way", "~/~", "✓/✓", _BESIDE),
    _payload("P36", "a scalar becomes a message, or the reverse", "✗/~", "✗/✗", _BESIDE),
    _payload("P36b", "a scalar becomes its wrapper, or the reverse", "✗/~", "✓/✓", _BESIDE),
    _payload("P37", "the values of a map change their type", "~/~", "✗/✗", _BESIDE),
    _payload("P38", "a Timestamp becomes a string", "~/✗", "✓/✗", _BESIDE),
    _payload("P39", "repeated entries become a map", "✓/✓", "✗/✗", "keys must be unique", warns=True),
    _payload("P40", "the message of an rpc is renamed", "✗/✗", "✗/✗", _MESSAGE_ALIAS),
    _payload("P40b", "the message of an rpc is renamed, and has its old name as alias", "✓/✗", "✓/✗"),
    _payload("P40c", "an alias of the message of an rpc is removed", "✗/✓", "✗/✓", _KEEP_ALIAS, seen=False),
    _payload("P41", "an rpc gets another message", "✗/✗", "✗/✗", _MESSAGE),
    _payload("P42", "a field becomes required", "✗/✓", "✗/✓", "leave it optional, and look at it in the code"),
    _payload("P43", "a field is required no more", "✓/✗", "✓/✗"),
    _payload("P44", "a default changes", "~/~", "~/~", _BESIDE),
    # No row of its own: a change of type that was not measured is taken for the worst.
    _payload("P0", "a type changes in a way that no other row knows", "~/~", "✗/✗", _BESIDE),
)

PAYLOAD: Mapping[str, PayloadRule] = {rule.name: rule for rule in _PAYLOAD_ROWS}
"""Changes of messages and enums, by row."""

_KEEP = "bring it back, and mark it `deprecated`, until no run or history of these releases is left"
_ALIAS = 'keep the old name: `aliases: "{old}"`'
_NDE = "open runs that have called it fail their next workflow task as nondeterministic"
_BESIDE_RPC = "keep the rpc, and add another one beside it"
_CHANGE = "declare a `change` that covers it"
_POLL = "have workers poll both queues until the old one is empty, then retire these releases"

_CONTRACT_ROWS = (
    ContractRule(
        "C1", "workflow added", Verdict.SAFE, "what newer clients start waits for a newer worker", "", newer=True
    ),
    ContractRule(
        "C2", "workflow removed", Verdict.DRAIN, "open runs of it fail their next workflow task", _KEEP, older=True
    ),
    ContractRule(
        "C3",
        "workflow renamed",
        Verdict.BREAK,
        "open runs find no workflow of their name, and wait",
        _ALIAS,
        older=True,
        newer=True,
    ),
    ContractRule("C3b", "workflow renamed, old name registered", Verdict.SAFE, "", "", newer=True),
    ContractRule(
        "C3c",
        "workflow's registered name taken by another one",
        Verdict.DRAIN,
        "open runs of it are carried on by the code of the other one, and fail as nondeterministic where it differs",
        "keep the two beside each other until no run or history of these releases is left",
    ),
    ContractRule(
        "C5",
        "activity renamed",
        Verdict.PATCH,
        _NDE,
        'give it its old name back with `name: "{old}"`; or keep the old rpc beside it, and have a declared `change` '
        "choose between the two",
    ),
    ContractRule(
        "C5b",
        "activity's registered name left to another rpc",
        Verdict.PATCH,
        "code that goes on calling the rpc calls another activity, and open runs that have called it fail their next "
        "workflow task as nondeterministic",
        'give it its old name back with `name: "{old}"`; or declare a `change` that covers it, and in the '
        "old branch call what has the name now",
    ),
    ContractRule(
        "C6",
        "activity removed",
        Verdict.PATCH,
        _NDE,
        f"bring it back; {_CHANGE}, stop calling it in the new branch, and remove it when every live release has that "
        "change",
    ),
    ContractRule(
        "C14",
        "default task queue of an activity changed",
        Verdict.DRAIN,
        "attempts that are scheduled on the old queue wait for a worker that may never come",
        _POLL,
    ),
    ContractRule(
        "C15",
        "default task queue of a workflow changed",
        Verdict.DRAIN,
        "open runs stay on the old queue, and starts of older clients go there",
        _POLL,
        older=True,
        newer=True,
    ),
    ContractRule(
        "C17",
        "workflow id changed",
        Verdict.DRAIN,
        "look-ups miss open runs, and a second run starts where one is open",
        "keep the template until no run of these releases is open",
        lasts=True,
    ),
    ContractRule(
        "C18",
        "child id changed",
        Verdict.PATCH,
        "open runs that have started it as a child, without an id of their own choice, fail their next workflow task "
        "as nondeterministic",
        f"look whether a workflow does; {_CHANGE}, and give the old id in the old branch",
        seen=False,
    ),
    ContractRule(
        "C19",
        "child type changed",
        Verdict.PATCH,
        "open runs that have started it as a child fail their next workflow task as nondeterministic",
        'look whether a workflow does; if so, give it its old name back with `name: "{old}"`',
        seen=False,
    ),
    ContractRule("C21", "workflow and activity exchanged", Verdict.PATCH, _NDE, _BESIDE_RPC, older=True, newer=True),
    ContractRule(
        "C22",
        "signal added",
        Verdict.SAFE,
        "runs on older workers leave it lie, and it is lost when they close",
        "",
        newer=True,
        calls=True,
    ),
    ContractRule(
        "C23",
        "signal removed",
        Verdict.DRAIN,
        "signals in histories are dropped, and replay takes another path",
        _KEEP,
        older=True,
        calls=True,
    ),
    ContractRule(
        "C24",
        "signal renamed",
        Verdict.DRAIN,
        "signals under the old name are dropped, in histories too",
        _ALIAS,
        older=True,
        newer=True,
        calls=True,
    ),
    ContractRule("C24b", "signal renamed, old name registered", Verdict.SAFE, "", "", newer=True, calls=True),
    ContractRule(
        "C24c",
        "signal's registered name taken by another one",
        Verdict.DRAIN,
        "signals in histories go to the code of the other one, and replay takes another path",
        "keep the two beside each other until no run or history of these releases is left",
        calls=True,
    ),
    ContractRule(
        "C24d",
        "signal's alias removed",
        Verdict.DRAIN,
        "signals in histories that older clients have sent by it are dropped, and replay takes another path",
        _KEEP_ALIAS,
        seen=False,
    ),
    ContractRule(
        "C26",
        "external signal renamed",
        Verdict.PATCH,
        "open runs that have sent it to another workflow replay here, and fail as nondeterministic in other SDKs",
        f"look whether a workflow written with another SDK does; {_CHANGE} there",
        seen=False,
    ),
    ContractRule(
        "C27", "query added", Verdict.SAFE, "older workers refuse what newer clients ask", "", newer=True, calls=True
    ),
    ContractRule("C28", "query removed or renamed", Verdict.SAFE, "", "", older=True, calls=True),
    ContractRule("C28b", "query renamed, old name registered", Verdict.SAFE, "", "", newer=True, calls=True),
    ContractRule(
        "C28c",
        "query's registered name taken by another one",
        Verdict.SAFE,
        "",
        "keep the two beside each other, under the names that they had",
        older=True,
        newer=True,
        calls=True,
    ),
    ContractRule(
        "C30", "update added", Verdict.SAFE, "older workers reject updates of newer clients", "", newer=True, calls=True
    ),
    ContractRule(
        "C31",
        "update removed or renamed",
        Verdict.DRAIN,
        "runs that have accepted one fail their next workflow task, and clients that call it are rejected",
        'bring it back, or keep the old name: `aliases: "{old}"`',
        older=True,
        calls=True,
    ),
    ContractRule("C31b", "update renamed, old name registered", Verdict.SAFE, "", "", newer=True, calls=True),
    ContractRule(
        "C31c",
        "update's registered name taken by another one",
        Verdict.DRAIN,
        "updates in histories go to the code of the other one, and replay takes another path",
        "keep the two beside each other until no run or history of these releases is left",
        calls=True,
    ),
    ContractRule(
        "C31d",
        "update's alias removed",
        Verdict.DRAIN,
        "runs that have accepted one by it, of an older client, fail their next workflow task",
        _KEEP_ALIAS,
        seen=False,
    ),
    ContractRule(
        "C35",
        "signal or update became another one, or a query",
        Verdict.DRAIN,
        "what is in histories is dropped or refused, and older clients get an error",
        _BESIDE_RPC,
        older=True,
        newer=True,
        calls=True,
    ),
    ContractRule(
        "C35b",
        "query became a signal or an update",
        Verdict.SAFE,
        "",
        _BESIDE_RPC,
        older=True,
        newer=True,
        calls=True,
    ),
    ContractRule(
        "C41",
        "change deprecated",
        Verdict.DRAIN,
        "open runs from before the change fail their next workflow task as nondeterministic",
        "keep both branches until no run from before the change is left, and retire these releases",
    ),
    ContractRule(
        "C42",
        "change removed",
        Verdict.DRAIN,
        "histories that noted the change no longer replay",
        "declare it again, with `deprecated: true`, until no run or history of these releases is left",
    ),
    ContractRule(
        "C43",
        "change renamed",
        Verdict.BREAK,
        "histories that noted it under its old name no longer replay",
        'give it its old id back: `id: "{old}"`',
    ),
    ContractRule(
        "C46",
        "pinned workflow upgrades by itself",
        Verdict.PATCH,
        "open runs go on with code that did not begin them",
        "leave it pinned, or declare a `change` for every difference in the code since these releases",
        lasts=True,
    ),
    ContractRule(
        "C48",
        "waiting for a cancellation changed",
        Verdict.PATCH,
        "open runs that have cancelled it, or were cancelled while they waited for it, fail their next workflow task "
        "as nondeterministic",
        f"look whether a workflow does; {_CHANGE}, and give the old `cancellation_type` in the old branch",
        seen=False,
    ),
    ContractRule(
        "C49",
        "update id changed",
        Verdict.DRAIN,
        "an update that is sent again, by another client than before, is not known to be the same, and is done twice",
        "keep the template until no run of these releases is open",
        lasts=True,
    ),
)

CONTRACT: Mapping[str, ContractRule] = {rule.name: rule for rule in _CONTRACT_ROWS}
"""Changes of elements that a contract shows, by row."""
