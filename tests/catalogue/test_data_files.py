"""Data files that are wrong are refused with the file, the line and the reason."""

from __future__ import annotations

import re
from datetime import date

import pytest
from small_catalogue import BASE, ON

from triptych.catalogue.errors import DataError
from triptych.catalogue.files import read_text
from triptych.catalogue.load import PACKAGED, load
from triptych.server.names import ALIASES


def line_of(error: DataError) -> int:
    found = re.search(r", line (\d+): ", str(error))
    assert found, error
    return int(found[1])


PRICE = 'prices = [\n  {route = "p/m", source = "list", input = "1.00", output = "2.00"},\n  %s\n]\n'


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ('{route = "p/m", source = "list", input = "-0.10"},', "input: -0.10 is negative"),
        ('{route = "p/m", source = "list", input = "20000"},', "absurd"),
        ('{route = "p/m", source = "list", caption = "11"},', "absurd"),
        ('{route = "p/m", source = "list", input = 0.1},', "Expected `str | null`, got `float`"),
        ('{route = "p/m", source = "list", input = "free"},', "not dollars in decimal digits"),
        ('{route = "p/m", source = "list", input = "0.00000000001"},', "finer than a nano-dollar"),
        ('{route = "p/m", source = "list", inputs = "1"},', "unknown field `inputs`"),
        ('{route = "p/m", source = "lost", input = "1"},', "no source 'lost'; did you mean list?"),
        ('{route = "p/n", source = "list", input = "1"},', "no route 'p/n'; did you mean p/m?"),
        ('{route = "p/m", source = "list"},', "it prices nothing"),
        ('{route = "p/m", source = "list", input = "1", since = 2026-02-01, until = 2026-01-01},', "until: 2026-01-01"),
        ('{route = "p/m", source = "list", input = "1", band = {of = "output_tokens", least = 1, most = 2}},', "band"),
        (
            '{route = "p/m", source = "list", caption = "1", band = {of = "output_tokens", least = 3, most = 2}},',
            "from least to most",
        ),
        ('{source = "list", input = "1"},', "missing required field `route`"),
    ],
)
def test_a_wrong_price_is_named_with_its_line(written, row, why):
    text = PRICE % row
    with pytest.raises(DataError) as refused:
        written(text)
    assert why in str(refused.value)
    assert line_of(refused.value) == 3
    assert "1.toml" in str(refused.value)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ('{on = "m", field = "x", source = "list"}', "a claim that is sourced needs a value"),
        ('{on = "m", field = "x", source = "list", value = 1, state = "not sourced"}', "needs no value"),
        ('{on = "m", field = "x", source = "list", value = 1, state = "derived"}', "needs its formula"),
        ('{on = "m", field = "x", source = "list", value = 1, formula = "1"}', "only what is derived"),
        ('{on = "m", field = "x", source = "list", value = 1.5}', "must be text, a whole number"),
        ('{on = "m", field = "x", source = "list", value = [1]}', "must be text, a whole number"),
        ('{on = "m", field = "x", source = "list", value = ""}', "must be text"),
        ('{on = "n", field = "x", source = "list", value = 1}', "no thing 'n'"),
        ('{on = "family/g", field = "x", source = "list", value = 1}', "no thing 'family/g'"),
        ('{on = "p/m", field = "status", source = "list", value = "gone"}', "a status is one of live"),
        ('{on = "m", field = "x", source = "list", value = 1, state = "guessed"}', "Invalid enum value 'guessed'"),
        ('{on = "m", field = "x", source = "list", value = 1, since = "soon"}', "since"),
    ],
)
def test_a_wrong_claim_is_named_with_its_line(written, row, why):
    with pytest.raises(DataError) as refused:
        written(f"# a remark\nclaims = [\n  {row},\n]\n")
    assert why in str(refused.value)
    assert line_of(refused.value) == 3


