"""A server before null replicas as a process of its own, to be killed: python null_server.py FOLDER OPTIONS.

Prints its address once it answers. FOLDER is what it keeps, OPTIONS are those of the replicas, as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

from servers import null_models, serving


class KillableServer:
    """The process. What it keeps is in `folder`, so that the next one goes on with it."""

    def __init__(self, folder: Path, **options: object) -> None:
        command = [sys.executable, __file__, str(folder), json.dumps(options)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http"), "the server did not start"

    def kill(self) -> None:
        """As `kill -9` does: nothing is said, nothing put away."""
        self.process.kill()
        self.process.wait(10)


if __name__ == "__main__":
    with serving(null_models(**json.loads(sys.argv[2])), data=Path(sys.argv[1])) as running:
        print(running.url, flush=True)
        threading.Event().wait()
