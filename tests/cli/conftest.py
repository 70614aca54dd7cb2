"""Pictures, and a command line whose models answer at once by rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fake_engine import FakeEngine
from PIL import Image

import triptych.llm
from triptych.cli import main


@dataclass
class Cli:
    """Runs the command line in this process; `engines` are those it started."""

    engines: list[FakeEngine] = field(default_factory=list)
    delay: float = 0.0
    vision: bool = True

    def start(self, config: Any, progress: Any = None) -> FakeEngine:
        engine = FakeEngine(config, progress, delay=self.delay, vision=self.vision)
        self.engines.append(engine)
        return engine

    def __call__(self, *words: str | Path, stdin: str | None = None) -> Result:
        return CliRunner().invoke(main, [str(word) for word in words], input=stdin)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Cli:
    runner = Cli()
    monkeypatch.setattr(triptych.llm, "Engine", runner.start)
    monkeypatch.delenv("TRIPTYCH_MODEL", raising=False)
    monkeypatch.delenv("TRIPTYCH_DEBUG", raising=False)
    return runner


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small picture; its size is what the fake model says about it."""

    def write(name: str, width: int = 8, height: int = 6) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (width, height), "red").save(path)
        return path

    return write
