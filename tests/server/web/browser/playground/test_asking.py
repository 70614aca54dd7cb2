"""What the playground asks of a model, what the answer is, and what is told of it."""

from __future__ import annotations

import json
import re

from browser import Visit
from playground_visit import EYE, LONGEST, TEXT, answered, choose, numbers, said
from playwright.sync_api import expect

from triptych.server.web.drawings import SUMS, picture


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
