"""Third-party clients of Python as they are, each in an environment of its own (tests/clients/elsewhere)."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from client_environments import INSTALL, python_of

ELSEWHERE = Path(__file__).with_name("elsewhere")
# Seconds for the tests of one client.
LONGEST = 240


@pytest.mark.timeout(INSTALL + LONGEST + 30)
@pytest.mark.parametrize(
    ("environment", "client"),
    [
        ("clients", "litellm"), ("clients", "langchain"), ("clients", "pydantic_ai"), ("instructor", "instructor"),
        ("agents", "agents"),
    ],
)  # fmt: skip
def test_client(environment, client, served, pictures):
    """Runs the client's own tests there; what they print is shown when one fails."""
    variables = {
        "TRIPTYCH_URL": served, "TRIPTYCH_PICTURES": str(pictures), "OPENAI_API_KEY": "any", "PATH": os.environ["PATH"],
        "HOME": str(pictures), "LANGSMITH_TRACING": "false", "LITELLM_LOCAL_MODEL_COST_MAP": "True",

    }  # fmt: skip
    command = [python_of(environment), "-m", "pytest", "-q", "-x", "-c", ELSEWHERE / "pytest.ini",
               ELSEWHERE / f"client_{client}.py"]  # fmt: skip
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=LONGEST)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    ended = done.stdout.strip().splitlines()[-1]
    assert re.match(r"[1-9]\d* passed", ended), ended
    assert "skipped" not in ended
