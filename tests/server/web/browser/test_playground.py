"""The playground in a real browser, before the real embedded models: what people do there, and what they are told."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import DESKTOP, PHONE, Visit, visit
from client_environments import INSTALL, python_of
from http_calls import call
from playwright.sync_api import Browser, JSHandle, Locator, expect
from servers import null_models, serving, start_null

from triptych.embedded.world import caption
from triptych.server.app import Options
from triptych.server.delivery.fetch import ImageFetcher
from triptych.server.delivery.guard import Guard
from triptych.server.names import ALIASES, NOTE
from triptych.server.served import ModelSpec, ServedModel, Waits
from triptych.server.web.drawings import SUMS, Drawing, drawings, picture

PATH = "/app/playground"
EYE, TEXT = "triptych/tiny-llava-1.6", "triptych/tiny-mixtral"
OPTIONS = {"precision": "fp32", "device": "cpu", "threads": 1, "kv_memory": 64 << 20}
HOSTILE = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"
# Seconds until an answer is there, with the start of its model.
LONGEST = 60_000


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the embedded models, and null ones: `slow` says a word each 50 ms, `sleepy` takes 2 s to load,
    `broken` does not.
    """
    models = [ServedModel(ModelSpec(name, name, ALIASES[name], OPTIONS, NOTE)) for name in ALIASES]
    null = {"slow": {"delay": 0.05}, "sleepy": {"load_seconds": 2}, "broken": {"fail": "the weights are of cheese"}}
    for name, options in null.items():
        models.append(ServedModel(ModelSpec(name, "null", (), options), start_null, waits=Waits(first=0.05)))
    fetcher = ImageFetcher(Guard.allowing([]))
    data = tmp_path_factory.mktemp("data")
    with serving(models, fetcher.read, data=data, on_stop=fetcher.close) as server:
        yield server.url


@pytest.fixture
def seen(chrome: Browser, url: str) -> Iterator[Visit]:
    """The playground with a model that sees, in a window of its own."""
    with visit(chrome, url) as opened:
        opened.go(f"{PATH}?model={EYE}")
        expect(opened.page.locator("#playground")).to_be_visible()
        yield opened


def answered(seen: Visit, number: int = 1, state: str = "done") -> Locator:
    """The last of `number` answers, once it is over."""
    lines = seen.page.locator(".play-answer")
    expect(lines).to_have_count(number)
    expect(lines.last).to_have_attribute("data-state", state, timeout=LONGEST)
    return lines.last


def said(line: Locator) -> str:
    return line.locator(".play-text").inner_text()


def numbers(line: Locator) -> dict[str, str]:
    names, values = line.locator("dt").all_inner_texts(), line.locator("dd").all_inner_texts()
    return dict(zip(names, values, strict=True))


def choose(seen: Visit, name: str) -> None:
    seen.page.locator(f"[data-file='{name}.png']").click()
    expect(seen.page.locator("#pictures img")).to_have_count(1)


def code(seen: Visit, dialect: str, language: str) -> str:
    """The call as code, once it is there."""
    seen.page.locator(f"label[for=dialect-{dialect}]").click()
    seen.page.locator(f"label[for=language-{language}]").click()
    block = seen.page.locator("[data-block=code]")
    expect(block).to_be_visible()
    text = block.locator("code").text_content()
    assert block.locator("button.copy").get_attribute("data-copy") == text
    return text or ""


# ---- asking ---------------------------------------------------------------------------------------------------------


def test_a_drawn_example_is_answered_truly_as_a_stream(seen: Visit) -> None:
    with seen.page.expect_request("**/v1/chat/completions") as sent:
        choose(seen, "two-shapes")
        shown = seen.page.locator("#pictures img")
        assert shown.get_attribute("alt") == "a large red circle to the left of a small blue star"
        seen.page.get_by_role("button", name="What color is the circle?").click()
    first = answered(seen)
    assert said(first) == "red"
    body = json.loads(sent.value.post_data or "")
    assert (body["model"], body["stream"]) == (EYE, True)
    told = numbers(first)
    assert {"First token", "In all", "Generated", "Prompt", "Cost"} <= told.keys()
    assert re.fullmatch(r"\d+ tokens \(\d+ of pictures(, \d+ cached)?\)", told["Prompt"])
    assert re.fullmatch(r"not priced|\$[\d.]+", told["Cost"])
    # The conversation goes on: the picture is sent again, and the server has it in its cache.
    seen.page.get_by_role("button", name="What is to the right of the circle?").click()
    second = answered(seen, 2)
    assert said(second) == "a small blue star"
    assert "cached" in numbers(second)["Prompt"]
    expect(seen.page.locator("#status")).to_have_text("Answer: a small blue star")
    assert seen.faults == []


