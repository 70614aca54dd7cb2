"""Sampling fields in all spellings: what they come to, what is ignored, and what is refused rather than ignored."""

import msgspec
import pytest

from triptych.engine.request import Constraint, SamplingParams
from triptych.server.dialects.openai.errors import OpenAIError
from triptych.server.dialects.openai.sampling import chat_params, completion_params, with_defaults
from triptych.server.dialects.openai.wire import ChatRequest, CompletionRequest

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}


def params(**fields) -> SamplingParams:
    return chat_params(msgspec.convert(fields, ChatRequest), None)


def completion(**fields) -> tuple[SamplingParams, int]:
    return completion_params(msgspec.convert(fields, CompletionRequest))


def refused(make=params, **fields) -> OpenAIError:
    with pytest.raises(OpenAIError) as error:
        make(**fields)
    assert error.value.status == 400
    assert error.value.type == "invalid_request_error"
    assert len(error.value.message) < 400
    return error.value


# ---- numbers --------------------------------------------------------------------------------------------------------


def test_nothing_given_is_openais_defaults():
    assert params() == SamplingParams(max_tokens=None, temperature=1.0)
    assert completion() == (SamplingParams(max_tokens=16, temperature=1.0), 16)


def test_null_is_as_if_the_field_were_absent():
    given = dict.fromkeys(ChatRequest.__struct_fields__)
    assert params(**given) == params()
    given = dict.fromkeys(CompletionRequest.__struct_fields__)
    assert completion(**given) == completion()


def test_empty_is_as_if_the_field_were_absent():
    empty = {"stop": [], "logit_bias": {}, "tools": [], "allowed_token_ids": [], "bad_words": [], "response_format": {}}
    assert params(**empty, structured_outputs={}) == params()
    assert params(stop="") == params()


def test_every_field_reaches_the_engine():
    given = {
        "top_p": 0.5, "top_k": 7, "min_p": 0.1, "repetition_penalty": 1.1, "presence_penalty": -2,
        "frequency_penalty": 2, "seed": -(1 << 63), "n": 128, "min_tokens": 2, "ignore_eos": True, "max_tokens": 9,
        "temperature": 2, "prompt_logprobs": 3,
    }  # fmt: skip
    found = params(**given, stop=["a", "b"], stop_token_ids=[4, 5], logit_bias={"7": -100, "12": 3.5}, logprobs=True)
    wanted = {**given, "stop": ("a", "b"), "stop_token_ids": (4, 5), "logit_bias": {7: -100, 12: 3.5}, "logprobs": 0}
    assert found == SamplingParams(**wanted)


def test_the_limit():
    assert params(max_tokens=5).max_tokens == 5
    assert params(max_tokens=5, max_completion_tokens=7).max_tokens == 7
    for name in ("max_tokens", "max_completion_tokens"):
        for value in (0, -1):
            assert refused(**{name: value}).param == name
    assert completion(max_tokens=0) == (SamplingParams(max_tokens=1, temperature=1.0), 0)
    assert refused(completion, max_tokens=-1).param == "max_tokens"
    assert refused(min_tokens=5, max_tokens=4).param in ("min_tokens", "max_tokens")


def test_temperature_and_top_p_at_their_ends():
    assert params(temperature=0).temperature == params(temperature=9e-6).temperature == 0
    assert params(temperature=0, n=3).n == 3
    found = params(top_p=0)
    assert (found.top_p, found.top_k) == (1.0, 1)
    assert params(top_k=-1).top_k == params(top_k=0).top_k == 0


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("temperature", (-0.1, -1e-9, 2.1)), ("top_p", (-0.1, 1.1)), ("top_k", (-2,)), ("min_p", (-0.1, 1.1)),
        ("presence_penalty", (-2.1, 2.1)), ("frequency_penalty", (-2.1, 2.1)), ("repetition_penalty", (0, -1)),
        ("n", (0, 129, -1)), ("min_tokens", (-1,)), ("prompt_logprobs", (-2, 21)),
    ],
)  # fmt: skip
def test_out_of_range(name, values):
    for value in values:
        assert refused(**{name: value}).param == name


@pytest.mark.parametrize("name", ["seed", "max_tokens", "priority", "top_k", "n"])
def test_numbers_that_no_frame_can_hold_are_refused_while_they_are_read(name):
    for value in (1 << 63, -(1 << 63) - 1):
        with pytest.raises(msgspec.ValidationError):
            params(**{name: value})


