"""Runs the demo and puts what it shows into README.md, between the session marks: `make session`."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- session -->\n).*?(<!-- end of session -->)", re.DOTALL)
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def record() -> str:
    """The demo on a terminal that cannot draw: no bars, both streams in their order."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "dumb", "BIN": str(Path(sys.executable).parent)}
    process = subprocess.Popen([ROOT / "examples/demo.sh"], stdout=slave, stderr=slave, env=environment, cwd=ROOT)
    os.close(slave)
    shown = b""
    while chunk := _read(master):
        shown += chunk
    if process.wait() != 0:
        sys.exit(f"error: the demo failed:\n{shown.decode()}")
    return CONTROL.sub("", shown.decode()).strip()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux ends a terminal's output with an error
        return b""


def main() -> None:
    readme = ROOT / "README.md"
    session = "".join(f"    {line}".rstrip() + "\n" for line in record().splitlines())
    text, found = BLOCK.subn(lambda block: f"{block[1]}\n{session}\n{block[2]}", readme.read_text())
    if found != 1:
        sys.exit("error: README.md has no place for the session")
    readme.write_text(text)


if __name__ == "__main__":
    main()