def test_a_picture_without_a_word_is_described(seen: Visit) -> None:
    choose(seen, "number")
    seen.page.locator("#prompt").press("Control+Enter")
    assert said(answered(seen)) == "the handwritten number 407"
    assert seen.faults == []


def test_a_model_without_eyes_is_asked_in_words_and_refuses_a_picture(seen: Visit) -> None:
    page = seen.page
    page.locator("#model").select_option(TEXT)
    expect(page.locator("#examples")).to_be_hidden()
    assert f"model={TEXT.replace('/', '%2F')}" in page.url
    question, answer = SUMS[0]
    page.get_by_role("button", name=question).click()
    assert said(answered(seen)) == answer
    assert seen.faults == []
    page.locator("#picker").set_input_files([{"name": "a.png", "mimeType": "image/png", "buffer": picture("number")}])
    expect(page.locator("#trouble")).to_contain_text("reads text only")
    page.locator("#send").click()
    failed = answered(seen, 2, "failed")
    expect(failed.locator(".play-trouble")).to_contain_text("takes no images")


def test_parameters_go_along_and_a_form_holds(seen: Visit) -> None:
    page = seen.page
    choose(seen, "number")
    for name, value in {"temperature": "0.7", "top_p": "0.9", "max_tokens": "20", "seed": "7"}.items():
        page.locator(f"#{name}").fill(value)
    page.locator("#system").fill("Be brief.")
    page.locator("#stop-texts").fill("END\n.")
    page.get_by_text("Form of the answer").click()
    page.locator("#form-kind").select_option("regex")
    page.locator("#form-text").fill("(yes|no)")
    page.locator("#prompt").fill("What number is written?")
    with page.expect_request("**/v1/chat/completions") as sent:
        page.locator("#send").click()
    assert said(answered(seen)) in ("yes", "no")
    body = json.loads(sent.value.post_data or "")
    wanted = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 20, "seed": 7, "stop": ["END", "."],
              "structured_outputs": {"regex": "(yes|no)"}}  # fmt: skip
    assert {name: body[name] for name in wanted} == wanted
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert seen.faults == []


def test_what_cannot_be_sent_is_said_where_it_stands(seen: Visit) -> None:
    page = seen.page
    page.locator("#send").click()
    expect(page.locator("#trouble")).to_have_text("Write a message first, or add a picture.")
    page.locator("#prompt").fill("Hello")
    page.get_by_text("Form of the answer").click()
    page.locator("#form-kind").select_option("json_schema")
    page.locator("#form-text").fill("{not json")
    page.get_by_text("Form of the answer").click()
    page.locator("#send").click()
    field = page.locator("#form-text")
    expect(field).to_be_focused()
    assert "not a JSON schema" in field.evaluate("field => field.validationMessage")
    expect(page.locator(".play-answer")).to_have_count(0)
    assert seen.faults == []


def test_an_answer_is_stopped_and_what_was_said_of_it_stays(seen: Visit) -> None:
    page = seen.page
    page.locator("#model").select_option("slow")
    page.locator("#prompt").fill("word " * 400)
    page.locator("#prompt").press("Control+Enter")
    line = page.locator(".play-answer").last
    expect(line.locator(".play-text")).to_contain_text("word word", timeout=LONGEST)
    page.keyboard.press("Escape")
    stopped = answered(seen, state="stopped")
    expect(stopped.locator(".play-trouble")).to_have_text("Stopped.")
    assert 2 <= len(said(stopped).split()) < 400
    # By the button as well, and then it is tried again.
    stopped.get_by_role("button", name="Try again").click()
    expect(line.locator(".play-text")).to_contain_text("word", timeout=LONGEST)
    page.get_by_role("button", name="Stop").click()
    answered(seen, state="stopped")
    with page.expect_request("**/v1/chat/completions") as sent:
        page.locator("#prompt").fill("go on")
        page.locator("#send").click()
    assert said(answered(seen, 2)) == "go on"
    assert [message["role"] for message in json.loads(sent.value.post_data or "")["messages"]] == [
        "user", "assistant", "user",
    ]  # fmt: skip
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".play-answer")).to_have_count(0)
    expect(page.get_by_role("button", name="New conversation")).to_be_hidden()
    assert seen.faults == []


