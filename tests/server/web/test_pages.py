"""The pages as a browser gets them: complete, closed to everything else, and about the server that gives them."""

from __future__ import annotations

import base64
import hashlib
import html as entities
import json
import re
import subprocess
from collections import Counter
from html.parser import HTMLParser

import pytest
from http_calls import Reply, call
from servers import null_models, serving, start_null

from triptych.server.app import Options, groups
from triptych.server.openapi import Facts, document
from triptych.server.served import ModelSpec, ServedModel
from triptych.server.web.curl import colored, curl
from triptych.server.web.pages import prose, words
from triptych.server.web.reference import reference

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
VOID = {"meta", "link", "path", "br", "input", "img"}


class Page(HTMLParser):
    """What a page is made of. Fails for elements that are not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.copies: list[str] = []
        self.parts: dict[str, list[str]] = {"style": [], "script": [], "h1": [], "h2": [], "h3": [], "title": []}
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.attributes.append((tag, found))
        self.ids.update([found["id"]] if "id" in found else [])
        self.links += [found["href"]] if tag == "a" else []
        self.copies += [found["data-copy"]] if "data-copy" in found else []
        if tag not in VOID:
            self._open.append(tag)
        if tag in self.parts:
            self.parts[tag].append("")

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        for tag in set(self._open) & set(self.parts):
            self.parts[tag][-1] += data


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(null_models(), data=tmp_path_factory.mktemp("data")) as running:
        yield running


def page(reply: Reply) -> Page:
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    return Page(reply.body.decode())


@pytest.mark.parametrize("path", ["/", "/reference"])
def test_a_page_needs_nothing_else_and_lets_nothing_else_in(server, path):
    reply = call(server.url, "GET", path, headers=BROWSER)
    found = page(reply)
    policy = dict(part.strip().split(" ", 1) for part in reply.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    for kind in ("style", "script"):
        [text] = found.parts[kind]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy[f"{kind}-src"] == f"'sha256-{digest}'"
    assert not any("style" in attributes or "onclick" in attributes for _, attributes in found.attributes)
    sources = [value for tag, each in found.attributes for name, value in each.items() if name in ("src", "href")]
    assert all(re.match(r"#|data:|\./$|[a-z.]+$", source or "") for source in sources)
    assert "url(" not in found.parts["style"][0]
    assert (reply.headers["x-content-type-options"], reply.headers["referrer-policy"]) == ("nosniff", "no-referrer")


@pytest.mark.parametrize("path", ["/", "/reference"])
def test_a_page_can_be_found_through(server, path):
    found = page(call(server.url, "GET", path, headers=BROWSER))
    assert max(found.ids.values()) == 1
    assert all(link[1:] in found.ids for link in found.links if link.startswith("#"))
    assert len(found.parts["h1"]) == len(found.parts["title"]) == 1
    assert found.links[0] == "#content"
    labels = [each["aria-labelledby"] for _, each in found.attributes if "aria-labelledby" in each]
    assert all(label in found.ids for label in labels)
    for link in {link for link in found.links if not link.startswith("#")}:
        assert call(server.url, "GET", f"/{link.removeprefix('./')}").status == 200


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
    commands = [text for text in found.copies if text.startswith("curl ")]
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
        commands = [text for text in Page(html).copies if text.startswith("curl ")]
        assert any('authorization: Bearer $TRIPTYCH_API_KEY"' in command for command in commands)
        front = call(server.url, "GET", "/", headers=BROWSER).body.decode()
        assert "eye" not in front
        assert "asks for a key" in front
        assert call(server.url, "GET", "/").json["models"] is None


# ---- the front page -------------------------------------------------------------------------------------------------


def test_a_server_that_keeps_records_has_replicates_clients_too(tmp_path):
    with serving(null_models(), data=tmp_path) as server:
        assert call(server.url, "GET", "/").json["base_urls"] == {"openai": f"{server.url}/v1", "replicate": server.url}
        assert "<dt>Replicate clients</dt>" in call(server.url, "GET", "/", headers=BROWSER).body.decode()


def test_the_front_page_tells_programs_and_people_the_same():
    note = "a <small> demonstration"
    spec = ModelSpec("tiny", "null", ("big/name",), {}, note)
    with serving([ServedModel(spec, start_null)]) as server:
        told = call(server.url, "GET", "/")
        assert told.headers["vary"] == "accept"
        assert told.json["base_urls"] == {"openai": f"{server.url}/v1"}
        assert told.json["models"] == [
            {"name": "tiny", "model": "null", "aliases": ["big/name"], "state": "stopped", "note": note}
        ]
        for url in told.json["links"].values():
            assert call(server.url, "GET", url.removeprefix(server.url)).status == 200
        reply = call(server.url, "GET", "/", headers=BROWSER)
        html = reply.body.decode()
        assert reply.headers["vary"] == "accept"
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
