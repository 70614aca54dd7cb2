"""The pages as a browser gets them: complete, closed to everything else, and about the server that gives them."""

from __future__ import annotations

import gzip
import html as entities
import json
import re
import subprocess

import pytest
from html_page import Page
from http_calls import Reply, call
from servers import null_models, serving, start_null

from triptych.server.accounts.errors import ForbiddenError, KeysUnknownError, RateLimitError, WrongKeyError
from triptych.server.app import Options, groups
from triptych.server.openapi import Facts, document
from triptych.server.served import ModelSpec, ServedModel
from triptych.server.web.curl import colored, curl
from triptych.server.web.page_routes import PageError, refusal
from triptych.server.web.pages import prose, words
from triptych.server.web.reference import reference

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(null_models(), data=tmp_path_factory.mktemp("data")) as running:
        yield running


def page(reply: Reply) -> Page:
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    return Page(reply.body.decode())


@pytest.mark.parametrize("path", ["/", "/reference", "/app/models", "/app/models/nobody", "/app/compare"])
def test_a_page_loads_files_of_the_server_and_nothing_else(server, path):
    reply = call(server.url, "GET", path, headers=BROWSER)
    found = Page(reply.body.decode())
    policy = dict(part.strip().split(" ", 1) for part in reply.headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self' data: blob:",
        "connect-src": "'self'", "form-action": "'self'", "base-uri": "'none'", "frame-ancestors": "'none'",
    }  # fmt: skip
    assert not any(name == "style" or name.startswith("on") for _, each in found.attributes for name in each)
    assert not any(text.strip() for text in found.parts["script"] + found.parts["style"])
    assert len(found.loads) >= 4
    for address in found.loads:
        assert re.match(r"/app/static/[a-z./-]+\?v=[0-9a-f]{16}$", address)
        loaded = call(server.url, "GET", address)
        assert loaded.status == 200
        assert "immutable" in loaded.headers["cache-control"]
    assert (reply.headers["x-content-type-options"], reply.headers["referrer-policy"]) == ("nosniff", "same-origin")


def test_htmx_runs_no_code_from_attributes(server):
    html = call(server.url, "GET", "/", headers=BROWSER).body.decode()
    settings = [each["content"] for tag, each in Page(html).attributes if each.get("name") == "htmx-config"]
    told = json.loads(settings[0])
    assert told["allowEval"] is False
    assert told["includeIndicatorStyles"] is False
    assert told["selfRequestsOnly"] is True


@pytest.mark.parametrize("path", ["/", "/reference", "/app/models/mixtral-8x7b", "/app/compare", "/app/changes"])
def test_a_page_can_be_found_through(server, path):
    found = page(call(server.url, "GET", path, headers=BROWSER))
    assert max(found.ids.values()) == 1
    assert all(link[1:] in found.ids for link in found.links if link.startswith("#"))
    assert len(found.parts["h1"]) == len(found.parts["title"]) == 1
    assert found.links[0] == "#content"
    labels = [each["aria-labelledby"] for _, each in found.attributes if "aria-labelledby" in each]
    assert all(label in found.ids for label in labels)


@pytest.mark.parametrize("path", ["/", "/reference", "/app/models/mixtral-8x7b"])
def test_a_page_is_packed_for_those_who_unpack(server, path):
    whole = call(server.url, "GET", path, headers=BROWSER)
    packed = call(server.url, "GET", path, headers={**BROWSER, "accept-encoding": "br, gzip;q=0.5"})
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == whole.body
    assert "accept-encoding" in packed.headers["vary"]
    refused = call(server.url, "GET", path, headers={**BROWSER, "accept-encoding": "gzip;q=0"})
    assert "content-encoding" not in refused.headers
    assert "content-encoding" not in whole.headers


