"""The playground as the server makes it: whom it offers, its pictures, and calls as code."""

from __future__ import annotations

import ast
import gzip
import html
import io
import re

import pytest
from http_calls import call
from PIL import Image
from servers import null_models, serving, start_null

from triptych.embedded.world import caption
from triptych.server.app import Options
from triptych.server.served import ModelSpec, ServedModel, Waits
from triptych.server.web.drawings import drawings, picture

PATH = "/app/playground"
MARKUP = '<b onclick="x">"&\''


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    marked = ServedModel(ModelSpec("marked", MARKUP, (), {}, MARKUP), start_null, waits=Waits(first=0.05))
    with serving([*null_models(), marked], data=tmp_path_factory.mktemp("data")) as server:
        yield server.url


def options(page):
    """The models that can be chosen, as {name: attributes}."""
    found = {}
    for text in re.findall(r"<option ([^>]*data-runs[^>]*)>", page):
        attributes = {name: html.unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', text)}
        found[attributes["value"]] = attributes | {"selected": "selected" in text.split('"')[-1]}
    return found


def ask(url, **more):
    turns = [{"role": "user", "text": "What is this?", "images": ["a.png"]}]
    return call(url, "POST", f"{PATH}/code", {"model": "eye", "turns": turns, **more})


# ---- the page -------------------------------------------------------------------------------------------------------


def test_the_page_says_what_each_model_really_is(url):
    models = options(call(url, "GET", PATH).body.decode())
    assert models.keys() == {"eye", "text", "marked"}
    assert (models["eye"]["data-runs"], models["eye"]["data-sees"]) == ("null", "yes")
    assert models["marked"]["data-runs"] == models["marked"]["data-note"] == MARKUP
    assert [name for name, told in models.items() if told["selected"]] == ["eye"]


@pytest.mark.parametrize(("asked", "chosen"), [("text", "text"), ("org/eye", "eye"), ("", "eye")])
def test_a_model_is_chosen_by_any_of_its_names(url, asked, chosen):
    page = call(url, "GET", f"{PATH}?model={asked}").body.decode()
    assert [name for name, told in options(page).items() if told["selected"]] == [chosen]
    assert "No model answers to" not in page


def test_a_name_that_nobody_answers_to_is_told_as_text(url):
    page = call(url, "GET", f"{PATH}?model=%3Cscript%3Ealert(1)%3C/script%3E").body.decode()
    assert "<code>&lt;script&gt;alert(1)&lt;/script&gt;</code>" in page
    assert "<script>alert" not in page


def test_a_key_sees_the_models_that_it_is_for(tmp_path):
    with serving(null_models(), data=tmp_path, options=Options(keys=("boss",), drain=1)) as server:
        admin = {"authorization": "Bearer boss"}
        assert call(server.url, "GET", PATH).status == 401
        assert options(call(server.url, "GET", PATH, headers=admin).body.decode()).keys() == {"eye", "text"}
        made = call(server.url, "POST", "/triptych/v1/keys", {"name": "one", "models": ["text"]}, admin)
        limited = {"authorization": f"Bearer {made.json['key']}"}
        assert options(call(server.url, "GET", PATH, headers=limited).body.decode()).keys() == {"text"}
        page = call(server.url, "GET", f"{PATH}?model=eye", headers=limited).body.decode()
        assert "No model answers to <code>eye</code>" in page
        body = {"model": "eye", "turns": [{"role": "user", "text": "a"}]}
        codes = call(server.url, "POST", f"{PATH}/code", body, admin).json
        assert "OPENAI_API_KEY" in next(each["code"] for each in codes if each["language"] == "curl")


def test_all_that_the_page_loads_is_light(url):
    answers = [call(url, "GET", PATH, headers={"accept-encoding": "gzip"})]
    page = gzip.decompress(answers[0].body).decode()
    loaded = re.findall(r'(?:src|href)="(/app/(?:static|playground/examples)/[^"]+)"', page)
    [script] = [address for address in loaded if "/playground.js" in address]
    text = call(url, "GET", script).body.decode()
    modules = [f"/app/static/{name}" for name in re.findall(r'from "\./([\w-]+\.js)"', text)]
    for address in {*loaded, *modules}:
        answers.append(call(url, "GET", address, headers={"accept-encoding": "gzip"}))
        assert answers[-1].status == 200, address
    assert len(modules) >= 6
    assert sum(len(answer.body) for answer in answers) < 150_000


# ---- its pictures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("drawing", drawings(), ids=lambda drawing: drawing.name)
def test_a_drawing_is_served_as_it_is_drawn(url, drawing):
    reply = call(url, "GET", f"{PATH}/examples/{drawing.name}.png")
    assert (reply.status, reply.headers["content-type"]) == (200, "image/png")
    assert reply.body == picture(drawing.name)
    assert Image.open(io.BytesIO(reply.body)).size == (drawing.scene.width, drawing.scene.height)
    assert drawing.caption == caption(drawing.scene)


@pytest.mark.parametrize("name", ["nothing.png", "..%2F..%2Fdigits.npz", "two-shapes.svg", "%00"])
def test_no_other_file_is_served_as_a_drawing(url, name):
    assert call(url, "GET", f"{PATH}/examples/{name}").status == 404


# ---- code -----------------------------------------------------------------------------------------------------------


def test_a_call_is_written_for_each_api_and_language(url):
    made = ask(url, parameters={"temperature": 0, "max_tokens": 5}, system="Be brief.").json
    assert [(each["dialect"], each["language"]) for each in made] == [
        (dialect, language) for dialect in ("openai", "replicate", "runware")
        for language in ("python", "curl", "javascript")
    ]  # fmt: skip
    assert all(url in each["code"] or url.replace("http", "ws") in each["code"] for each in made)
    assert all("What is this?" in each["code"] and "a.png" in each["code"] for each in made)
    assert "system prompt" in next(each["note"] for each in made if each["dialect"] == "replicate")


def test_what_an_api_cannot_say_is_a_note_in_place_of_code(url):
    turns = [{"role": "user", "text": "a"}, {"role": "assistant", "text": "b"}, {"role": "user", "text": "c"}]
    made = ask(url, turns=turns).json
    runware = [each for each in made if each["dialect"] == "runware"]
    assert all(each["code"] == "" and each["note"] for each in runware)
    assert all(each["code"] for each in made if each["dialect"] == "openai")


def test_what_is_written_stays_a_literal(url):
    text = '"""); import os; os._exit(1)  # \\ \' ${x} `id` $(id) \u2028 </script>'
    made = ask(url, turns=[{"role": "user", "text": text}]).json
    python = next(each["code"] for each in made if each["language"] == "python")
    literals = [node.value for node in ast.walk(ast.parse(python)) if isinstance(node, ast.Constant)]
    assert text in literals


@pytest.mark.parametrize(
    ("more", "status", "param"),
    [
        ({"model": "nobody"}, 404, "model"), ({"turns": []}, 400, "turns"), ({"parameters": []}, 400, "parameters"),
        ({"turns": [{"role": "system", "text": ""}]}, 400, "turns[0].role"),
    ],
)  # fmt: skip
def test_a_call_that_is_none_is_refused_where_it_is_wrong(url, more, status, param):
    reply = ask(url, **more)
    assert (reply.status, reply.error["param"]) == (status, param)


def test_a_call_that_is_far_too_long_is_not_written(url):
    assert ask(url, system="x" * (1 << 21)).status == 413


def test_without_predictions_there_is_one_api():
    with serving(null_models()) as server:
        assert {each["dialect"] for each in ask(server.url).json} == {"openai"}
        assert "Replicate" not in call(server.url, "GET", PATH).body.decode()
