"""Price lists become records; whatever is wrong with a list, what was known before stays."""

from __future__ import annotations

import json
import random
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from list_host import breaking_off, dripping, endless, list_host
from small_catalogue import ON

from triptych.catalogue import download
from triptych.catalogue.errors import RefreshError
from triptych.catalogue.lists import read_list
from triptych.catalogue.load import load, record_folder, recorded
from triptych.catalogue.refresh import refresh

CATALOGUE = load(on=ON)
LITELLM: dict[str, Any] = {
    "sample_spec": {"litellm_provider": "one of these", "input_cost_per_token": 0},
    "replicate/mistralai/mixtral-8x7b-instruct-v0.1": {
        "litellm_provider": "replicate", "input_cost_per_token": 3.5e-07, "output_cost_per_token": 1e-06,
        "max_input_tokens": 4096, "supports_function_calling": True,
    },
    "mistral.mixtral-8x7b-instruct-v0:1": {
        "litellm_provider": "bedrock", "input_cost_per_token": 4.5e-07, "output_cost_per_token": 7e-07,
        "deprecation_date": "2027-01-31",
    },
    "bedrock/us-west-2/mistral.mixtral-8x7b-instruct-v0:1": {
        "litellm_provider": "bedrock", "input_cost_per_token": 4.5e-07, "output_cost_per_token": 7e-07,
    },
    "newhost/mixtral-8x7b-instruct": {
        "litellm_provider": "newhost", "input_cost_per_token": 1e-07, "output_cost_per_token": 2e-07,
        "cache_read_input_token_cost": 1e-08, "input_cost_per_token_batches": 5e-08,
    },
    "snowflake/mixtral-8x7b": {"litellm_provider": "snowflake", "max_input_tokens": 32000},
    "gpt-9": {"litellm_provider": "openai", "input_cost_per_token": 1e-05},
}  # fmt: skip
MODELS_DEV: dict[str, Any] = {
    "mistral": {"id": "mistral", "name": "Mistral", "models": {
        "open-mixtral-8x7b": {
            "cost": {"input": 0.7, "output": 0.7}, "limit": {"context": 32000, "output": 32000},
            "tool_call": True, "reasoning": False,
        },
    }},
    "a-new-one": {"id": "a-new-one", "name": "A New One", "models": {
        "llava-v1.6-mistral-7b": {"cost": {"input": 0.1, "output": 0.30000000000000004, "cache_read": 0.01}},
    }},
}  # fmt: skip


def content(table: Any) -> bytes:
    return json.dumps(table).encode()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def put(tmp_path: Path, table: Any) -> str:
    path = tmp_path / "list.json"
    path.write_bytes(table if isinstance(table, bytes) else content(table))
    return str(path)


def price(data: Path, route: str, on: date = ON):
    catalogue = load(data, on)
    shown = catalogue.prices(catalogue.routes[route], on)
    return {unit: found.component.nano for unit, found in shown.items() if found.component.nano is not None}


# ---- what is recorded -----------------------------------------------------------------------------------------------


def test_litellms_form(tmp_path, data):
    done = refresh(put(tmp_path, LITELLM), data, ON)
    assert (done.form, done.prices, done.others, done.passed_over) == ("litellm", 4, 1, ())
    assert done.routes == ("bedrock/mixtral-8x7b:us-west-2", "newhost/mixtral-8x7b")
    assert price(data, "replicate/mixtral-8x7b") == {"input": 350_000_000, "output": 1_000_000_000}
    assert price(data, "newhost/mixtral-8x7b") == {
        "input": 100_000_000, "output": 200_000_000, "cached_read": 10_000_000, "batch_input": 50_000_000,
    }  # fmt: skip
    catalogue = load(data, ON)
    assert catalogue.problems == ()
    assert catalogue.provider("newhost").name == "newhost"
    claims = {claim.field: claim.value for claim in catalogue.claims["replicate/mixtral-8x7b"]
              if claim.source.startswith("litellm-2026-11-26")}  # fmt: skip
    assert claims == {"context": 4096, "tool_call": True}
    ends = catalogue.standing(catalogue.routes["bedrock/mixtral-8x7b:us"], ON).ends
    assert ends is not None
    assert ends.since == date(2027, 1, 31)


