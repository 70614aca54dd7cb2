"""Requests through the whole engine on small random models: parameters, streams, exact usage, order."""

from __future__ import annotations

import time
from typing import Any

import pytest
from checkpoints import IMAGE_TOKEN
from engines import Gate, Shelf, ask, chat, memory_for, results, tokens, wait_until
from picture_files import noise

from triptych.engine.engine import Engine
from triptych.engine.errors import ContextOverflowError, ParameterError, PromptError
from triptych.engine.handle import Result
from triptych.engine.request import Constraint, Delta, Finished, Prompt

EOS = 2
LONG = "the cat and the hat and the dog in the street and the red car on the road to the sea"


def reasons(result: Result) -> list[Any]:
    return [choice.finish_reason for choice in result.choices]


# ---- when a text ends


def test_eos_ends_a_text_and_is_counted(engine: Engine) -> None:
    result = ask(engine, "hello", logit_bias={EOS: 100.0}).result()
    assert (result.choices[0].text, tokens(result)) == ("", [EOS])
    assert (reasons(result), result.choices[0].stop_reason) == (["stop"], None)
    assert result.usage.completion_tokens == 1


def test_min_tokens_keeps_eos_and_stop_ids_back(engine: Engine) -> None:
    result = ask(engine, "hello", logit_bias={EOS: 100.0, 70: 90.0}, stop_token_ids=(70,), min_tokens=5).result()
    assert len(tokens(result)) == 6
    assert tokens(result)[-1] == EOS
    assert not {EOS, 70} & set(tokens(result)[:-1])


def test_ignore_eos_goes_on(engine: Engine) -> None:
    result = ask(engine, "hello", logit_bias={EOS: 100.0}, ignore_eos=True, max_tokens=7).result()
    assert tokens(result) == [EOS] * 7
    assert reasons(result) == ["length"]
    assert result.choices[0].text == ""


def test_a_stop_id_is_named(engine: Engine) -> None:
    result = ask(engine, "hello", logit_bias={70: 100.0}, stop_token_ids=(70, 71)).result()
    assert (tokens(result), reasons(result), result.choices[0].stop_reason) == ([70], ["stop"], 70)


def test_logit_bias_forces_a_token(engine: Engine) -> None:
    letter = engine.tokenizer.token_id("q")
    assert letter is not None
    result = ask(engine, "hello", logit_bias={letter: 100.0}, max_tokens=9).result()
    assert tokens(result) == [letter] * 9
    assert result.choices[0].text == "q" * 9


@pytest.mark.parametrize("room", [1, 2, 40])
def test_without_max_tokens_the_context_is_filled(room: int, shelf: Shelf) -> None:
    with shelf.open("llama") as engine:
        length = len(chat(engine, LONG).token_ids)
    with shelf.open("llama", max_context=length + room) as engine:
        for limit in (None, 10_000):
            result = ask(engine, LONG, max_tokens=limit, ignore_eos=True).result()
            assert reasons(result) == ["length"]
            assert result.usage.prompt_tokens + result.usage.completion_tokens == length + room


@pytest.mark.parametrize("text", ["one two three", "où est l'été", "naïve — 日本"])
def test_stop_strings_are_found_across_tokens(text: str, engine: Engine) -> None:
    """The grammar makes a random model write `text`; most of its letters are several tokens."""
    written = Constraint("choice", [text])
    whole = ask(engine, "hello", constraint=written).result()
    assert whole.choices[0].text == text
    for start in range(1, len(text) - 2):
        stop = text[start : start + 3]
        seen: list[Any] = []
        handle = ask(engine, "hello", constraint=written, stop=("nothing like it", stop))
        seen += handle
        shown = "".join(event.text for event in seen if isinstance(event, Delta))
        last = seen[-2]
        assert shown == text[: text.index(stop)]
        assert (last.finish_reason, last.stop_reason) == ("stop", stop)
        assert seen[-1].usage.completion_tokens == sum(len(event.token_ids) for event in seen[:-1])
        assert seen[-1].usage.completion_tokens <= whole.usage.completion_tokens


def test_a_stop_string_waits_for_min_tokens(engine: Engine) -> None:
    letter = engine.tokenizer.token_id("q")
    assert letter is not None
    result = ask(engine, "hello", logit_bias={letter: 100.0}, stop=("q",), min_tokens=4).result()
    assert len(tokens(result)) == 4
    assert result.choices[0].stop_reason == "q"


# ---- streams