def test_a_start_is_told_and_timed(seen: Visit) -> None:
    page = seen.page
    page.locator("#model").select_option("sleepy")
    expect(page.locator("[data-fact=state]")).to_have_text("Starts on first use")
    page.locator("#prompt").fill("good morning")
    page.locator("#send").click()
    expect(page.locator(".play-who").last).to_have_text(re.compile("sleepy is starting, .* m?s"))
    done = answered(seen)
    assert said(done) == "good morning"
    assert numbers(done)["Model start"].endswith(" s")
    expect(page.locator("[data-fact=state]")).to_have_text("Ready")
    assert seen.faults == []


@pytest.mark.parametrize("offline", [False, True])
def test_what_goes_wrong_is_told_and_is_no_part_of_the_conversation(seen: Visit, offline: bool) -> None:
    page = seen.page
    page.locator("#model").select_option("broken")
    page.locator("#prompt").fill("Are you there?")
    page.context.set_offline(offline)
    page.locator("#send").click()
    trouble = answered(seen, state="failed").locator(".play-trouble")
    expect(trouble).to_contain_text("cannot be reached" if offline else "the weights are of cheese")
    page.context.set_offline(False)
    page.locator("#model").select_option("slow")
    page.locator("#prompt").fill("and you")
    with page.expect_request("**/v1/chat/completions") as sent:
        page.locator("#send").click()
    assert said(answered(seen, 2)) == "and you"
    assert [message["content"] for message in json.loads(sent.value.post_data or "")["messages"]] == ["and you"]


def test_who_is_signed_out_meanwhile_is_told_where_to_sign_in(seen: Visit) -> None:
    error = {"message": "Incorrect API key provided.", "type": "x", "param": None, "code": "invalid_api_key"}
    told = json.dumps({"error": error})
    seen.page.route("**/v1/chat/completions", lambda route: route.fulfill(status=401, body=told))
    seen.page.locator("#prompt").fill("Hello")
    seen.page.locator("#send").click()
    trouble = answered(seen, state="failed").locator(".play-trouble")
    expect(trouble).to_contain_text("Incorrect API key provided.")
    expect(trouble.get_by_role("link")).to_have_attribute("href", f"/app/sign-in?next={PATH}")


def test_who_signed_in_asks_without_showing_the_key(chrome: Browser, tmp_path: Path) -> None:
    options = Options(keys=("a secret key",), drain=1)
    with serving(null_models(), data=tmp_path, options=options) as server, visit(chrome, server.url) as seen:
        seen.go(f"/app/sign-in?next={PATH}")
        seen.page.get_by_label("Key", exact=True).fill("a secret key")
        seen.page.get_by_role("button", name="Sign in").click()
        seen.page.wait_for_url(f"**{PATH}")
        seen.page.locator("#prompt").fill("Good morning")
        seen.page.locator("#send").click()
        assert said(answered(seen)) == "Good morning"
        seen.page.locator("#code summary").click()
        assert "secret" not in code(seen, "openai", "curl")
        assert "OPENAI_API_KEY" in code(seen, "openai", "curl")


@pytest.mark.parametrize(
    ("stream", "told"),
    [
        ('data: {"error": {"message": "It fell over.", "code": "model_loading"}}\n\ndata: [DONE]\n\n', "It fell over."),
        ('data: {"choices": [{"index": 0, "delta": {"content": "half"}}]}\n\n', "broke off"),
    ],
)  # fmt: skip
def test_an_answer_that_breaks_off_says_so(seen: Visit, stream: str, told: str) -> None:
    kind = "text/event-stream"
    seen.page.route("**/v1/chat/completions", lambda route: route.fulfill(body=stream, content_type=kind))
    seen.page.locator("#prompt").fill("Hello")
    seen.page.locator("#send").click()
    expect(answered(seen, state="failed").locator(".play-trouble")).to_contain_text(told)


