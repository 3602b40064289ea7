"""What is generated for a contract that says everything, word for word: a change of the generator shows here.

Written anew with `UPDATE_GOLDENS=1 pytest tests/corpus/test_golden.py`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.corpus.conftest import Corpus

HERE = Path(__file__).parent
CASES = ["corpus/options/v1/options_protopact.py", "corpus/shapes/v1/shapes_protopact.py"]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("library", ["betterproto2", "google"])
def test_a_module_is_what_it_was(corpus: Corpus, library: str, case: str) -> None:
    written = (corpus.outs[library] / case).read_text()
    golden = HERE / "golden" / library / Path(case).with_suffix(".txt").name
    if os.environ.get("UPDATE_GOLDENS"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(written)
    assert written == golden.read_text()