def test_deltas_are_the_result_piece_by_piece(engine: Engine) -> None:
    prompt = chat(engine, LONG)
    params = {"n": 3, "temperature": 1.0, "seed": 5, "max_tokens": 20, "logprobs": 1}
    events = list(ask(engine, prompt, **params))
    result = ask(engine, prompt, **params).result()
    assert [type(event) for event in events] == [Delta] * (len(events) - 1) + [Finished]
    for choice in result.choices:
        own = [event for event in events[:-1] if event.index == choice.index]
        assert "".join(event.text for event in own) == choice.text
        assert [token for event in own for token in event.token_ids] == choice.token_ids
        assert [score.token_id for event in own for score in event.logprobs] == choice.token_ids
        assert [event.finish_reason for event in own] == [None] * (len(own) - 1) + [choice.finish_reason]
    assert result.usage.completion_tokens == sum(len(choice.token_ids) for choice in result.choices)


def test_a_continued_text_keeps_its_leading_space(engine: Engine) -> None:
    prompt = engine.raw_prompt("the")
    assert prompt.continues
    result = ask(engine, prompt, constraint=Constraint("choice", [" cat"])).result()
    assert result.choices[0].text == " cat"


def test_a_prompt_of_token_ids_is_taken_as_it_is(engine: Engine) -> None:
    ids = engine.raw_prompt("the cat").token_ids
    assert engine.raw_prompt(ids).token_ids == ids
    assert engine.raw_prompt([5, 6]).token_ids == (5, 6)
    for wrong in ([-1], [5, 10**20], [True], ["a"]):
        with pytest.raises(PromptError, match="from 0 to 319"):
            engine.raw_prompt(wrong)  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="empty"):
        engine.raw_prompt([])


def test_prompt_scores_of_the_shortest_prompts(engine: Engine) -> None:
    for ids, known in (((5,), 0), ((5, 6), 1)):
        scores = ask(engine, Prompt(ids), max_tokens=1, prompt_logprobs=0).result().prompt_logprobs
        assert scores is not None
        assert scores[0] is None
        assert len(scores) == 1 + known


def test_no_prompt_scores_unless_asked_for(engine: Engine) -> None:
    assert ask(engine, "hello", max_tokens=1).result().prompt_logprobs is None


# ---- usage


def test_usage_of_pictures_and_cached_prompts(seeing: Engine) -> None:
    prompt = chat(seeing, LONG, noise(90, 20), noise(300, 200))
    expected = [span.length for span in prompt.spans]
    assert sum(token == IMAGE_TOKEN for token in prompt.token_ids) == sum(expected)
    for cached in (0, (len(prompt.token_ids) - 1) // 16 * 16):
        usage = ask(seeing, prompt, max_tokens=5, ignore_eos=True).result().usage
        assert usage.prompt_tokens == len(prompt.token_ids)
        assert usage.image_tokens == sum(expected)
        assert (usage.cached_tokens, usage.completion_tokens) == (cached, 5)
    totals = seeing.stats().counters
    assert (totals.finished, totals.failed, totals.aborted) == (2, 0, 0)
    assert (totals.prompt_tokens, totals.cached_tokens) == (2 * len(prompt.token_ids), cached)


def test_choices_share_the_prompt(engine: Engine) -> None:
    prompt = chat(engine, LONG)
    length, count, answer = len(prompt.token_ids), 5, 6
    shared = (length - 1) // 16 * 16
    assert shared > 0
    result = ask(engine, prompt, n=count, temperature=1.0, max_tokens=answer, ignore_eos=True, seed=5).result()
    assert [choice.index for choice in result.choices] == list(range(count))
    assert len({tuple(choice.token_ids) for choice in result.choices}) == count
    usage = result.usage
    assert (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens) == (length, 0, count * answer)
    computed = length + (count - 1) * (length - shared) + count * (answer - 1)
    assert engine.stats().scheduler.computed_tokens == computed


def test_usage_after_preemption_is_that_of_the_request(shelf: Shelf) -> None:
    with shelf.open("llama", kv_memory=memory_for(shelf["llama"], 512)) as engine:
        prompts = [chat(engine, f"{number} {LONG}") for number in range(8)]
        handles = [ask(engine, prompt, max_tokens=60, ignore_eos=True, n=2, temperature=1.0) for prompt in prompts]
        for prompt, result in zip(prompts, results(handles), strict=True):
            usage = result.usage
            assert (usage.prompt_tokens, usage.completion_tokens) == (len(prompt.token_ids), 120)
            assert usage.cached_tokens == 0
        stats = engine.stats().scheduler
        assert stats.preemptions > 0
        once = stats.prompt_tokens - stats.cached_tokens + 8 * 2 * 59
        assert stats.computed_tokens > once


def test_prompt_scores_survive_preemption(shelf: Shelf) -> None:
    """Several long prompts and answers in a cache for one: prompts are scored once and completely."""
    with shelf.open("llama") as engine:
        prompts = [chat(engine, f"{number} {LONG} {LONG}") for number in range(6)]
        alone = [ask(engine, prompt, max_tokens=80, ignore_eos=True, prompt_logprobs=1).result() for prompt in prompts]
    memory = memory_for(shelf["llama"], 512)
    with shelf.open("llama", kv_memory=memory, token_budget=40, max_rows=8) as engine:
        handles = [ask(engine, prompt, max_tokens=80, ignore_eos=True, prompt_logprobs=1) for prompt in prompts]
        together = results(handles)
        assert engine.stats().scheduler.preemptions > 0
    for one, other in zip(alone, together, strict=True):
        assert tokens(one) == tokens(other)
        assert one.prompt_logprobs is not None
        assert other.prompt_logprobs is not None
        assert [score and score.token_id for score in one.prompt_logprobs] == [
            score and score.token_id for score in other.prompt_logprobs
        ]
        first = [score.logprob for score in one.prompt_logprobs if score]
        second = [score.logprob for score in other.prompt_logprobs if score]
        assert first == pytest.approx(second, abs=1e-4)


# ---- refusals, order, counters


def test_prompts_that_leave_no_room_are_refused_with_both_numbers(engine: Engine) -> None:
    with pytest.raises(ContextOverflowError, match=r"512 tokens.*512"):
        ask(engine, Prompt((5,) * 512))
    with pytest.raises(PromptError, match="empty"):
        ask(engine, Prompt(()))
    assert len(tokens(ask(engine, Prompt((5,) * 511), ignore_eos=True).result())) == 1


def test_token_ids_outside_the_vocabulary_are_refused(engine: Engine) -> None:
    with pytest.raises(ParameterError, match="stop_token_ids"):
        ask(engine, "hello", stop_token_ids=(320,))
    with pytest.raises(ParameterError, match="logit_bias"):
        ask(engine, "hello", logit_bias={5000: 1.0})


def test_never_trained_tokens_are_never_sampled(seeing: Engine) -> None:
    bias = dict.fromkeys(range(IMAGE_TOKEN, 320), 100.0)
    result = ask(seeing, "hello", logit_bias=bias, max_tokens=20, ignore_eos=True, logprobs=20).result()
    assert max(tokens(result)) < IMAGE_TOKEN
    assert all(token < IMAGE_TOKEN for score in result.choices[0].logprobs for token, _ in score.top)


@pytest.mark.parametrize("picture", [False, True], ids=["text", "pictures"])
def test_lower_priority_values_go_first_and_equals_in_order(picture: bool, shelf: Shelf) -> None:
    with shelf.open("llava15", max_rows=1) as engine:
        order: list[int] = []
        handles = []
        with Gate(engine):
            for number, priority in enumerate((0, 5, 0, -3, 5, 0)):
                shown = [noise(40 + number, 40)] if picture else []
                prompt = chat(engine, f"{number}", *shown)

                def note(event: object, number: int = number) -> None:
                    if isinstance(event, Finished):
                        order.append(number)

                handles.append(ask(engine, prompt, priority=priority, max_tokens=2, on_event=note))
        wait_until(lambda: len(order) == len(handles))
        if picture:  # they start as they are decoded, so only the whole is certain
            assert sorted(order) == list(range(6))
        else:
            assert order == [3, 0, 2, 5, 1, 4]


def test_counters_and_info(engine: Engine) -> None:
    info = engine.info
    assert (info.architecture, info.precision, info.device, info.vision) == ("llama", "fp32", "cpu", False)
    assert (info.max_context, info.vocab) == (512, 320)
    results([ask(engine, "hello", max_tokens=3, ignore_eos=True) for _ in range(4)])
    stats = engine.stats()
    assert (stats.counters.finished, stats.counters.completion_tokens, stats.unfinished) == (4, 12, 0)
    assert stats.counters.steps >= 3
    assert stats.counters.busy_seconds > 0
    ask(engine, "hello", max_tokens=3).result()
    assert stats.counters.finished == 4  # a snapshot stays as it is


def test_the_clock_of_a_request(engine: Engine) -> None:
    with Gate(engine) as gate:
        handle = ask(engine, "hello", max_tokens=30, ignore_eos=True)
        time.sleep(0.05)
        gate.open()
    timing = handle.result().timing
    assert 0.05 <= timing.queued < timing.first_token < timing.total < 20