_EVENTS = """async (parts) => {
  const { events } = await import("/app/static/playground-stream.js");
  const stream = new ReadableStream({
    start(control) {
      for (const part of parts) control.enqueue(Uint8Array.from(part));
      control.close();
    },
  });
  const found = [];
  for await (const data of events(stream)) found.push(data);
  return found;
}"""


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_events_are_read_however_they_are_cut(seen: Visit, size: int) -> None:
    text = ': hello\n\ndata: {"a": "ü€🙂"}\r\n\r\nevent: x\ndata:one\ndata: two\n\ndata: three\r\rdata: unfinished'
    sent = text.encode()
    parts = [list(sent[at : at + size]) for at in range(0, len(sent), size)]
    assert seen.page.evaluate(_EVENTS, parts) == ['{"a": "ü€🙂"}', "one\ntwo", "three"]


def test_nothing_that_is_written_becomes_html(seen: Visit) -> None:
    """Prompts, what a model says, system prompts and names of files: all of it is text, in the code too."""
    page = seen.page
    page.locator("#model").select_option("slow")
    page.locator("#system").fill(HOSTILE)
    file = {"name": f"{HOSTILE.replace('/', '')}.png", "mimeType": "image/png", "buffer": picture("number")}
    page.locator("#picker").set_input_files([file])
    page.locator("#prompt").fill(HOSTILE)
    page.locator("#send").click()
    line = answered(seen)
    assert said(line) == HOSTILE
    assert page.locator(".play-question .play-text").inner_text() == HOSTILE
    page.locator("#code summary").click()
    assert "onerror" in code(seen, "openai", "javascript")
    assert page.locator("#playground script, img[src=x]").count() == 0
    assert page.title() == "Playground · Triptych"
    assert seen.faults == []


# ---- pictures -------------------------------------------------------------------------------------------------------

_TRANSFER = """([name, type, data]) => {
  const transfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
  transfer.items.add(new File([bytes], name, { type }));
  return transfer;
}"""
_PASTE = """(transfer) => document.activeElement.dispatchEvent(
  new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true }))"""


def transfer(seen: Visit, name: str, kind: str, data: bytes) -> JSHandle:
    """A file as it is dropped or pasted."""
    return seen.page.evaluate_handle(_TRANSFER, [name, kind, base64.b64encode(data).decode()])


def test_pictures_are_dropped_pasted_picked_and_removed(seen: Visit) -> None:
    page = seen.page
    shapes = picture("two-shapes") or b""
    page.dispatch_event("body", "drop", {"dataTransfer": transfer(seen, "my.png", "image/png", shapes)})
    names = page.locator("#pictures img")
    expect(names).to_have_count(1)
    expect(page.locator("#prompt")).to_be_focused()
    page.evaluate(_PASTE, transfer(seen, "image.png", "image/png", shapes))
    page.locator("#picker").set_input_files([{"name": "my.png", "mimeType": "image/png", "buffer": picture("number")}])
    expect(names).to_have_count(3)
    assert [each.get_attribute("title") for each in names.all()] == ["my.png", "pasted-2.png", "my-2.png"]
    assert all(each.get_attribute("alt") for each in names.all())
    page.get_by_role("button", name="Remove my.png").click()
    expect(page.get_by_role("button", name="Remove pasted-2.png")).to_be_focused()
    page.get_by_role("button", name="Remove pasted-2.png").click()
    expect(names).to_have_count(1)
    page.locator("#prompt").fill("What number is written?")
    page.locator("#send").click()
    assert said(answered(seen)) == "407"
    assert seen.faults == []


def test_what_is_no_picture_is_refused_by_name(seen: Visit) -> None:
    page = seen.page
    page.dispatch_event("body", "drop", {"dataTransfer": transfer(seen, "a.txt", "text/plain", b"some words")})
    expect(page.locator("#trouble")).to_have_text("a.txt is not a picture.")
    expect(page.locator("#pictures li")).to_have_count(0)
    # What only says that it is one, the server refuses.
    page.locator("#picker").set_input_files([{"name": "b.png", "mimeType": "image/png", "buffer": b"some words"}])
    page.locator("#prompt").fill("What is this?")
    page.locator("#send").click()
    expect(answered(seen, state="failed").locator(".play-trouble")).to_contain_text(re.compile("not an image", re.I))


