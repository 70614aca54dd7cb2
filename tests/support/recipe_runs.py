"""Recipes as a reader of a page runs them: after what they need, in a folder with a picture, with the real clients."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from client_environments import CLIENTS, NODE, NODE_RUNWARE, command_of, node_of, python_of
from one_object import draw

from triptych.server.web.recipes import Recipe

ELSEWHERE = CLIENTS / "elsewhere"
LONGEST = 240
# Where each line that installs a client is done already.
PYTHON = {
    "pip install openai": ("replicate",),
    "pip install replicate": ("replicate", "replicate-next"),
    "pip install 'replicate<2'": ("replicate",),
    "pip install --pre 'replicate>=2.0.0b4'": ("replicate-next",),
    "pip install runware": ("runware",),
    "pip install runware-sdk": ("runware-sdk",),
}
JAVASCRIPT = {
    "npm install openai": (NODE,), "npm install replicate": (NODE,), "npm install @runware/sdk-js": (NODE_RUNWARE,),
}  # fmt: skip


@dataclass(frozen=True)
class Ran:
    recipe: Recipe
    printed: str


def place_of(folder: Path, node: Path | None = None) -> Path:
    """A folder with `picture.png`, which has a large red circle, and with a program's packages for Node."""
    draw("red", "circle").save(folder / "picture.png")
    if node is not None:
        (folder / "node_modules").symlink_to(node / "node_modules")
    return folder


def homes(recipe: Recipe) -> Sequence[str | Path]:
    """The environments that have what the recipe needs. A line that installs something else is an error."""
    if recipe.language == "curl":
        return ("bash",)
    installs = [line for line in recipe.needs.splitlines() if not line.startswith("export ")]
    known: Mapping[str, Sequence[str | Path]] = PYTHON if recipe.language == "python" else JAVASCRIPT
    assert len(installs) == 1, recipe
    return known[installs[0]]


def variables(recipe: Recipe, mine: Mapping[str, str]) -> dict[str, str]:
    """What the recipe's exports say, with `mine` in place of what a reader has to fill in; and what saves time."""
    lines = [shlex.split(line) for line in recipe.needs.splitlines() if line.startswith("export ")]
    exported = dict(word.split("=", 1) for _, *words in lines for word in words)
    return {name: mine.get(name, value) for name, value in exported.items()} | {
        "PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8", "REPLICATE_POLL_INTERVAL": "0.1",
    }  # fmt: skip


def run(recipes: Sequence[Recipe], home: str | Path, folder: Path, mine: Mapping[str, str]) -> list[Ran]:
    """What each recipe prints; AssertionError with its code if one fails."""
    told = [variables(recipe, mine) for recipe in recipes]
    if home == "bash":
        return [_shell(recipe, own, place_of(folder)) for recipe, own in zip(recipes, told, strict=True)]
    if isinstance(home, Path):
        node = node_of(home)
        place = place_of(folder, home)
        command = [node, str(ELSEWHERE / "run_recipes.mjs")]
        programs = []
        for number, (recipe, own) in enumerate(zip(recipes, told, strict=True)):
            file = place / f"{number}.mjs"
            file.write_text(recipe.code)
            programs.append({"file": str(file), "variables": own})
    else:
        place = place_of(folder)
        command = [str(python_of(home)), str(ELSEWHERE / "run_recipes.py")]
        programs = [{"code": recipe.code, "variables": own} for recipe, own in zip(recipes, told, strict=True)]
    said = _printed(command, place, {"PATH": os.environ["PATH"]}, json.dumps(programs))
    results = json.loads(said)
    for recipe, result in zip(recipes, results, strict=True):
        assert not result["failed"], f"{recipe.id}\n{recipe.code}\n{result['failed']}"
    return [Ran(recipe, result["printed"]) for recipe, result in zip(recipes, results, strict=True)]


def _shell(recipe: Recipe, own: Mapping[str, str], place: Path) -> Ran:
    tools = {"bash", "curl", *re.findall(r"\b(?:jq|base64)\b", recipe.code)}
    found = {tool: command_of(tool) for tool in sorted(tools)}
    return Ran(recipe, _printed([found["bash"], "-c", recipe.code], place, own, ""))


def _printed(command: Sequence[str], place: Path, own: Mapping[str, str], given: str) -> str:
    done = subprocess.run(
        command, cwd=place, env=dict(own), input=given, capture_output=True, text=True, timeout=LONGEST
    )
    assert done.returncode == 0, f"{command[-1][-4000:]}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout
