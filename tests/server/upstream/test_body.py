"""A Generation as the request of an OpenAI-compatible server."""

import base64
import json
from dataclasses import replace

import pytest

from triptych.engine.errors import ParameterError, PromptError
from triptych.engine.request import Constraint, SamplingParams
from triptych.server.generation import ChatPrompt, Generation, RawPrompt
from triptych.server.pictures import picture
from triptych.server.upstream.body import Target, build, data_uri
from triptych.server.upstream.kinds import kind_of
from triptych.server.upstream.wire import Listed

USER = [{"role": "user", "content": "hello"}]
PNG, JPEG = b"\x89PNG\r\n\x1a\n rest", b"\xff\xd8\xff rest"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


async def sent(prompt=None, kind="openai", pictures=(), max_context=0, priority=0, **params):
    prompt = ChatPrompt(USER) if prompt is None else prompt
    params = SamplingParams(**{"max_tokens": 9, "temperature": 1.0, **params})
    generation = Generation("id", prompt, params, tuple(map(picture, pictures)), priority)
    made = await build(generation, Target("there", kind, max_context))
    return made, json.loads(made.body)


async def body(*args, **more):
    return (await sent(*args, **more))[1]


# ---- prompts --------------------------------------------------------------------------------------------------------


async def test_a_plain_chat_is_nothing_but_openai():
    made, fields = await sent()
    assert made.path == "/chat/completions"
    assert fields == {
        "model": "there", "messages": USER, "max_tokens": 9, "temperature": 1.0, "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip


async def test_images_are_back_at_their_places():
    parts = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}, {"type": "image"}]
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "fine"},
        {"role": "user", "content": [{"type": "image"}]},
    ]
    made, fields = await sent(ChatPrompt(messages), pictures=[PNG, JPEG, PNG])
    shown = fields["messages"][1]["content"]
    assert [part.get("text") for part in shown] == ["a", None, "b", None]
    assert [part["image_url"]["url"][:22] for part in (shown[1], shown[3])] == [
        "data:image/png;base64,", "data:image/jpeg;base64",
    ]  # fmt: skip
    assert base64.b64decode(shown[3]["image_url"]["url"].partition(",")[2]) == JPEG
    assert fields["messages"][3]["content"][0]["type"] == "image_url"
    assert made.images == ("messages[1].content[1]", "messages[1].content[3]", "messages[3].content[0]")
    assert "interleave" not in fields
    assert (await body(ChatPrompt(messages), "triptych", [PNG, JPEG, PNG]))["interleave"] is True


async def test_a_detail_goes_along_where_every_server_knows_it():
    words = ["low", "high", "auto", "original", "new"]
    pictures = tuple(replace(picture(PNG), detail=word) for word in words)
    prompt = ChatPrompt([{"role": "user", "content": [{"type": "image"}] * len(words)}])
    made = await build(Generation("id", prompt, SamplingParams(), pictures), Target("there", "openai", 0))
    shown = [part["image_url"] for part in json.loads(made.body)["messages"][0]["content"]]
    assert [each.get("detail") for each in shown] == ["low", "high", None, None, None]


async def test_large_images_are_whole():
    data = PNG + bytes(1 << 19)
    fields = await body(ChatPrompt([{"role": "user", "content": [{"type": "image"}]}]), pictures=[data])
    assert base64.b64decode(fields["messages"][0]["content"][0]["image_url"]["url"].partition(",")[2]) == data


