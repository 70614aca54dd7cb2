"""A server whose model is at a scripted upstream, asked over HTTP: dialects, log and metrics know no difference."""

import json
import time
from base64 import b64encode

import pytest
from click.testing import CliRunner
from http_calls import ask, call, raw
from picture_files import encoded, noise
from scripted_upstream import TIMES, chunk, fails, says, scripted_apart, stream, usage
from servers import null_models, serving

from triptych.cli import main
from triptych.server.delivery.fetch import ImageFetcher
from triptych.server.delivery.guard import Guard
from triptych.server.model_settings import ModelSettings, Upstream
from triptych.server.settings import Settings
from triptych.server.start import build
from triptych.server.upstream.model import UpstreamModel

KEY = "sk-very-secret-key"
WORDS = (chunk("one "), chunk("two", "stop"), usage(7, 2))


@pytest.fixture(scope="module")
def upstream():
    with scripted_apart() as server:
        yield server


@pytest.fixture(scope="module")
def server(upstream):
    model = UpstreamModel("here", Upstream(upstream.url, "there", KEY), ("also",), times=TIMES)
    with serving([model, *null_models()]) as running:
        yield running


@pytest.fixture(autouse=True)
def fresh(upstream):
    upstream.asked.clear()
    upstream.lost.clear()
    upstream.at = {"/v1/models": says({"data": [{"id": "there"}]})}
    upstream.script(stream(*WORDS))


def chat(server, text="hello", **fields):
    return ask(server.url, text, "here", **fields)