def test_models_devs_form(tmp_path, data):
    done = refresh(put(tmp_path, MODELS_DEV), data, ON, date(2026, 8, 1))
    assert (done.form, done.prices) == ("models.dev", 2)
    assert price(data, "a-new-one/llava-1.6-mistral-7b") == {
        "input": 100_000_000, "output": 300_000_000, "cached_read": 10_000_000,
    }  # fmt: skip
    catalogue = load(data, ON)
    assert catalogue.providers["a-new-one"].name == "A New One"
    # The list said the same before: it is one observation that lasts.
    said = [each for each in catalogue.observations["mistral/mixtral-8x7b"] if "models-dev" in each.source]
    assert [each.last for each in said] == [date(2026, 8, 1)]


def test_history_is_never_written_over(tmp_path, data):
    refresh(put(tmp_path, LITELLM), data, ON, date(2026, 11, 22))
    before = {path: path.read_bytes() for path in recorded(data)}
    changed = json.loads(json.dumps(LITELLM))
    changed["newhost/mixtral-8x7b-instruct"]["input_cost_per_token"] = 9e-07
    refresh(put(tmp_path, changed), data, ON, date(2026, 11, 24))
    assert all(path.read_bytes() == kept for path, kept in before.items())
    assert len(recorded(data)) == 2
    assert price(data, "newhost/mixtral-8x7b")["input"] == 900_000_000
    catalogue = load(data, ON)
    shown = catalogue.prices(catalogue.routes["newhost/mixtral-8x7b"], date(2026, 11, 23))
    assert shown["input"].component.nano == 100_000_000
    said = catalogue.observations["newhost/mixtral-8x7b"]
    assert [each.components[0].nano for each in said] == [100_000_000, 900_000_000]


def test_the_same_list_is_recorded_once(tmp_path, data):
    assert refresh(put(tmp_path, LITELLM), data, ON).record is not None
    assert refresh(put(tmp_path, LITELLM), data, ON).record is None
    assert len(recorded(data)) == 1


def test_a_list_over_http(data):
    with list_host({"/api.json": content(MODELS_DEV)}) as host:
        refresh(f"{host}/api.json", data, ON)
    [source] = [each for each in load(data, ON).sources.values() if each.id.startswith("models.dev-")]
    assert source.url == f"{host}/api.json"
    assert source.date == ON


def test_short_names_stand_for_addresses(monkeypatch, data):
    with list_host({"/api.json": content(MODELS_DEV)}) as host:
        monkeypatch.setitem(download.KNOWN, "models.dev", f"{host}/api.json")
        assert refresh("models.dev", data, ON).prices == 2


# ---- what is not ----------------------------------------------------------------------------------------------------


def wrong(entry: dict[str, Any]) -> dict[str, Any]:
    return {"x/mixtral-8x7b": {"litellm_provider": "x", **entry}, **LITELLM}


@pytest.mark.parametrize(
    "value", [-1e-07, 1e30, -0.0001, "0.1", True, [], {}, 1e-30, 99]
)
def test_a_wrong_price_is_passed_over_and_told(tmp_path, data, value):
    done = refresh(put(tmp_path, wrong({"input_cost_per_token": value})), data, ON)
    [told] = done.passed_over
    assert told.startswith("x/mixtral-8x7b: its input price")
    assert "x/mixtral-8x7b" not in load(data, ON).routes
    assert done.prices == 4


def test_numbers_that_would_take_for_ever(tmp_path, data):
    entry = b'{"litellm_provider": "x", "input_cost_per_token": 1e999999999}'
    text = content(LITELLM)[:-1] + b', "x/mixtral-8x7b": ' + entry + b"}"
    assert len(refresh(put(tmp_path, text), data, ON).passed_over) == 1
    digits = text.replace(b"1e999999999", b"9" * 100_000)
    with pytest.raises(RefreshError, match="out of range"):
        refresh(put(tmp_path, digits), data, date(2026, 11, 27))