def test_stops():
    assert params(stop="x").stop == ("x",)
    assert len(params(stop=[str(number) for number in range(64)]).stop) == 64
    assert refused(stop=["a", ""]).param == "stop"
    assert refused(stop=["a"] * 65).param == "stop"


@pytest.mark.parametrize("token", ["x", "", "-1", "1.5", "1_0", " 1", "９", "9" * 400])
def test_the_keys_of_logit_bias_are_token_ids(token):
    assert refused(logit_bias={token: 1}).param == "logit_bias"


def test_the_values_of_logit_bias_have_a_range():
    assert refused(logit_bias={"1": 100.5}).param == "logit_bias"


# ---- logprobs -------------------------------------------------------------------------------------------------------


def test_logprobs_of_a_chat():
    assert params(logprobs=False).logprobs is None
    assert params(logprobs=True).logprobs == 0
    assert params(logprobs=True, top_logprobs=20).logprobs == 20
    for fields in ({"top_logprobs": 2}, {"top_logprobs": 0, "logprobs": False}):
        assert refused(**fields).param == "top_logprobs"
    error = refused(logprobs=True, top_logprobs=21)
    assert error.param == "top_logprobs"
    assert error.message.startswith("top_logprobs")


def test_logprobs_of_a_completion():
    assert completion(logprobs=0)[0].logprobs == 0
    assert completion(logprobs=20)[0].logprobs == 20
    assert refused(completion, logprobs=21).param == "logprobs"
    echoed, limit = completion(logprobs=2, echo=True, max_tokens=0)
    assert (echoed.logprobs, echoed.prompt_logprobs, limit) == (2, 2, 0)
    assert completion(echo=True)[0].prompt_logprobs is None
    assert completion(echo=True, logprobs=1, prompt_logprobs=5)[0].prompt_logprobs == 5
    assert refused(completion, logprobs=2, echo=True, stream=True).code == "unsupported_parameter"


def test_prompt_logprobs_are_capped_and_not_for_streams():
    assert params(prompt_logprobs=-1).prompt_logprobs == 20
    error = refused(prompt_logprobs=1, stream=True)
    assert (error.param, error.code) == ("prompt_logprobs", "unsupported_parameter")


# ---- defaults of a model --------------------------------------------------------------------------------------------


def test_what_a_model_recommends_counts_where_the_caller_says_nothing():
    # As they cross from the replica: all of them floats.
    defaults = {"temperature": 0.5, "top_p": 0.9, "top_k": 50.0}
    found = chat_params(with_defaults(ChatRequest(top_p=1.0), defaults), None)
    assert (found.temperature, found.top_p, found.top_k) == (0.5, 1.0, 50)
    request = ChatRequest()
    assert with_defaults(request, {}) is request


# ---- what is not built ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("allowed_token_ids", [1]), ("bad_words", ["x"]), ("include_stop_str_in_output", True), ("no_stop_trim", True),
        ("logits_processors", ["x"]), ("custom_logit_processor", "x"), ("use_beam_search", True),
        ("mm_processor_kwargs", {"a": 1}), ("media_io_kwargs", {"a": 1}), ("prompt_embeds", "x"),
        ("image_embeds", {"a": 1}), ("lora_path", "x"), ("chat_template", "x"), ("guided_grammar", "x"),
        ("grammar", "x"), ("ebnf", "x"), ("logprob_token_ids", [1]), ("truncate_prompt_tokens", -1),
        ("cache_salt", "x"), ("skip_special_tokens", False),
        ("moderation", {"policy": {"mode": "block"}}), ("moderation", {"policy": {"input": {"mode": "block"}}}),
    ],
)  # fmt: skip
def test_promises_that_cannot_be_kept_are_refused(name, value):
    for make in (params, completion):
        error = refused(make, **{name: value})
        assert (error.param, error.code) == (name, "unsupported_parameter")
        assert name in error.message


def test_promises_that_ask_for_nothing_pass():
    assert params(
        include_stop_str_in_output=False, use_beam_search=False, skip_special_tokens=True, lora_path="",
        moderation={"policy": {"mode": "warn"}},
    ) == params()  # fmt: skip


def test_what_only_one_endpoint_refuses():
    assert refused(add_special_tokens=True).code == "unsupported_parameter"
    assert params(add_special_tokens=False) == params()
    assert refused(completion, suffix="x").code == "unsupported_parameter"
    assert completion(suffix="") == completion()
    assert refused(completion, best_of=3, n=2).param == "best_of"
    assert completion(best_of=2, n=2)[0].n == 2
    assert completion(best_of=1)[0].n == 1


