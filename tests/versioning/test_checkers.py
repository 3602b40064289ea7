"""The table of what other checkers say is what `python -m benchmarks.checkers` writes."""

from __future__ import annotations

import pytest
from benchmarks.checkers import table
from tests.versioning.conftest import ROOT


@pytest.mark.slow
def test_the_table_is_what_the_checkers_say() -> None:
    assert "".join(f"{line}\n" for line in table()) in (ROOT / "docs/versioning.md").read_text()


# What buf finds nothing in, and does harm: the row, the category that passes it, and ours under an encoding.
TOO_LAX = (
    ("C14", "FILE", "JSON", "drain"),  # an option
    ("C17", "FILE", "JSON", "drain"),
    ("P20", "FILE", "JSON", "order"),  # a value of an enum
    ("C2", "WIRE", "JSON", "drain"),  # an rpc is gone, or has another name
    ("C3", "WIRE", "JSON", "break"),
    ("C3", "WIRE_JSON", "JSON", "break"),
    ("P2", "WIRE_JSON", "strict JSON", "drain"),
    ("P12", "WIRE_JSON", "JSON", "break"),
    ("P11", "WIRE", "binary", "drain"),
    ("P16", "WIRE", "binary", "order"),
)
# What does no harm, and FILE refuses: a rename that keeps its key, a field into a new oneof, an enum of another name.
TOO_STRICT = ("P8", "P29", "P34")


def test_where_buf_misleads() -> None:
    """On the table above, which the slow test writes anew."""
    lines = [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in (ROOT / "docs/versioning.md").read_text().splitlines()
        if line.startswith(("| row |", "| P", "| C"))
    ]
    head, *rows = [line for line in lines if len(line) == len(lines[-1])]
    columns = {name.removeprefix("buf ").removeprefix("ours: "): index for index, name in enumerate(head)}
    cells = {line[0]: line for line in rows}
    for row, category, encoding, verdict in TOO_LAX:
        assert (cells[row][columns[category]], cells[row][columns[encoding]]) == ("-", verdict), row
    for row in TOO_STRICT:
        assert cells[row][columns["FILE"]] == "refused"
        assert {cells[row][columns[encoding]] for encoding in ("binary", "JSON", "strict JSON")} == {"-"}, row