@pytest.mark.parametrize(
    "entry",
    [
        {"litellm_provider": "family", "input_cost_per_token": 1e-7},
        {"litellm_provider": "provider", "input_cost_per_token": 1e-7},
        {"litellm_provider": "\x1b[31mred", "input_cost_per_token": 1e-7},
        {"litellm_provider": "<script>", "input_cost_per_token": 1e-7},
        {"litellm_provider": "___", "input_cost_per_token": 1e-7},
        {"litellm_provider": "x" * 10_000, "input_cost_per_token": 1e-7},
        {"litellm_provider": None, "input_cost_per_token": 1e-7},
    ],
)
def test_a_wrong_provider_is_nobody(tmp_path, data, entry):
    table = {"evil/mixtral-8x7b": entry, **LITELLM}
    done = refresh(put(tmp_path, table), data, ON)
    assert done.routes == ("bedrock/mixtral-8x7b:us-west-2", "newhost/mixtral-8x7b")


@pytest.mark.parametrize(
    ("key", "provider"),
    [("ollama/llava-v1.6-mistral-7b", "ollama"), ("x/llava", "x"), ("mixtral", "x"), ("a/llava-v1.6", "a")],
)
def test_what_is_run_by_oneself_and_what_has_no_version_is_no_offer(tmp_path, data, key, provider):
    table = {key: {"litellm_provider": provider, "input_cost_per_token": 0}, **LITELLM}
    done = refresh(put(tmp_path, table), data, ON)
    assert (done.prices, done.others, done.passed_over) == (4, 2, ())


def test_limits_and_flags_of_a_wrong_kind_are_not_taken(tmp_path, data):
    entry = {"input_cost_per_token": 1e-7, "max_input_tokens": "many", "max_output_tokens": -4,
             "supports_function_calling": "yes", "supports_reasoning": 1, "deprecation_date": "soon"}  # fmt: skip
    refresh(put(tmp_path, wrong(entry)), data, ON)
    assert load(data, ON).claims.get("x/mixtral-8x7b", ()) == ()


FAULTS = [
    (b"", "not valid JSON"),
    (b"<html>", "not valid JSON"),
    (b"\xff\xfe", "not valid JSON"),
    (b"[]", "no list of prices"),
    (b"{}", "no list of prices"),
    (b"7", "no list of prices"),
    (b'{"a": {"b": {}}}', "no list of prices"),
    (b"[" * 200_000, "nested too deeply"),
    (b'{"a":' * 200_000, "nested too deeply"),
    (content({"gpt-9": {"litellm_provider": "openai"}}), "none of its 1 entries is about a model"),
    (content({"x/mixtral-8x7b": {"litellm_provider": "x", "input_cost_per_token": -1}}), "negative or absurd"),
    (content({f"k{n}": {"litellm_provider": "x"} for n in range(100_001)}), "over 100,000 entries"),
]


@pytest.mark.parametrize(("body", "why"), FAULTS, ids=range(len(FAULTS)))
def test_what_is_no_list_leaves_all_as_it_was(tmp_path, data, body, why):
    refresh(put(tmp_path, LITELLM), data, ON, date(2026, 11, 22))
    before = recorded(data)
    with pytest.raises(RefreshError, match=why) as refused:
        refresh(put(tmp_path, body), data, ON)
    assert str(refused.value).endswith("the prices of 2026-11-22 (4 days old) are kept")
    assert recorded(data) == before
    assert list(record_folder(data).iterdir()) == before  # nothing half written lies about


