"""The node provisioner on Temporal, by the words of the README alone."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.devserver import DevServer

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_three_lines(temporal_server: DevServer, tmp_path: Path) -> None:
    page = (ROOT / "README.md").read_text()
    match = re.search(r"these three lines.*?```text\n(.*?)```", page, re.DOTALL)
    assert match is not None
    text = match[1].replace("temporal://localhost:7233/default", temporal_server.url)
    lines = [shlex.split(line) for line in text.replace(".cache/cloud", str(tmp_path)).splitlines()]
    assert [words[0] for words in lines] == [".venv/bin/python"] * 3
    worker, *client = [[sys.executable, *words[1:]] for words in lines]
    with subprocess.Popen(worker, cwd=ROOT, stderr=subprocess.PIPE, text=True) as serving:
        try:
            assert serving.stderr is not None
            assert "serving" in serving.stderr.readline()
            answers = [
                subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
                for command in client
            ]
        finally:
            serving.terminate()
            serving.communicate(timeout=30)
    assert answers[0].startswith("node/n1 started")
    assert "vm_id" in answers[1]