def test_what_is_not_there_is_a_page_under_app_and_the_dialects_word_elsewhere(server):
    for path in ("/app/nothing", "/app/static/nothing.css", "/app/static/../pages.py", "/app/providers/nobody"):
        reply = call(server.url, "GET", path)
        assert (reply.status, reply.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert len(Page(reply.body.decode()).parts["h1"]) == 1
    assert call(server.url, "GET", "/v1/nothing").error["type"] == "invalid_request_error"


def test_the_reference_has_every_operation_object_and_field(server):
    html = call(server.url, "GET", "/reference").body.decode()
    found = page(call(server.url, "GET", "/reference"))
    told = call(server.url, "GET", "/openapi.json").json
    operations = [operation for methods in told["paths"].values() for operation in methods.values()]
    assert {operation["operationId"] for operation in operations} <= set(found.ids)
    assert {f"#{operation['operationId']}" for operation in operations} <= set(found.links)
    assert all(f"{operation['summary']} #" in found.parts["h3"] for operation in operations)
    for schema in told["components"]["schemas"].values():
        assert all(f"<code>{name}</code>" in html for name in schema.get("properties", {}))


def test_commands_are_those_of_the_document_and_run(server, tmp_path):
    found = page(call(server.url, "GET", "/reference"))
    commands = [text for text in found.parts["pre"] if text.startswith("curl ")]
    told = call(server.url, "GET", "/openapi.json").json
    operations = [operation for methods in told["paths"].values() for operation in methods.values()]
    assert len(commands) >= len(operations)
    assert all(server.url in command for command in commands)
    (tmp_path / "requests.jsonl").write_text('{"custom_id": "a"}\n')
    for path in ("/v1/chat/completions", "/v1/tokenize", "/v1/models/", "/v1/files", "/triptych/v1/models/"):
        command = next(command for command in commands if path in command)
        shell = [command, "--silent", "--fail-with-body", "--max-time", "20"]
        ran = subprocess.run(" ".join(shell), shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=30)
        assert ran.returncode == 0, (command, ran.stdout, ran.stderr)
        assert ran.stdout.startswith("{")


def test_a_page_asks_for_the_key_in_its_commands():
    with serving(null_models(), options=Options(drain=1, keys=("secret",))) as server:
        html = call(server.url, "GET", "/reference").body.decode()
        assert "secret" not in html
        assert "eye" not in html
        assert "needs a key" in html
        commands = [text for text in Page(html).parts["pre"] if text.startswith("curl ")]
        assert any('authorization: Bearer $TRIPTYCH_API_KEY"' in command for command in commands)
        front = call(server.url, "GET", "/", headers=BROWSER).body.decode()
        assert "eye" not in Page(front).text
        assert "asks for a key" in front
        assert call(server.url, "GET", "/").json["models"] is None


# ---- the front page -------------------------------------------------------------------------------------------------


def test_whoever_signed_in_sees_the_models_on_the_front_page():
    with serving(null_models(), options=Options(drain=1, keys=("secret",))) as server:
        form = {"content-type": "application/x-www-form-urlencoded", "origin": server.url}
        reply = call(server.url, "POST", "/app/sign-in", b"key=secret", form)
        cookie = {**BROWSER, "cookie": reply.headers["set-cookie"].partition(";")[0]}
        found = page(call(server.url, "GET", "/", headers=cookie))
        assert "eye" in " ".join(found.parts["h3"])
        assert "Sign out" in found.text
        assert "Sign in" not in found.text
        stranger = page(call(server.url, "GET", "/", headers={**BROWSER, "cookie": "triptych=made.up.0"}))
        assert "Sign in" in stranger.text
        assert "eye" not in " ".join(stranger.parts["h3"])


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (WrongKeyError(), 401, "Sign in"), (ForbiddenError("this is for keys of administrators"), 403, "This is for"),
        (RateLimitError("too many wrong keys", 1.2), 429, "Too many"), (KeysUnknownError("x"), 503, "database"),
        (PageError("No such thing."), 404, "No such thing."), (ValueError("a secret of ours"), 500, "server's fault"),
    ],
)  # fmt: skip
def test_every_failure_is_a_page_with_its_status(error, status, said):
    told = refusal(error)
    text = Page(told.body.decode()).text
    assert (told.status, told.content_type) == (status, "text/html; charset=utf-8")
    assert said in text
    assert "a secret of ours" not in text
    assert told.headers.get("retry-after") == {429: "2", 503: "1"}.get(status)