# ---- the form of the text -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "constraint"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, Constraint("json_object")),
        ({"response_format": {"type": "json_object", "schema": SCHEMA}}, Constraint("json_schema", SCHEMA)),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": False, "schema": SCHEMA}}},
         Constraint("json_schema", SCHEMA)),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, Constraint("json_schema", {})),
        ({"guided_json": SCHEMA}, Constraint("json_schema", SCHEMA)),
        ({"guided_json": '{"type": "integer"}'}, Constraint("json_schema", {"type": "integer"})),
        ({"json_schema": '{"type": "integer"}'}, Constraint("json_schema", {"type": "integer"})),
        ({"json_schema": SCHEMA}, Constraint("json_schema", SCHEMA)),
        ({"guided_regex": "a+"}, Constraint("regex", "a+")),
        ({"regex": "a+"}, Constraint("regex", "a+")),
        ({"guided_choice": ["a", "b"]}, Constraint("choice", ["a", "b"])),
        ({"structured_outputs": {"json": SCHEMA}}, Constraint("json_schema", SCHEMA)),
        ({"structured_outputs": {"json": "true", "regex": None}}, Constraint("json_schema", True)),
        ({"structured_outputs": {"regex": "a+", "json_object": False}}, Constraint("regex", "a+")),
        ({"structured_outputs": {"choice": ["a"]}}, Constraint("choice", ["a"])),
        ({"structured_outputs": {"json_object": True}}, Constraint("json_object", True)),
        ({"structured_outputs": {"regex": "a+"}, "response_format": {"type": "text"}}, Constraint("regex", "a+")),
    ],
)
def test_all_spellings_of_constraints(fields, constraint):
    assert params(**fields).constraint == constraint
    assert completion(**fields)[0].constraint == constraint


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"guided_json": SCHEMA, "guided_regex": "a"}, "guided_regex"),
        ({"regex": "a", "structured_outputs": {"choice": ["b"]}}, "structured_outputs.choice"),
        ({"structured_outputs": {"json": SCHEMA, "regex": "a"}}, "structured_outputs.regex"),
        ({"response_format": {"type": "json_object"}, "guided_choice": ["b"]}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"structured_outputs": {"regex": 5}}, "structured_outputs.regex"),
        ({"structured_outputs": {"choice": "ab"}}, "structured_outputs.choice"),
        ({"structured_outputs": {"choice": ["a", 5]}}, "structured_outputs.choice"),
        ({"guided_choice": []}, "guided_choice"),
    ],
)
def test_constraints_that_contradict_each_other_or_are_none(fields, param):
    assert refused(**fields).param == param


@pytest.mark.parametrize(
    "name", ["grammar", "structural_tag", "whitespace_pattern", "disable_any_whitespace", "x" * 999]
)
def test_constraints_that_are_not_built(name):
    error = refused(structured_outputs={"json": SCHEMA, name: "x"})
    assert (error.param, error.code) == (f"structured_outputs.{name:.80}", "unsupported_parameter")


def test_a_response_format_of_another_type():
    for kind in ("structural_tag", None, "x" * 1000):
        error = refused(response_format={"type": kind})
        assert (error.param, error.code) == ("response_format.type", "unsupported_value")


def nested(depth: int) -> dict:
    schema: dict = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize("schema", ["{", "5", '"x"', "[" * 5000, nested(70), 7, []])
def test_schemas_that_are_none(schema):
    given = {"type": "json_schema", "json_schema": {"schema": schema}}
    error = refused(response_format=given)
    assert (error.param, error.code) == ("response_format.json_schema.schema", "invalid_json_schema")
    assert error.message.startswith("Invalid schema for response_format")
    if isinstance(schema, str):
        assert refused(guided_json=schema).code == "invalid_json_schema"


def test_a_schema_may_be_as_deep_as_people_write_them():
    assert params(guided_json=nested(50)).constraint is not None


def test_a_forced_tool_is_the_form_unless_an_extension_demands_another():
    forced = Constraint("json_schema", {"const": 1})
    request = ChatRequest(response_format={"type": "json_object"})
    assert chat_params(request, forced).constraint == forced
    with pytest.raises(OpenAIError) as error:
        chat_params(ChatRequest(regex="a"), forced)
    assert error.value.param == "tool_choice"
    with pytest.raises(OpenAIError):
        chat_params(ChatRequest(response_format={"type": "nonsense"}), forced)