def test_hosts_that_do_not_behave(monkeypatch, data):
    def off(handler):
        handler.send_response(200)
        handler.end_headers()

    pages: dict[str, Any] = {
        "/500": (500, {}, b"no"), "/loop": (302, {"Location": "/loop"}, b""), "/drip": dripping, "/endless": endless,
        "/ftp": (302, {"Location": "ftp://127.0.0.1/x"}, b""), "/file": (302, {"Location": "file:///etc/passwd"}, b""),
        "/half": breaking_off, "/empty": off,
    }  # fmt: skip
    expected = {
        "/500": "it answered 500", "/missing": "it answered 404", "/loop": "it answered 302", "/drip": "too slowly",
        "/endless": "over 1 MiB", "/ftp": "no web address", "/file": "no web address|it answered 302",
        "/half": "cannot be reached|not valid JSON", "/empty": "not valid JSON",
    }  # fmt: skip
    read = download.read
    monkeypatch.setattr(download, "read", lambda place: read(place, 1 << 20, 0.5))
    with list_host(pages) as host:
        for path, why in expected.items():
            with pytest.raises(RefreshError, match=why) as refused:
                refresh(host + path, data, ON)
            assert "are kept" in str(refused.value)
    assert recorded(data) == []


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("http://127.0.0.1:9/x", "cannot be reached"),
        ("http://no-such-host.invalid/x", "cannot be reached"),
        ("http://[::1", "cannot be reached"),
        ("ftp://127.0.0.1/x", "http or https address, or from a file"),
        ("file:///etc/hostname", "http or https address, or from a file"),
        ("/nowhere/list.json", "no such file; a list is a file, an address, models.dev or litellm"),
        ("/tmp", "no such file"),
    ],
)
def test_places_where_there_is_none(data, place, why):
    with pytest.raises(RefreshError, match=why):
        refresh(place, data, ON)


def test_a_file_that_is_too_large(tmp_path):
    path = tmp_path / "large.json"
    path.write_bytes(b" " * 1000)
    with pytest.raises(RefreshError, match="over"):
        download.read(str(path), most=999)
    assert len(download.read(str(path), most=1000)) == 1000


def test_a_day_in_the_future(tmp_path, data):
    with pytest.raises(RefreshError, match="2026-11-27, is in the future"):
        refresh(put(tmp_path, LITELLM), data, ON, date(2026, 11, 27))


def test_a_data_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(RefreshError, match="cannot be written"):
        refresh(put(tmp_path, LITELLM), tmp_path / "data", ON)


def test_a_record_that_was_damaged_is_left_out_and_told(tmp_path, data):
    refresh(put(tmp_path, LITELLM), data, ON)
    good = recorded(data)[0]
    for name, text in (("2026-11-27-a.json", "{"), ("2026-11-27-b.json", good.read_text()),
                       ("2026-11-27-c.json", '{"prices": [{"route": "x", "source": "y", "input": "1"}]}')):  # fmt: skip
        (record_folder(data) / name).write_text(text)
    catalogue = load(data, ON)
    assert len(catalogue.problems) == 3
    assert all(f"2026-11-27-{letter}.json" in problem
               for letter, problem in zip("abc", catalogue.problems, strict=True))  # fmt: skip
    assert price(data, "newhost/mixtral-8x7b")["input"] == 100_000_000


# ---- anything -------------------------------------------------------------------------------------------------------

KEYS = st.sampled_from([
    "mixtral-8x7b", "llava", "replicate/mixtral", "litellm_provider", "models", "cost", "input", "limit", "name",
    "input_cost_per_token", "deprecation_date", "bedrock/us-east-1/mixtral", "x",
])  # fmt: skip
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10**20) | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["replicate", "x", "", "2027-01-01", "family"]) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20,
)  # fmt: skip


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=5), max_size=4))
def test_any_json_is_read_or_refused_in_words(table):
    try:
        found = read_list(content(table), CATALOGUE)
    except RefreshError:
        return
    assert all(entry.model in CATALOGUE.models for entry in found.entries)


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_what_is_read_can_be_recorded_and_read_again(tmp_path_factory, seed):
    """Entries with any numbers that are believed make a record that loads."""
    chance = random.Random(seed)
    table = {
        f"{host}/mixtral-8x7b": {
            "litellm_provider": host, "input_cost_per_token": chance.choice([0, 1e-9, 1e-3, 3.3e-7, chance.random()]),
            "output_cost_per_token": chance.random() * 10 ** chance.randint(-12, 0),
            "max_input_tokens": chance.choice([1, 10**8, 10**9, 0]),
        }
        for host in ("a", "B-2", "c d", "replicate", "e.f/g")
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("records")
    try:
        done = refresh(put(folder, table), folder, ON)
    except RefreshError as error:
        assert "none of its" in str(error)  # noqa: PT017 - either is right
        return
    assert load(folder, ON).problems == ()
    assert done.prices