@pytest.mark.parametrize(
    ("begin", "kind"),
    [
        (b"GIF89a", "image/gif"), (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"), (b"BM", "image/bmp"),
        (b"II*\x00", "image/tiff"), (b"\x00\x00\x00\x1cftypavif", "image/avif"), (b"?", "application/octet-stream"),
    ],
)  # fmt: skip
def test_formats_are_told_by_their_beginning(begin, kind):
    assert data_uri(begin).startswith(f"data:{kind};base64,")


@pytest.mark.parametrize("count", [0, 2])
async def test_images_and_places_must_match(count):
    prompt = ChatPrompt([{"role": "user", "content": [{"type": "image"}]}])
    with pytest.raises(PromptError, match=r"there are more (images|places)"):
        await sent(prompt, pictures=[PNG] * count)


async def test_a_begun_answer_is_continued():
    fields = await body(ChatPrompt([*USER, {"role": "assistant", "content": "Well,"}]))
    assert (fields["continue_final_message"], fields["add_generation_prompt"]) == (True, False)
    assert "continue_final_message" not in await body()


async def test_raw_prompts_go_to_completions():
    made, fields = await sent(RawPrompt("once"))
    assert made.path == "/completions"
    assert fields["prompt"] == "once"
    assert "add_special_tokens" not in fields
    assert (await body(RawPrompt("once", add_bos=False)))["add_special_tokens"] is False
    assert (await body(RawPrompt([1, 2])))["prompt"] == [1, 2]
    with pytest.raises(PromptError, match="images in chats only"):
        await sent(RawPrompt("once"), pictures=[PNG])


# ---- parameters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"top_p": 0.5, "top_k": 7, "min_p": 0.1}, {"top_p": 0.5, "top_k": 7, "min_p": 0.1}),
        ({"repetition_penalty": 1.2}, {"repetition_penalty": 1.2}),
        ({"presence_penalty": -1.0, "frequency_penalty": 0.5}, {"presence_penalty": -1.0, "frequency_penalty": 0.5}),
        ({"seed": 0, "n": 3}, {"seed": 0, "n": 3}),
        ({"stop": ("a", "b"), "stop_token_ids": (5,)}, {"stop": ["a", "b"], "stop_token_ids": [5]}),
        ({"min_tokens": 2, "ignore_eos": True}, {"min_tokens": 2, "ignore_eos": True}),
        ({"logit_bias": {7: -100.0}}, {"logit_bias": {"7": -100.0}}),
        ({"logprobs": 0}, {"logprobs": True}),
        ({"logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
    ],
)
async def test_each_parameter_has_its_name(params, fields):
    plain = await body()
    assert await body(**params) == {**plain, **fields}


async def test_logprobs_of_completions_are_a_number():
    assert (await body(RawPrompt("x"), logprobs=0))["logprobs"] == 0
    assert (await body(RawPrompt("x"), logprobs=3))["logprobs"] == 3


async def test_prompt_logprobs_come_whole():
    made, fields = await sent(RawPrompt("x"), prompt_logprobs=2)
    assert fields["prompt_logprobs"] == 2
    assert not made.stream
    assert not {"stream", "stream_options"} & fields.keys()


async def test_a_priority_is_passed_on_where_it_is_always_taken():
    assert (await body(kind="triptych", priority=3))["priority"] == 3
    assert "priority" not in await body(kind="triptych")
    assert "priority" not in await body(kind="vllm", priority=3)


async def test_without_a_limit_the_context_is_the_limit():
    assert "max_tokens" not in await body(max_tokens=None)
    assert (await body(RawPrompt("x"), max_tokens=None, max_context=4096))["max_tokens"] == 4096
    with pytest.raises(ParameterError, match="max_tokens must be given") as caught:
        await body(RawPrompt("x"), max_tokens=None)
    assert caught.value.name == "max_tokens"


@pytest.mark.parametrize(("kind", "asked"), [("openai", False), ("sglang", False), ("vllm", True), ("triptych", True)])
async def test_token_ids_are_asked_where_they_are_known(kind, asked):
    assert ("return_token_ids" in await body(kind=kind)) is asked


# ---- constraints ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [SCHEMA, json.dumps(SCHEMA)])
async def test_a_schema_is_a_response_format(value):
    wanted = (await body(constraint=Constraint("json_schema", value)))["response_format"]
    assert wanted["type"] == "json_schema"
    assert wanted["json_schema"] == {"name": "answer", "schema": SCHEMA, "strict": True}


async def test_a_json_object_is_a_response_format():
    assert (await body(constraint=Constraint("json_object")))["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    ("kind", "constraint", "fields"),
    [
        ("vllm", Constraint("regex", "a+"), {"structured_outputs": {"regex": "a+"}}),
        ("triptych", Constraint("choice", ["a", "b"]), {"structured_outputs": {"choice": ["a", "b"]}}),
        ("sglang", Constraint("regex", "a+"), {"regex": "a+"}),
        ("sglang", Constraint("choice", ["a.b", "c"]), {"regex": "(a\\.b)|(c)"}),
    ],
)
async def test_patterns_and_choices_in_the_words_of_the_server(kind, constraint, fields):
    made = await body(kind=kind, constraint=constraint)
    assert {name: made[name] for name in fields} == fields


@pytest.mark.parametrize("constraint", [Constraint("regex", "a+"), Constraint("choice", ["a"])])
async def test_a_constraint_that_might_be_ignored_is_refused(constraint):
    with pytest.raises(ParameterError, match=f"not known to force a {constraint.kind}"):
        await sent(constraint=constraint)


@pytest.mark.parametrize(
    ("listed", "kind"),
    [
        (Listed("m", owned_by="vllm"), "vllm"), (Listed("m", owned_by="sglang"), "sglang"),
        (Listed("m", owned_by="llamacpp"), "openai"), (Listed("m"), "openai"),
        (Listed("m", owned_by="vllm", aliases=[], supported_parameters=["return_token_ids"]), "triptych"),
        (Listed("m", supported_parameters=["structured_outputs"]), "openai"),
    ],
)  # fmt: skip
def test_what_a_server_says_of_itself(listed, kind):
    assert kind_of(listed) == kind