def test_a_server_that_keeps_records_has_replicates_clients_too(tmp_path):
    with serving(null_models(), data=tmp_path) as server:
        url = server.url
        told = {"openai": f"{url}/v1", "replicate": url, "runware": f"{url}/v1".replace("http", "ws")}
        assert call(server.url, "GET", "/").json["base_urls"] == told
        found = page(call(server.url, "GET", "/", headers=BROWSER))
        assert set(told.values()) <= set(found.copies)


def test_the_front_page_tells_programs_and_people_the_same():
    note = "a <small> demonstration"
    spec = ModelSpec("tiny", "null", ("big/name",), {}, note)
    with serving([ServedModel(spec, start_null)]) as server:
        told = call(server.url, "GET", "/")
        assert told.headers["vary"] == "accept, cookie"
        assert told.json["base_urls"] == {"openai": f"{server.url}/v1"}
        assert told.json["models"] == [
            {"name": "tiny", "model": "null", "aliases": ["big/name"], "state": "stopped", "note": note}
        ]
        for url in told.json["links"].values():
            assert call(server.url, "GET", url.removeprefix(server.url)).status == 200
        reply = call(server.url, "GET", "/", headers=BROWSER)
        html = reply.body.decode()
        assert reply.headers["vary"] == "accept, accept-encoding, cookie"
        for text in ("tiny", "A &lt;small&gt; demonstration.", "big/name", f"{server.url}/v1", "starts on first use"):
            assert text in html
        assert "<small>" not in html


def test_head_of_a_page(server):
    for path in ("/", "/reference", "/openapi.json"):
        reply = call(server.url, "HEAD", path, headers=BROWSER)
        assert (reply.status, reply.body) == (200, b"")


# ---- words and commands ---------------------------------------------------------------------------------------------


def test_words_are_escaped_and_backticks_are_code():
    assert words("a `<b>` & c") == "a <code>&lt;b&gt;</code> &amp; c"
    assert prose("one\n\ntwo `x`") == "<p>one</p>\n<p>two <code>x</code></p>"


def test_a_document_with_markup_in_it_is_escaped():
    html = reference(document(groups(kept=True), Facts("http://x", False, "<script>alert(1)</script>", "'\"<img>")))
    assert "<script>alert" not in html
    assert "<img>" not in html
    Page(html)


@pytest.mark.parametrize("text", ["it's", '$(id) `id` \\ "', "a\nb", "plain", "ünïcode 图"])
def test_a_command_is_what_a_shell_makes_of_it(text):
    example = {"value": {"text": text}}
    said = arguments(curl("http://x", "POST", "/a", {}, True, "application/json", example))
    assert said[:5] == ["http://x/a", "-H", "authorization: Bearer the key", "-H", "content-type: application/json"]
    assert said[5] == "-d"
    assert json.loads(said[6]) == example["value"]
    form = curl("http://x", "POST", "/a", {}, False, "multipart/form-data", example)
    assert arguments(form) == ["http://x/a", "-F", f"text={text}"]


def arguments(command: str) -> list[str]:
    """What curl would be given by a shell."""
    script = command.replace("curl", "printf '%s\\0'", 1)
    ran = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env={"TRIPTYCH_API_KEY": "the key"})
    return ran.stdout.split("\0")[:-1]


def test_colours_change_no_character():
    body = {"a": [1, -2.5, True, None, 'b"<']}
    command = curl("http://x", "POST", "/a", {}, True, "application/json", {"value": body})
    marked = str(colored(command))
    assert entities.unescape(re.sub(r"<[^>]*>", "", marked)) == command
    assert set(re.findall(r'class="(\w+)"', marked)) == {"name", "text", "number", "word", "flag"}