@pytest.mark.parametrize(
    ("key", "value", "line", "why"),
    [
        ("date", "2027-01-01", 7, "2027-01-01 is in the future"),
        ("date", "1999-01-01", 7, "before 2022-01-01"),
        ("date", "2026-13-01", None, "not valid TOML"),
        ("seen", "2026-06-30", 8, "before its date"),
        ("kind", '"rumour"', 6, "Invalid enum value 'rumour'"),
        ("publisher", "7", 4, "Expected `str`, got `int`"),
        ("id", '"Not An Id"', 3, "matching regex"),
    ],
)
def test_a_wrong_source_is_named_with_its_line(written, key, value, line, why):
    wrong = re.sub(rf"^{key} = .*$", f"{key} = {value}", BASE, count=1, flags=re.MULTILINE)
    with pytest.raises(DataError) as refused:
        written(base=wrong)
    assert why in str(refused.value)
    assert "0.toml" in str(refused.value)
    if line is not None:
        assert line_of(refused.value) == line


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[[models]]\nid = "n"\nname = "N"\nfamily = "g"\n', "line 4: family: the catalogue has no family 'g'"),
        ('[[models]]\nid = "m"\nname = "N"\nfamily = "f"\n', "line 2: id: m is there already"),
        ('[[models]]\nid = "n"\nname = "N"\nfamily = "f"\nrelated = ["x"]\n', "line 5: related"),
        ('[[models]]\nid = "n"\nname = "M"\nfamily = "f"\n', "models m and n are both called M"),
        ('[[providers]]\nid = "q"\nname = "P"\n', "providers p and q are both called P"),
        ('[[routes]]\nid = "q/m"\nmodel = "m"\nprovider = "q"\n', "line 4: provider"),
        ('[[routes]]\nid = "p/n"\nmodel = "m"\nprovider = "p"\ncontext = 0\n', "line 5: context"),
        ("[[rumours]]\nid = 1\n", "unknown field `rumours`"),
        ("models = 7\n", "Expected `array`"),
        ("\x00", "not valid TOML"),
    ],
)
def test_other_tables(written, text, why):
    with pytest.raises(DataError) as refused:
        written(text)
    assert why in str(refused.value)


def test_a_file_that_cannot_be_read(tmp_path):
    from triptych.catalogue.files import read_file

    with pytest.raises(DataError, match=r"nothing\.toml: cannot be read"):
        read_file(tmp_path / "nothing.toml", ON)
    (tmp_path / "latin.toml").write_bytes(b'id = "\xe9"')
    with pytest.raises(DataError, match="not UTF-8"):
        read_file(tmp_path / "latin.toml", ON)


def test_json_is_named_by_key(tmp_path):
    text = '{"prices": [{"route": "p/m", "source": "list", "input": "-1"}]}'
    with pytest.raises(DataError, match=r"x\.json, prices\[0\]: input: -1 is negative"):
        read_text(tmp_path / "x.json", text, ON)
    with pytest.raises(DataError, match=r"x\.json"):
        read_text(tmp_path / "x.json", "[" * 100_000, ON)


def test_what_is_packaged_is_sound_and_names_nothing_twice():
    catalogue = load(on=ON)
    assert catalogue.problems == ()
    assert all(catalogue.observations.get(route) for route in catalogue.routes if route.split("/")[0] != "triptych")
    used = {claim.source for claims in catalogue.claims.values() for claim in claims}
    used |= {item.source for items in catalogue.observations.values() for item in items}
    assert used == set(catalogue.sources)
    assert {route.provider for route in catalogue.routes.values()} == set(catalogue.providers)
    for path in PACKAGED.rglob("*.toml"):
        assert max(map(len, path.read_text().splitlines())) < 700


def test_what_is_packaged_is_not_of_the_future_and_a_clock_that_is_behind_makes_nothing_wrong():
    early = load(on=date(2023, 1, 1))
    assert set(early.models) == set(load(on=ON).models)
    assert max(source.seen for source in early.sources.values()) <= ON


@pytest.mark.parametrize("name", [name for model, names in ALIASES.items() for name in (model, *names)])
def test_every_name_that_a_server_answers_to_is_a_models(catalogue, name):
    model = catalogue.model(name)
    assert model.id.startswith("tiny-") == name.startswith("triptych/")


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("LLaVA 1.6 Mistral 7B", "llava-1.6-mistral-7b"),
        ("llava-v1.6-mistral-7b", "llava-1.6-mistral-7b"),
        ("runware:150@2", "llava-1.6-mistral-7b"),
        ("yorickvp/llava-v1.6-mistral-7b:19be067b589d0c46689ffa7cc3ff321447a441986a7694c01225973c2eafc874",
         "llava-1.6-mistral-7b"),
        ("Mixtral 8x7B", "mixtral-8x7b"),
        ("mistral.mixtral-8x7b-instruct-v0:1", "mixtral-8x7b"),
        ("accounts/fireworks/models/mixtral-8x7b-instruct", "mixtral-8x7b"),
        ("@cf/llava-hf/llava-1.5-7b-hf", "llava-1.5-7b"),
        ("  MIXTRAL ", "mixtral-8x7b"),
    ],
)  # fmt: skip
def test_names_as_people_write_them(catalogue, name, id):
    assert catalogue.model(name).id == id


def test_a_route_is_found_by_the_name_it_alone_has(catalogue):
    assert catalogue.route_named("runware:150@2").id == "runware/llava-1.6-mistral-7b"
    assert catalogue.route_named("yorickvp/llava-v1.6-mistral-7b").id == "replicate/llava-1.6-mistral-7b"
    assert catalogue.route_named("nobody") is None