@pytest.mark.parametrize("drawing", drawings(), ids=lambda drawing: drawing.name)
def test_the_packaged_models_answer_every_question_of_the_examples(url: str, drawing: Drawing) -> None:
    shown = f"data:image/png;base64,{base64.b64encode(picture(drawing.name) or b'').decode()}"
    for model in [EYE] if drawing.small else [EYE, "triptych/tiny-llava-1.5"]:
        for question, truth in drawing.questions:
            content = [{"type": "image_url", "image_url": {"url": shown}}, {"type": "text", "text": question}]
            body = {"model": model, "messages": [{"role": "user", "content": content}]}
            reply = call(url, "POST", "/v1/chat/completions", body)
            assert reply.json["choices"][0]["message"]["content"] == truth, (model, question)
    assert drawing.caption == caption(drawing.scene)


# ---- code -----------------------------------------------------------------------------------------------------------

_PYTHONS = {"openai": "clients", "replicate": "replicate", "runware": "runware"}


@pytest.mark.timeout(INSTALL + 120)
@pytest.mark.parametrize("dialect", _PYTHONS)
def test_the_code_that_is_shown_runs_and_says_the_truth(seen: Visit, dialect: str, tmp_path: Path) -> None:
    choose(seen, "two-shapes")
    seen.page.locator("#prompt").fill("What color is the circle?")
    seen.page.locator("#code summary").click()
    (tmp_path / "two-shapes.png").write_bytes(picture("two-shapes") or b"")
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    assert '"red"' in printed(["bash", "-c", code(seen, dialect, "curl")], tmp_path)
    python = str(python_of(_PYTHONS[dialect]))
    needs = seen.page.locator("[data-block=needs] code").text_content() or ""
    variables = dict(re.findall(r"^export (\w+)=(\S+)$", needs, re.MULTILINE))
    assert printed([python, "-c", code(seen, dialect, "python")], tmp_path, **variables).strip() == "red"
    assert seen.faults == []


def printed(command: list[str], place: Path, **variables: str) -> str:
    env = {"PATH": "/usr/bin:/bin", "HOME": str(place), **variables}
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_code_is_kept_in_step_and_says_what_it_leaves_out(seen: Visit) -> None:
    page = seen.page
    page.locator("#code summary").click()
    block = page.locator("[data-block=code] code")
    page.locator("#prompt").fill("How many?")
    expect(block).to_contain_text("How many?")
    page.locator("#seed").fill("11")
    expect(block).to_contain_text("seed=11")
    page.locator("label[for=dialect-runware]").click()
    expect(page.locator("#code [data-note]")).to_contain_text("one picture")
    expect(page.locator("[data-block=code]")).to_be_hidden()
    choose(seen, "number")
    expect(block).to_contain_text("number.png")
    expect(page.locator("#code [data-note]")).to_contain_text("seed")
    expect(page.locator("[data-files] a")).to_have_attribute("href", f"{PATH}/examples/number.png")
    assert seen.faults == []


# ---- the page -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_it_fits_and_is_fit_for_all(chrome: Browser, url: str, size: tuple[int, int], dark: bool) -> None:
    with visit(chrome, url, size, dark) as seen:
        seen.go(f"{PATH}?model={EYE}")
        look = f"playground {'phone' if size == PHONE else 'desktop'}"
        assert seen.sticks_out() == [] == seen.violations()
        seen.keep(look)
        choose(seen, "four-shapes")
        seen.page.get_by_role("button", name="How many objects are there?").click()
        assert said(answered(seen)) == "4"
        seen.page.locator("#code summary").click()
        code(seen, "openai", "python")
        assert seen.sticks_out() == [] == seen.violations()
        seen.keep(f"{look} answer")
        assert seen.faults == []


def test_without_scripts_it_says_what_it_needs(chrome: Browser, url: str) -> None:
    with visit(chrome, url, java_script_enabled=False) as seen:
        seen.go(PATH)
        expect(seen.page.locator("noscript .notice")).to_contain_text("needs JavaScript")
        expect(seen.page.locator("#composer")).to_be_hidden()
        seen.keep("playground without scripts")