def until(true):
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ---- answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["here", "also", "HERE"])
def test_a_whole_answer(server, upstream, name):
    reply = ask(server.url, "hello", name, temperature=0.5, max_tokens=5, stop="x")
    assert reply.status == 200
    [choice] = reply.json["choices"]
    assert choice["message"]["content"] == "one two"
    assert (reply.json["model"], choice["finish_reason"]) == ("here", "stop")
    assert reply.json["usage"]["total_tokens"] == 9
    [sent] = upstream.sent
    assert {**sent, "messages": None} == {
        "model": "there", "messages": None, "temperature": 0.5, "max_tokens": 5, "stop": ["x"], "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip


def test_a_stream(server):
    reply = chat(server, stream=True, stream_options={"include_usage": True})
    *chunks, last = reply.chunks
    assert "".join(each["choices"][0]["delta"].get("content") or "" for each in chunks) == "one two"
    assert last["usage"]["prompt_tokens"] == 7
    assert last["choices"] == []


def test_running_usage_is_not_made_up(server):
    options = {"include_usage": True, "continuous_usage_stats": True}
    *chunks, last = chat(server, stream=True, stream_options=options).chunks
    assert {each["usage"] for each in chunks} == {None}
    assert last["usage"]["completion_tokens"] == 2


def test_a_filtered_answer_says_so_and_is_counted(server, upstream):
    upstream.script(stream(chunk("one", "content_filter"), usage()))
    assert chat(server).json["choices"][0]["finish_reason"] == "content_filter"


def test_an_image_goes_along(server, upstream):
    uri = f"data:image/png;base64,{b64encode(encoded(noise(8, 8))).decode()}"
    parts = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": uri}}]
    model = UpstreamModel("here", Upstream(upstream.url, "there"), times=TIMES)
    fetcher = ImageFetcher(Guard.allowing([]))
    with serving([model], fetcher.read, on_stop=fetcher.close) as running:
        assert chat(running, parts).status == 200
        content = upstream.sent[0]["messages"][0]["content"]
        assert [part["type"] for part in content] == ["image_url", "text"]
        assert content[0]["image_url"]["url"] == uri
        upstream.script(fails(400, "bad picture", param="messages[0].content[0].image_url"))
        assert chat(running, parts).error["param"] == "messages[0].content[1].image_url.url"


def test_an_upstream_that_reads_text_only_is_not_shown_images(upstream):
    upstream.at["/v1/models"] = says({"data": [{"id": "there", "architecture": {"input_modalities": ["text"]}}]})
    model = UpstreamModel("here", Upstream(upstream.url, "there"), times=TIMES)
    with serving([model]) as running:
        reply = chat(running, [{"type": "image_url", "image_url": {"url": "x"}}])
        assert (reply.status, reply.error["code"]) == (400, "unsupported_content")
        assert upstream.sent == []


def test_completions_of_several_prompts(server, upstream):
    one = {"choices": [{"index": 0, "text": "once", "finish_reason": "length"}]}
    upstream.script(stream(one, usage(3, 1)))
    body = {"model": "here", "prompt": ["a", "b", "c"], "max_tokens": 1}
    reply = call(server.url, "POST", "/v1/completions", body)
    assert [choice["text"] for choice in reply.json["choices"]] == ["once"] * 3
    assert reply.json["usage"]["prompt_tokens"] == 9
    assert sorted(sent["prompt"] for sent in upstream.sent) == ["a", "b", "c"]
    reply = call(server.url, "POST", "/v1/completions", {**body, "stream": True})
    assert [each["choices"][0]["text"] for each in reply.chunks] == ["once"] * 3


def test_a_prompt_is_scored(server, upstream):
    upstream.at["/tokenize"] = says({"tokens": [1, 7], "token_strs": ["<s>", "\u2581he"]})
    upstream.at["/detokenize"] = says({"prompt": "<s>"})
    scored = [None, {"7": {"logprob": -0.5, "rank": 1, "decoded_token": " he"}}]
    choice = {"index": 0, "text": "x", "finish_reason": "length", "prompt_logprobs": scored}
    upstream.script(says({"choices": [choice], "usage": usage(2, 1)["usage"]}))
    body = {"model": "here", "prompt": "he", "echo": True, "logprobs": 1, "max_tokens": 0}
    reply = call(server.url, "POST", "/v1/completions", body)
    [found] = reply.json["choices"]
    assert found["text"] == "he"
    assert found["logprobs"]["token_logprobs"] == [None, -0.5]
    assert (upstream.sent[0]["prompt_logprobs"], upstream.sent[0]["max_tokens"]) == (1, 1)
    assert "stream" not in upstream.sent[0]


# ---- failures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("reply", "status", "code", "text"),
    [
        (fails(400, "bad seed", param="seed"), 400, None, "Bad seed."),
        (fails(400, "This model's maximum context length is 4096 tokens", "context_length_exceeded"), 400,
         "context_length_exceeded", "This model's maximum context length is 4096 tokens"),
        (fails(401, f"Incorrect API key: {KEY}"), 502, "upstream_error", "refused this server's key"),
        (fails(404, "no such model"), 502, "upstream_error", "does not have the model: no such model"),
        (fails(503, "busy", **{"retry-after": "9"}), 503, "upstream_unavailable", "cannot answer now (503): busy"),
        (fails(429, "slow", **{"retry-after": "9"}), 503, "upstream_unavailable", "cannot answer now (429): slow"),
    ],
)  # fmt: skip
def test_what_the_upstream_refuses_is_a_plain_error(server, upstream, streamed, reply, status, code, text):
    upstream.script(reply)
    got = chat(server, stream=streamed)
    assert (got.status, got.error["code"]) == (status, code)
    assert text in got.error["message"]
    assert KEY not in got.body.decode()
    assert upstream.url not in got.body.decode()
    assert got.headers.get("retry-after") == ("9" if status == 503 else None)
    assert got.headers.get("x-should-retry") == ("false" if status == 502 else None)
    assert got.error["param"] == {None: "seed", "context_length_exceeded": "messages"}.get(code)


def test_a_stream_that_breaks_off_ends_with_an_error(server, upstream):
    upstream.script(stream(chunk("hel"), done=False, cut=True))
    events = chat(server, stream=True).events
    assert events[-1] == b"data: [DONE]"
    error = json.loads(events[-2].removeprefix(b"data: "))["error"]
    assert (error["code"], error["type"]) == ("upstream_unavailable", "server_error")
    upstream.script(stream(chunk("hel"), {"error": {"message": "died", "code": 500}}))
    assert chat(server).status == 503


def test_an_answer_that_is_not_counted_is_an_error(server, upstream):
    upstream.script(stream(*WORDS[:2]))
    reply = chat(server)
    assert (reply.status, reply.error["code"]) == (502, "upstream_error")
    assert "no usage" in reply.error["message"]


