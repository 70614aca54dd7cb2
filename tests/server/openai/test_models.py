"""The list of models, and the small routes around tokens."""

import pytest
from http_calls import call
from servers import null_models, serving


def test_the_list(server):
    reply = call(server.url, "GET", "/v1/models")
    assert reply.status == 200
    assert list(reply.json) == ["object", "data"]
    assert reply.json["object"] == "list"
    eye, text = reply.json["data"]
    assert (eye["id"], text["id"]) == ("eye", "text")
    for model in (eye, text):
        assert model["object"] == "model"
        assert isinstance(model["created"], int)
        assert model["owned_by"] == "triptych"
    assert eye["aliases"] == ["llava", "org/eye"]
    assert "max_model_len" not in text  # not known before it runs


def test_what_is_known_once_a_model_runs():
    with serving(null_models()) as server:
        assert call(server.url, "GET", "/v1/models/eye").json["state"] == "stopped"
        call(server.url, "POST", "/tokenize", {"model": "eye", "prompt": "a"})
        model = call(server.url, "GET", "/v1/models/eye").json
        assert (model["state"], model["max_model_len"], model["context_length"]) == ("ready", 4096, 4096)
        assert model["architecture"]["input_modalities"] == ["text", "image"]
        assert model["quantization"] == "fp32"


def test_a_failure_is_shown():
    with serving(null_models(fail="it is broken")) as server:
        call(server.url, "POST", "/tokenize", {"model": "eye", "prompt": "a"})
        assert call(server.url, "GET", "/v1/models/eye").json["failure"] == "it is broken"


@pytest.mark.parametrize("name", ["eye", "llava", "LLaVA", "org/eye", "org%2Feye", "org%2feye/"])
def test_one_model_by_any_of_its_names(server, name):
    reply = call(server.url, "GET", f"/v1/models/{name}")
    assert (reply.status, reply.json["id"]) == (200, "eye")


def test_an_unknown_model(server):
    for reply in (
        call(server.url, "GET", "/v1/models/org%2Feyes"),
        call(server.url, "POST", "/v1/chat/completions", {"model": "org/eyes", "messages": [{"role": "user"}]}),
        call(server.url, "POST", "/v1/completions", {"model": "org/eyes", "prompt": "x"}),
    ):
        assert (reply.status, reply.error["code"], reply.error["param"]) == (404, "model_not_found", "model")
        assert "'org/eye'" in reply.error["message"]


def test_a_name_may_be_left_out_when_one_model_runs():
    with serving(null_models()) as server:
        nameless = {"prompt": "a b", "model": ""}
        assert call(server.url, "POST", "/v1/completions", nameless).status == 404
        call(server.url, "POST", "/v1/completions", {"prompt": "a b", "model": "text"})
        for path in ("/v1/completions", "/tokenize"):
            assert call(server.url, "POST", path, nameless).status == 200


# ---- tokens ---------------------------------------------------------------------------------------------------------


def test_tokenize(server):
    reply = call(server.url, "POST", "/tokenize", {"model": "eye", "prompt": "a b", "add_special_tokens": False})
    assert reply.json == {"count": 2, "max_model_len": 4096, "tokens": [0, 1], "token_strs": None}
    body = {"model": "eye", "messages": [{"role": "user", "content": "a b c"}], "return_token_strs": True}
    assert call(server.url, "POST", "/v1/tokenize", body).json["token_strs"] == ["a", "b", "c"]
    assert call(server.url, "POST", "/tokenize", {"model": "eye"}).error["param"] == "prompt"
    body |= {"add_generation_prompt": False}
    assert call(server.url, "POST", "/tokenize", body).error["code"] == "unsupported_parameter"
    body |= {"add_generation_prompt": True, "tools": [{"type": "custom"}]}
    assert call(server.url, "POST", "/tokenize", body).error["param"] == "tools[0].type"


def test_detokenize(server):
    assert call(server.url, "POST", "/detokenize", {"model": "eye", "tokens": [3, 4]}).json == {"prompt": "3 4"}
    for tokens in ([-1], [1000], [1 << 62], [1 << 70], ["x"], None):
        reply = call(server.url, "POST", "/detokenize", {"model": "eye", "tokens": tokens})
        assert reply.status == 400
        assert reply.error["param"].startswith("tokens")
    assert call(server.url, "POST", "/detokenize", {"model": "eye"}).status == 400


def test_tokenizer_info(server):
    answer = call(server.url, "GET", "/tokenizer_info?model=llava").json
    assert answer["eos_token"] == "</s>"
    assert {"bos_token", "pad_token", "chat_template", "tokenizer_class"} <= set(answer)
