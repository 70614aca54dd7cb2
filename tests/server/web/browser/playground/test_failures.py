"""What goes wrong while the playground asks, and how it is told."""

from __future__ import annotations

import json

import pytest
from browser import Visit
from playground_visit import PATH, answered, said
from playwright.sync_api import expect


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