def test_who_goes_away_stops_the_upstream(server, upstream):
    upstream.script(stream(chunk("hel"), done=False, hold=True))
    body = json.dumps({"model": "here", "messages": [{"role": "user", "content": "x"}], "stream": True}).encode()
    lines = ("POST /v1/chat/completions HTTP/1.1", "host: x", "content-type: application/json",
             f"content-length: {len(body)}", "", "")  # fmt: skip
    peer = raw(server.url, "\r\n".join(lines).encode() + body)
    assert b"200" in peer.recv(100)
    assert not upstream.lost.is_set()
    peer.close()
    until(upstream.lost.is_set)
    until(lambda: server.router.find("here").under_way == 0)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "return_token_ids": True}),
        ("/tokenize", {"prompt": "x"}), ("/detokenize", {"tokens": [1]}),
    ],
)  # fmt: skip
def test_what_it_cannot_do_is_said_so(server, path, body):
    reply = call(server.url, "POST", path, {"model": "here", **body})
    assert (reply.status, reply.error["code"]) == (400, "unsupported_model")
    assert "the server that answers for here has no /" in reply.error["message"].lower()


def test_its_tokenizer_is_not_told(server):
    reply = call(server.url, "GET", "/tokenizer_info?model=here")
    assert (reply.status, reply.error["code"]) == (400, "unsupported_model")


# ---- lists, orders, numbers -----------------------------------------------------------------------------------------


def test_it_is_listed_without_its_address(server, upstream):
    chat(server)
    [listed] = [each for each in call(server.url, "GET", "/v1/models").json["data"] if each["id"] == "here"]
    assert (listed["root"], listed["aliases"], listed["state"]) == ("there", ["also"], "ready")
    assert "max_model_len" not in listed
    assert upstream.url not in json.dumps(listed)


def test_operators_see_where_it_is(server, upstream):
    run = CliRunner().invoke(main, ["ps", "--url", server.url])
    [line] = [line.split() for line in run.output.splitlines() if line.startswith("here")]
    assert (line[1], line[-1], line[3]) == ("ready", upstream.url, "-")
    assert [line.split()[-1] for line in run.output.splitlines()] == ["WHERE", upstream.url, "here", "here"]
    told = CliRunner().invoke(main, ["ps", "--json", "--url", server.url]).output
    assert json.loads(told)[0]["upstream"] == upstream.url
    assert KEY not in told


def test_it_is_not_stopped_from_here(server):
    run = CliRunner().invoke(main, ["stop", "here", "--url", server.url])
    assert run.exit_code == 1
    assert "does not run on this machine" in run.output
    assert call(server.url, "POST", "/triptych/v1/models/here/start").json["state"] == "ready"


def test_requests_are_counted(server, upstream):
    def counted():
        lines = call(server.url, "GET", "/metrics").body.decode().splitlines()
        pairs = [line.rpartition(" ") for line in lines if 'model_name="here"' in line]
        return {name.split("{")[0] + ("/stop" if "stop" in name else ""): float(value) for name, _, value in pairs}

    before = counted()
    chat(server)
    chat(server, n=1, stream=True)
    after = counted()
    for name, grown in (
        ("vllm:request_success_total/stop", 2), ("vllm:prompt_tokens_total", 14),
        ("vllm:generation_tokens_total", 4), ("vllm:time_to_first_token_seconds_count", 2),
        ("vllm:request_max_num_generation_tokens_sum", 4),
    ):  # fmt: skip
        assert after[name] - before[name] == grown, name
    assert after["vllm:num_requests_running"] == after["vllm:num_requests_waiting"] == 0


# ---- settings -------------------------------------------------------------------------------------------------------


def test_settings_build_both_kinds(upstream):
    upstream_settings = Upstream(upstream.url, "there", kind="vllm")
    models = (
        ModelSettings("far", "", ("llava",), upstream=upstream_settings),
        ModelSettings("triptych/tiny-llava-1.6", "triptych/tiny-llava-1.6"),
    )
    built = build(Settings(models=models, preload=True))
    far, near = built.router.models
    assert (far.upstream, near.upstream) == (upstream.url, None)
    assert built.router.find("llava") is far  # a name that was given goes before one that is known
    assert isinstance(far, UpstreamModel)
    assert far.kind == "vllm"


def test_an_upstream_that_is_away_keeps_no_server_from_starting():
    model = UpstreamModel("here", Upstream("http://127.0.0.1:9/v1", "there"), times=TIMES)
    with serving([model]) as running:
        assert call(running.url, "GET", "/health").status == 200
        reply = chat(running)
        assert (reply.status, reply.error["code"]) == (503, "upstream_unavailable")
        assert "cannot be reached" in reply.error["message"]
