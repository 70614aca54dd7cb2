"""Clients of Node as they are: openai's own, and the AI SDK (tests/clients/node)."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from client_environments import INSTALL, NODE, node_of


@pytest.mark.timeout(INSTALL + 150)
@pytest.mark.parametrize("client", ["openai", "ai-sdk"])
def test_client(client, served, pictures):
    """Runs the client's own tests; what they print is shown when one fails."""
    node = node_of()
    variables = {"TRIPTYCH_URL": served, "TRIPTYCH_PICTURES": str(pictures), "PATH": os.environ["PATH"],
                 "HOME": str(pictures), "NO_COLOR": "1"}  # fmt: skip
    command = [node, "--test", "--test-reporter=tap", f"{client}.test.mjs"]
    done = subprocess.run(command, cwd=NODE, env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    counts = dict(re.findall(r"^# (pass|fail|skipped|cancelled|todo) (\d+)$", done.stdout, re.MULTILINE))
    assert int(counts["pass"]) > 0
    assert [counts[name] for name in ("fail", "skipped", "cancelled", "todo")] == ["0"] * 4
