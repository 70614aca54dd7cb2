"""What is charged for what was called: the settings, the route of that name, this machine's own cost, or nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from triptych.catalogue.load import load, today
from triptych.catalogue.machine import Rate, cost, own_offer, read_bench
from triptych.catalogue.records import write_record
from triptych.server.accounts import prices
from triptych.server.accounts.cost import Band, Part, Price, part
from triptych.server.accounts.prices import PriceBook
from triptych.server.settings import SettingsError
from triptych.server.settings import load as load_settings

PAGE = date(2026, 4, 19)


@dataclass
class Model:
    """What the book looks at of a served model."""

    name: str = "small"
    model: str = "triptych/tiny-llava-1.6"
    upstream: str | None = None
    aliases: tuple[str, ...] = ()


def found(price: Price) -> dict[str, int]:
    return {each.unit: each.nano for each in price.components}


def ask(book: PriceBook, called: str, dialect: str = "openai", **model: Any) -> Price:
    return book.price(called, dialect, Model(**model))  # type: ignore[arg-type]


def measured(data: Path, model: str, tokens_per_second: int, stamp: str = "1") -> None:
    results = [{"name": "prefill 256 tokens", "seconds": 1, "tokens_per_second": tokens_per_second},
               {"name": "decode 64 tokens", "seconds": 1, "tokens_per_second": tokens_per_second}]  # fmt: skip
    bench = {"model": "x", "precision": "fp16", "device": "cpu", "results": results}
    made = cost(read_bench(json.dumps(bench).encode()), Rate(36 * 10**8, "$3.60 an hour"))
    catalogue = load(data)
    write_record(data, today(), "measured", own_offer(catalogue, catalogue.model(model), made, today(), stamp))


# ---- by the catalogue -----------------------------------------------------------------------------------------------


def test_a_name_that_one_provider_has_costs_what_it_costs_there():
    price = ask(PriceBook(), "yorickvp/llava-v1.6-mistral-7b")
    assert found(price) == {"input": 50_000_000, "output": 250_000_000}
    assert (price.route, price.seen) == ("replicate/llava-1.6-mistral-7b", PAGE)
    assert "Replicate" in price.source


def test_captions_of_runware_have_their_price_in_either_api():
    expected = (Part("caption", 1_900_000, 1, Band("output_tokens", 80, 100)),)
    for dialect in ("runware", "openai"):
        assert ask(PriceBook(), "runware:150@2", dialect).components == expected


@pytest.mark.parametrize(
    ("called", "dialect", "route"),
    [
        # Many providers have this id: it means Replicate's in Replicate's API alone.
        ("mistralai/mixtral-8x7b-instruct-v0.1", "replicate", "replicate/mixtral-8x7b"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "replicate", "replicate/mixtral-8x7b"),
        ("mistralai/mixtral-8x7b-instruct-v0.1", "openai", None),
        ("llava-1.6-mistral-7b", "runware", "runware/llava-1.6-mistral-7b"),
        ("mixtral-8x7b", "runware", None),
        ("replicate/llava-1.6-mistral-7b", "openai", "replicate/llava-1.6-mistral-7b"),
        # Names of a model, of which no provider is meant; Snowflake calls it mixtral-8x7b as well.
        ("mixtral-8x7b", "openai", None),
        ("llava-hf/llava-1.5-7b-hf", "openai", None),
        ("llava", "openai", None),
        ("triptych/tiny-llava-1.6", "openai", None),
        ("triptych/tiny-llava-1.6", "replicate", None),
        ("no such model", "openai", None),
        ("no such model", "replicate", None),
        ("", "openai", None),
    ],
)
def test_which_route_is_meant(called, dialect, route):
    price = ask(PriceBook(), called, dialect)
    assert price.route == route
    assert price.priced == (route is not None)
    assert price.source.startswith("not priced: ") == (route is None)


def test_a_route_without_a_number_charges_nothing_and_says_so():
    price = ask(PriceBook(), "yorickvp/llava-13b", "replicate")
    route = "replicate/llava-13b"
    assert price == Price(source=f"not priced: no source gives a price of {route}", route=route)


def test_a_route_that_ended_still_prices_its_name_and_that_is_told():
    price = ask(PriceBook(), "open-mixtral-8x7b")
    assert found(price) == {"input": 700_000_000, "output": 700_000_000}
    assert price.source.endswith("; the route is retired")


def test_alternatives_are_not_added_up(tmp_path):
    """Tokens where both are priced, or else the call, or else time: sources may list one thing in several ways."""
    rows = {"route": "eachlabs/llava-13b", "source": "mine", "call": "0.01", "gpu_hour": "4.00", "input": "0.10"}
    source = {"id": "mine", "publisher": "P", "title": "T", "kind": "page", "seen": "2026-01-01", "date": "2026-01-01"}
    (tmp_path / "catalogue").mkdir()
    record = tmp_path / "catalogue" / "2026-01-01-mine.json"
    record.write_text(json.dumps({"sources": [source], "prices": [rows]}))
    assert found(ask(PriceBook(data=tmp_path), "eachlabs/llava-13b")) == {"call": 10_000_000}
    record.write_text(json.dumps({"sources": [source], "prices": [{**rows, "output": "0.20"}]}))
    both = {"input": 100_000_000, "output": 200_000_000}
    assert found(ask(PriceBook(data=tmp_path), "eachlabs/llava-13b")) == both
    assert found(ask(PriceBook(), "eachlabs/llava-13b")) == {"gpu_second": 1_100_000}


# ---- by the machine, and the settings -------------------------------------------------------------------------------


def test_what_this_machine_costs_is_charged_by_the_weights_that_run_and_only_if_asked_for(tmp_path):
    book = PriceBook("machine", data=tmp_path)
    assert "triptych cost" in ask(book, "runware:150@2").source
    measured(tmp_path, "triptych/tiny-llava-1.6", 1000)
    book = PriceBook("machine", data=tmp_path)
    price = ask(book, "runware:150@2", "runware")
    assert found(price) == {"input": 10**9, "output": 10**9}
    assert (price.route, price.seen) == ("triptych/tiny-llava-1.6", today())
    assert not ask(book, "x", model="triptych/tiny-mixtral", name="other").priced
    assert not ask(book, "x", name="far", upstream="http://box/v1").priced
    # Measuring changes no bill of a server whose prices are the catalogue's.
    assert not ask(PriceBook(data=tmp_path), "triptych/tiny-llava-1.6").priced


def test_what_somebody_wrote_of_this_machine_is_no_measurement(tmp_path):
    source = {"id": "mine", "publisher": "P", "title": "T", "kind": "page", "seen": "2026-01-01"}
    row = {"route": "triptych/tiny-llava-1.6", "source": "mine", "input": "1.00", "output": "1.00"}
    (tmp_path / "catalogue").mkdir()
    (tmp_path / "catalogue" / "2026-01-01-mine.json").write_text(json.dumps({"sources": [source], "prices": [row]}))
    assert not ask(PriceBook("machine", data=tmp_path), "llava").priced


def test_the_settings_of_a_model_go_before_everything():
    own = Price((part("call", 5),), "mine")
    for mode in ("catalogue", "machine", "free"):
        book = PriceBook(mode, {"small": own})
        assert ask(book, "runware:150@2", "runware") is own
        assert ask(book, "runware:150@2", "runware", name="other") != own
    assert not ask(PriceBook("free"), "runware:150@2", "runware").priced


# ---- what changes while the server runs -----------------------------------------------------------------------------


async def test_records_are_seen_without_a_restart_and_a_lookup_reads_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(prices, "_LOOK_EVERY", 1e9)
    book = PriceBook("machine", data=tmp_path)
    await book.start()
    try:
        before = ask(book, "llava")
        assert ask(book, "llava") is before
        measured(tmp_path, "triptych/tiny-llava-1.6", 1000)
        assert ask(book, "llava") is before
        await book.look()
        assert found(ask(book, "llava")) == {"input": 10**9, "output": 10**9}
    finally:
        await book.stop()


async def test_a_catalogue_that_cannot_be_read_leaves_the_prices_as_they_were(tmp_path, monkeypatch, caplog):
    book = PriceBook(data=tmp_path)
    await book.look()
    before = ask(book, "runware:150@2")

    def fail(*_: Any) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(prices, "state", lambda _: ("changed",))
    monkeypatch.setattr(prices, "load", fail)
    await book.look()
    assert ask(book, "runware:150@2") is before
    assert "the disk is gone" in caplog.text


# ---- how it is written in the settings ------------------------------------------------------------------------------


def read(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "triptych.toml"
    path.write_text(text)
    return load_settings(path, {})


def test_a_price_is_written_in_dollars(tmp_path):
    text = """
    prices = "machine"
    [[models]]
    name = "small"
    model = "triptych/tiny-mixtral"
    [models.price]
    input = "0.15"
    output = "0.45"
    cached = "0.015"
    image = "0.001"
    caption = "0.002"
    call = "0"
    second = "0.0011"
    [[models]]
    name = "far"
    upstream = { base_url = "http://box:1/v1" }
    price = { call = "0.01" }
    """
    settings = read(tmp_path, text)
    small, far = settings.models
    assert settings.prices == "machine"
    assert found(small.price) == {
        "input": 150_000_000, "output": 450_000_000, "cached_read": 15_000_000, "image": 1_000_000,
        "caption": 2_000_000, "call": 0, "gpu_second": 1_100_000,
    }  # fmt: skip
    assert found(far.price) == {"call": 10_000_000}
    assert json.dumps(far.shown()["price"]) == '{"call": "0.01"}'
    assert "input $0.15 / 1M, output $0.45 / 1M" in small.describe()


@pytest.mark.parametrize(
    ("price", "words"),
    [
        ("{}", "models.m.price must be a table with some of input, output"),
        ('"0.15"', "models.m.price must be a table"),
        ('{ inputs = "1" }', "unknown setting models.m.price.inputs; did you mean input?"),
        ('{ input = "-1" }', "models.m.price.input is no price: -1 is negative"),
        ("{ input = 0.15 }", 'models.m.price.input must be dollars as text, such as "0.15", not 0.15'),
        ('{ call = "10000.01" }', "models.m.price.call is absurd: $10000.01 is over $10,000"),
        ('{ output = "1e-7" }', "models.m.price.output is no price"),
        ('{ output = "0.0000000001" }', "finer than a nano-dollar"),
    ],
)
def test_a_price_that_is_none_is_refused_with_its_place(tmp_path, price, words):
    with pytest.raises(SettingsError) as error:
        read(tmp_path, f'[[models]]\nname = "m"\nmodel = "triptych/tiny-mixtral"\nprice = {price}')
    assert words in str(error.value)
    assert "triptych.toml" in str(error.value)


def test_lists_are_names_addresses_or_whole_paths(tmp_path):
    good = read(tmp_path, 'price_lists = ["litellm", "https://lists.example/a.json?b=c", "/srv/list.json"]')
    assert good.price_lists == ("litellm", "https://lists.example/a.json?b=c", "/srv/list.json")
    for bad in ("list.json", "ftp://x/y", "https://user:word@lists.example/", "models-dev", ""):
        with pytest.raises(SettingsError, match=r"price_lists must be a list, each models\.dev, litellm"):
            read(tmp_path, f'price_lists = ["{bad}"]')


def test_a_budget_holds_what_has_a_price_by_every_name(tmp_path: Path) -> None:
    own = {"small": Price((part("call", 1),))}
    listed = Model("runware:150@2", aliases=("yorickvp/llava-v1.6-mistral-7b",))
    for book, model, guarded in (
        (PriceBook("free", own), Model(aliases=("whatever",)), True), (PriceBook("free"), Model(), False),
        (PriceBook("catalogue", own), Model("other"), False), (PriceBook("catalogue"), listed, True),
        (PriceBook("catalogue"), Model("runware:150@2", aliases=("llava",)), False),
    ):  # fmt: skip
        assert book.guarded(model) == guarded  # type: ignore[arg-type]
