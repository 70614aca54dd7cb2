"""Runs commands of `llm` in one interpreter, as each in one of its own takes seconds to start. Each line of standard
input has the words of a command, as JSON; each line of standard output how it ended: `{"code": ..., "out": ...,
"err": ...}`.
"""

import json
import sys

from click.testing import CliRunner
from llm.cli import cli

for line in sys.stdin:
    done = CliRunner().invoke(cli, json.loads(line))
    print(json.dumps({"code": done.exit_code, "out": done.stdout, "err": done.stderr}), flush=True)
