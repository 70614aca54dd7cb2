"""How pictures come into the playground, and what the models say of the drawn ones."""

from __future__ import annotations

import base64
import re

import pytest
from browser import Visit
from http_calls import call
from playground_visit import EYE, answered, said
from playwright.sync_api import JSHandle, expect

from triptych.embedded.world import caption
from triptych.server.web.drawings import Drawing, drawings, picture

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
    expect(names).to_have_count(2)
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
