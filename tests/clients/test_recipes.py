"""Every recipe of every page, run as it stands with the real clients; what it prints has to be true."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from client_environments import INSTALL
from http_calls import call
from one_object import draw
from recipe_runs import JAVASCRIPT, LONGEST, PYTHON, Ran, homes, run
from replicas import start_here
from servers import serving, start_null
from webhook_receiver import Receiver, receiving

from triptych.server.app import Options
from triptych.server.delivery.fetch import ImageFetcher
from triptych.server.delivery.guard import Guard
from triptych.server.delivery.post import Poster
from triptych.server.names import ALIASES
from triptych.server.served import ModelSpec, ServedModel, Waits
from triptych.server.web.recipes import DIALECTS, LANGUAGES, Call, Recipe, Turn, recipe, recipes_for

KEY = "r8_recipes"
EYE = ("eye", "org/eye", "runware:7@7")
OPTIONS = {"precision": "fp32", "device": "cpu", "threads": 1, "kv_memory": 64 << 20}
HOMES = ["bash", *dict.fromkeys(home for homes in (*PYTHON.values(), *JAVASCRIPT.values()) for home in homes)]
ENDS = ("succeeded", "canceled")
# What no language may take for anything but a text, as a question and as the name of a file.
HOSTILE = (
    "'; touch pwned; ' \"); touch('pwned') $(touch pwned) `touch pwned` ${HOME} \\' \\\" \\n !! %s {x} {{ y }} "
    "\u202e\u2028 end"
)
FILE = "it's \"$(touch pwned)\" `touch pwned` \\ é.jpg"


@dataclass(frozen=True)
class Page:
    """The recipes of a model that is served at `url`, and what it has to say."""

    url: str
    key: bool
    truth: str
    recipes: Sequence[Recipe]


@contextmanager
def served(models: list[ServedModel], data: Path, keys: tuple[str, ...] = ()) -> Iterator[str]:
    """The address of a server that may send webhooks to this machine."""
    guard = Guard.allowing(["127.0.0.0/8"])
    fetcher = ImageFetcher(guard)
    with serving(
        models, fetcher.read, Options(drain=5, keys=keys, preload=tuple(models)), data=data, on_stop=fetcher.close,
        poster=Poster(guard, http=True),
    ) as server:  # fmt: skip
        yield server.url


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Page]]:
    """The packaged models behind a key."""
    models = [ServedModel(ModelSpec(name, name, ALIASES[name], OPTIONS), start_here) for name in ALIASES]
    with served(models, tmp_path_factory.mktemp("keyed"), (KEY,)) as url:
        yield [
            Page(url, True, truth, recipes_for((name, *ALIASES[name]), "llava" in name, url, True))
            for name in ALIASES
            for truth in ["a large red circle" if "llava" in name else "42"]
        ]


@pytest.fixture(scope="module")
def unguarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Page]]:
    """Models that say what they are asked, for anybody: one under names of each form, one whose names have no owner,
    and one that takes seconds for each word.
    """
    wait = Waits(first=0.05)
    models = [
        ServedModel(ModelSpec("eye", "null", EYE[1:], {}), start_null, waits=wait),
        ServedModel(ModelSpec("some text", "null", (), {"vision": False}), start_null, waits=wait),
        ServedModel(ModelSpec("slow", "null", (), {"vision": False, "delay": 5}), start_null, waits=wait),
    ]
    with served(models, tmp_path_factory.mktemp("unguarded")) as url:
        yield [
            Page(url, False, "Describe the picture.", recipes_for(EYE, True, url, False)),
            Page(url, False, "What is 17 + 25?", recipes_for(["some text"], False, url, False)),
            Page(url, False, " ".join(HOSTILE.split()), list(calls(url))),
            Page(url, False, "", [each for each in recipes_for(["slow"], False, url, False) if "Cancel" in each.title]),
        ]


def calls(url: str) -> Iterator[Recipe]:
    """What the playground writes: anything that may stand in a call, in every dialect that has a place for it."""
    many = {"temperature": 0, "top_p": None, "top_k": 3, "max_tokens": 100, "seed": 1 << 40, "stop": ["''", HOSTILE]}
    earlier = (Turn("user", HOSTILE, (FILE,)), Turn("assistant", HOSTILE))
    looks = Call.asking("eye", HOSTILE, FILE, names=EYE, sees=True, parameters=many)
    goes_on = Call("eye", (*earlier, Turn("user", HOSTILE)), names=EYE, sees=True, system=HOSTILE)
    reads = Call.asking("some text", HOSTILE, system=HOSTILE, parameters=many)
    pages = Call.asking("eye", HOSTILE, FILE, "picture.png", sees=True)
    for call_, dialects in ((looks, DIALECTS), (goes_on, DIALECTS[:2]), (reads, DIALECTS[:2]), (pages, DIALECTS[:1])):
        for dialect in dialects:
            for language in LANGUAGES:
                written = recipe(dialect, language, call_, url, False)
                yield Recipe.of("Ask", dialect, language, written)


@pytest.mark.timeout(INSTALL + LONGEST + 60)
@pytest.mark.parametrize("home", HOMES, ids=lambda home: getattr(home, "name", home))
async def test_behind_a_key(home: str | Path, keyed: list[Page], tmp_path: Path) -> None:
    await runs(home, keyed, tmp_path)


@pytest.mark.timeout(INSTALL + LONGEST + 60)
@pytest.mark.parametrize("home", HOMES, ids=lambda home: getattr(home, "name", home))
async def test_without_keys(home: str | Path, unguarded: list[Page], tmp_path: Path) -> None:
    *_, slow = unguarded
    ran = await runs(home, unguarded, tmp_path)
    assert not (tmp_path / "pwned").exists()
    canceled = [predictions(each) for each in ran if each.recipe in slow.recipes]
    assert all(status == "canceled" for [(_, status)] in canceled)


def test_every_recipe_is_run() -> None:
    """In one of the environments at least, and each environment has some."""
    recipes = [each for sees in (True, False) for each in recipes_for(["a/b"], sees, "http://a.example", True)]
    assert {home for recipe in recipes for home in homes(recipe)} == set(HOMES)
    assert all(homes(recipe) for recipe in recipes)


# ---- running and checking -------------------------------------------------------------------------------------------


async def runs(home: str | Path, pages: Sequence[Page], folder: Path) -> list[Ran]:
    """Run the recipes that belong in `home`, and check what they print."""
    of = [(page, recipe) for page in pages for recipe in page.recipes if home in homes(recipe)]
    draw("red", "circle").save(folder / FILE)
    async with receiving() as receiver:
        keys = dict.fromkeys(("OPENAI_API_KEY", "REPLICATE_API_TOKEN", "RUNWARE_API_KEY"), KEY)
        mine = {"WEBHOOK_URL": f"{receiver.url}/hook", **(keys if pages[0].key else {})}
        ran = await asyncio.to_thread(run, [recipe for _, recipe in of], home, folder, mine)
        seen: list[str] = []
        for (page, recipe), one in zip(of, ran, strict=True):
            if recipe.title == "List predictions":
                listed = predictions(one)
                assert set(seen) <= {id for id, _ in listed}, one
            elif recipe.title.startswith("Cancel"):
                [(id, status)] = predictions(one)
                assert status in ENDS
                assert await asyncio.to_thread(shown, page, id) == status
                seen.append(id)
            elif recipe.title == "Be told by a webhook":
                [(id, status)] = predictions(one)
                assert status == "starting"
                assert page.truth in await told(receiver, id)
                seen.append(id)
            else:
                assert page.truth in " ".join(answer(one).split()), one
    return ran


def shown(page: Page, id: str) -> str:
    """The status of a prediction, as the server has it."""
    found = call(page.url, "GET", f"/v1/predictions/{id}", headers={"authorization": f"Bearer {KEY}"}).json
    return found["status"]


async def told(receiver: Receiver, id: str) -> str:
    """The text that a webhook brought."""
    async with asyncio.timeout(30):
        while True:
            for got in receiver.got:
                body = json.loads(got.body)
                if body["id"] == id:
                    assert body["status"] == "succeeded"
                    return "".join(body["output"])
            await asyncio.sleep(0.05)


def predictions(ran: Ran) -> list[tuple[str, str]]:
    """Ids and statuses that were printed: as lines, or by curl as they came."""
    if ran.recipe.language != "curl":
        return [(id, status) for id, status in (line.split() for line in ran.printed.splitlines())]
    body = json.loads(ran.printed)
    return [(each["id"], each["status"]) for each in body.get("results", [body])]


def answer(ran: Ran) -> str:
    """The model's text in what was printed: all of it, or by curl in the body of each dialect."""
    if ran.recipe.language != "curl":
        return ran.printed
    if ran.recipe.title.startswith("Stream"):
        return streamed(ran)
    body: Any = json.loads(ran.printed)
    if ran.recipe.dialect == "openai":
        return body["choices"][0]["message"]["content"]
    return "".join(body["output"]) if ran.recipe.dialect == "replicate" else body["data"][0]["text"]


def streamed(ran: Ran) -> str:
    """The text of server-sent events."""
    data = [line.removeprefix("data: ") for line in ran.printed.splitlines() if line.startswith("data: ")]
    *events, last = data
    if ran.recipe.dialect == "replicate":
        assert last == "{}"
        return "".join(events)
    assert last == "[DONE]"
    return "".join(choice["delta"].get("content") or "" for each in events for choice in json.loads(each)["choices"])
