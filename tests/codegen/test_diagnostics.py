from __future__ import annotations

import re
from pathlib import Path

from protopact_codegen.diagnostics import Code

PAGE = Path(__file__).parents[2] / "docs/diagnostics.md"
ROW = re.compile(r"^\| (?P<code>PP\d{3}) \| (?P<name>[^|]+) \| (?P<meaning>[^|]+) \| (?P<fix>[^|]+) \|$", re.MULTILINE)


def test_every_code_is_documented_and_no_other() -> None:
    documented = [(row["code"], row["name"]) for row in ROW.finditer(PAGE.read_text())]
    assert documented == [(code.value, code.name.lower().replace("_", " ")) for code in Code]
