"""Token ids and their text, from an upstream that tells them and from one that does not."""

import pytest
from scripted_upstream import Reply, fails, says, scripted, upstream_model

from triptych.engine.errors import ParameterError
from triptych.server.generation import ChatPrompt, NotSupportedError, RawPrompt, UpstreamError, UpstreamUnavailableError
from triptych.server.pictures import picture

USER = [{"role": "user", "content": "hello"}]


@pytest.fixture
async def upstream():
    async with scripted() as server:
        server.at["/tokenize"] = says({"tokens": [1, 7, 8], "token_strs": ["<s>", "\u2581he", "llo"], "count": 3})
        server.at["/detokenize"] = says({"prompt": "<s> hello"})
        yield server


@pytest.fixture
async def model(upstream):
    async with upstream_model(upstream) as made:
        yield made


async def test_a_text_is_encoded(upstream, model):
    encoded = await model.encode(RawPrompt("hello", add_bos=False))
    assert (encoded.token_ids, encoded.tokens, encoded.text) == ([1, 7, 8], ["<s>", " he", "llo"], "hello")
    assert upstream.asked[-1].json == {
        "model": "there", "prompt": "hello", "add_special_tokens": False, "return_token_strs": True,
    }  # fmt: skip


async def test_a_chat_is_encoded_with_its_pictures(upstream, model):
    prompt = ChatPrompt([{"role": "user", "content": [{"type": "image"}]}])
    encoded = await model.encode(prompt, [picture(b"GIF89a")])
    assert encoded.text == "<s> hello"
    sent = next(asked.json for asked in upstream.asked if asked.path == "/tokenize")
    assert sent["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/gif;base64,")
    assert sent["add_generation_prompt"] is True
    await model.encode(ChatPrompt([*USER, {"role": "assistant", "content": "Well"}]))
    sent = [asked.json for asked in upstream.asked if asked.path == "/tokenize"][-1]
    assert (sent["add_generation_prompt"], sent["continue_final_message"]) == (False, True)


@pytest.mark.parametrize("strings", [None, ["too", "few"]])
async def test_tokens_are_spelled_one_by_one_where_only_numbers_come(upstream, model, strings):
    upstream.at["/tokenize"] = says({"tokens": [5, 6, 5], "token_strs": strings})
    upstream.at["/detokenize"] = says({"text": "x"})
    assert (await model.encode(RawPrompt("hello"))).tokens == ["x", "x", "x"]
    asked = [each.json["tokens"] for each in upstream.asked if each.path == "/detokenize"]
    assert sorted(asked) == [[5], [6]]


async def test_ids_are_decoded(upstream, model):
    encoded = await model.encode(RawPrompt([1, 7]))
    assert (encoded.token_ids, encoded.text, len(encoded.tokens)) == ([1, 7], "<s> hello", 2)
    assert await model.decode([1, 7]) == "<s> hello"


@pytest.mark.parametrize(
    ("piece", "text"), [("\u2581a", " a"), ("\u0120a", " a"), ("\u010a", "\n"), ("<0x0A>", "\n"), ("<0xC3>", "\ufffd")]
)
async def test_pieces_become_text(upstream, model, piece, text):
    upstream.at["/tokenize"] = says({"tokens": [1], "token_strs": [piece]})
    assert (await model.encode(RawPrompt("x"))).tokens == [text]


async def test_a_server_without_it_is_told_of(upstream, model):
    del upstream.at["/tokenize"]
    with pytest.raises(NotSupportedError, match="the server that answers for here has no /tokenize"):
        await model.encode(RawPrompt("x"))
    upstream.at["/detokenize"] = fails(405)
    with pytest.raises(NotSupportedError, match="has no /detokenize"):
        await model.decode([1])


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (fails(400, "bad"), ParameterError), (fails(503), UpstreamUnavailableError), (fails(401), UpstreamError),
        (Reply(b"<html>"), UpstreamError), (says({}), UpstreamError), (says({"tokens": ["a"]}), UpstreamError),
    ],
)  # fmt: skip
async def test_what_goes_wrong_is_told(upstream, model, reply, kind):
    upstream.at["/tokenize"] = upstream.at["/detokenize"] = reply
    with pytest.raises(kind):
        await model.encode(RawPrompt("x"))
    with pytest.raises(kind):
        await model.decode([1])


async def test_it_stands_beside_the_version(upstream):
    async with upstream_model(upstream, base_url=upstream.url.removesuffix("/v1") + "/api") as model:
        upstream.at["/api/detokenize"] = says({"prompt": "x"})
        assert await model.decode([1]) == "x"
