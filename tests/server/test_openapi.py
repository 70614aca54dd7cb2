"""The document of the server covers every route, its examples work, and real answers are what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jsonschema_rs
import msgspec
import pytest
from http_calls import Reply, ask, call
from runware_calls import PNG, URI, new_uuid
from servers import Running, null_models, serving
from starlette.routing import Route, WebSocketRoute

from triptych.server.admin_accounts import KEY_ID
from triptych.server.admin_kept import WEBHOOK_ID
from triptych.server.app import Options, groups
from triptych.server.dialects.openai.described.files import BATCH_ID, FILE_ID
from triptych.server.dialects.replicate.described import files as inputs
from triptych.server.dialects.replicate.described.predictions import PREDICTION_ID, TOKEN
from triptych.server.dialects.runware.described import UPLOAD
from triptych.server.openapi import Facts, document
from triptych.server.operations import Operation

GROUPS = groups(kept=True)
DOCUMENT = document(GROUPS, Facts("http://test", any_model="eye", seeing_model="eye"))
OPERATIONS = [operation for group in GROUPS for operation in group.operations]
METHODS = [
    (method, path, described) for path, methods in DOCUMENT["paths"].items() for method, described in methods.items()
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    # Also once there are keys, which examples make, nobody needs one.
    options = Options(no_auth=True)
    with serving(null_models(), any_picture, options, data=tmp_path_factory.mktemp("data")) as running:
        yield running


async def any_picture(url: str) -> bytes:
    return PNG


def send(server: Running, method: str, path: str, content: dict[str, Any], example: dict[str, Any]) -> Reply:
    """An example as it is told, JSON or a form."""
    [kind] = content
    if kind == "application/json":
        return call(server.url, method.upper(), path, example["value"])
    assert kind == "multipart/form-data"
    parts = [(f'name="{name}"', value) for name, value in example["value"].items()]
    for name, file in example["x-files"].items():
        parts.append((f'name="{name}"; filename="{file["filename"]}"', file["text"]))
    body = "".join(f"--x\r\ncontent-disposition: form-data; {head}\r\n\r\n{text}\r\n" for head, text in parts)
    headers = {"content-type": "multipart/form-data; boundary=x"}
    return call(server.url, method.upper(), path, f"{body}--x--\r\n".encode(), headers)


@pytest.fixture(scope="module")
def ids(server) -> dict[str, str]:
    """What is there, by the ids that examples have: a file, a batch, a prediction, an input and its download, a key."""
    content = described("/v1/files")["requestBody"]["content"]
    [example] = content["multipart/form-data"]["examples"].values()
    file = send(server, "POST", "/v1/files", content, example).json["id"]
    body = {"input_file_id": file, "endpoint": "/v1/chat/completions"}
    batch = call(server.url, "POST", "/v1/batches", body).json["id"]
    asked = {"version": "eye", "input": {"prompt": "a b", "image": URI}, "webhook": "https://hooks.example/"}
    prediction = call(server.url, "POST", "/v1/predictions", asked, {"prefer": "wait"}).json
    path = "/replicate/v1/files"
    content = described(path)["requestBody"]["content"]
    [example] = content["multipart/form-data"]["examples"].values()
    upload = send(server, "POST", path, content, example).json
    signed = dict(parse_qsl(urlsplit(upload["urls"]["download"]).query))
    task = {"taskType": "imageUpload", "taskUUID": new_uuid(), "image": URI}
    image = call(server.url, "POST", "/runware/v1", [task]).json["data"][0]
    return {
        FILE_ID: file, BATCH_ID: batch, PREDICTION_ID: prediction["id"],
        TOKEN: prediction["urls"]["stream"].rpartition("/")[2], inputs.FILE_ID: upload["id"],
        inputs.EXPIRY: signed["expiry"], inputs.SIGNATURE: signed["signature"],
        UPLOAD: image["imageURL"].rpartition("/")[2],
        KEY_ID: call(server.url, "POST", "/triptych/v1/keys", {"name": "k"}).json["id"],
        WEBHOOK_ID: call(server.url, "GET", "/triptych/v1/webhooks").json["webhooks"][0]["id"],
    }  # fmt: skip


def put_in(value: Any, ids: dict[str, str]) -> Any:
    text = json.dumps(value)
    for shown, there in ids.items():
        text = text.replace(shown, there)
    return json.loads(text)


def in_path(path: str, told: dict[str, Any]) -> str:
    """A path with the examples of its parameters."""
    for parameter in told.get("parameters", []):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
    return path


def closed(schema: Any) -> Any:
    """The schema with nothing allowed in an object that is not said of it."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    if schema.get("properties"):
        made.setdefault("additionalProperties", False)
    return made


def validate(answer: Any, schema: dict[str, Any], exactly: bool = True) -> None:
    """Fails if `answer` is not of this schema, or has a field that it does not name."""
    whole = {**schema, "components": DOCUMENT["components"]}
    jsonschema_rs.Draft202012Validator(closed(whole) if exactly else whole).validate(answer)


def validate_events(reply: Reply, path: str) -> None:
    """Fails if an event is not of one of the schemas, or the last one not the word, that is told of them."""
    [*events, last] = [event.rpartition(b"data: ")[2] for event in reply.events]
    told = described(path)["responses"]["200"]["content"]["text/event-stream"]["schema"]["properties"]["data"]["anyOf"]
    words = [part["const"] for part in told if "const" in part]
    assert words in ([], [last.decode()])
    for event in events if words else [*events, last]:
        validate(json.loads(event), told[0]["contentSchema"])


def described(path: str, method: str = "post") -> dict[str, Any]:
    return DOCUMENT["paths"][path][method]


def schema_of(path: str, method: str = "post", status: int = 200, kind: str = "application/json") -> dict[str, Any]:
    return described(path, method)["responses"][str(status)]["content"][kind]["schema"]


# ---- what it covers -------------------------------------------------------------------------------------------------


def test_every_route_is_described_and_nothing_else(server):
    routes = [route for route in server.app._starlette.routes if isinstance(route, Route)]
    others = [route for route in server.app._starlette.routes if not isinstance(route, Route)]
    assert {route.path for route in others} == {"/v1", "/runware/v1", "/"}
    assert all(isinstance(route, WebSocketRoute) for route in others)
    there = {
        (method, re.sub(r"{(\w+):\w+}", r"{\1}", route.path)) for route in routes for method in route.methods or set()
    }
    told = {(operation.method, path) for operation in OPERATIONS for path in operation.paths}
    told |= {("HEAD", path) for method, path in told if method == "GET"}
    assert told - there == set()
    assert there - told == set()


def test_without_records_there_are_no_files_and_batches():
    with serving(null_models()) as server:
        told = call(server.url, "GET", "/openapi.json").json["paths"]
    assert not [path for path in told if "files" in path or "batches" in path or "predictions" in path or path == "/v1"]
    assert len(told) == len({operation.paths[0] for group in groups(kept=False) for operation in group.operations})


def test_every_operation_is_told_once():
    ids = [operation["operationId"] for _, _, operation in METHODS]
    assert len(ids) == len(set(ids)) == len(OPERATIONS)
    paths = [path for operation in OPERATIONS for path in [(operation.method, each) for each in operation.paths]]
    assert len(paths) == len(set(paths))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_an_operation_is_told_in_words(operation: Operation):
    assert operation.summary
    assert operation.summary[-1] != "."
    assert operation.description.endswith(".")
    assert all(reply.description.endswith(".") for reply in operation.replies)
    in_path = set(re.findall(r"{(\w+)", operation.path))
    assert in_path == {parameter.name for parameter in operation.parameters if parameter.where == "path"}
    assert all(parameter.example for parameter in operation.parameters if parameter.where == "path")


def test_every_field_of_a_body_is_described_or_refused():
    fields = {struct: told for group in GROUPS for struct, told in group.fields.items()}
    for operation in OPERATIONS:
        for struct in structs(operation.body.type) if operation.body else ():
            assert operation.body
            refused = set(operation.body.refused) if struct is operation.body.type else set()
            named = set(fields.get(struct, {}))
            assert not named & refused
            assert named | refused == set(struct.__struct_encode_fields__), struct.__name__


def structs(type: Any) -> Iterator[type]:
    """The structs that a type is made of."""
    found: set[Any] = set()
    waiting = [msgspec.inspect.type_info(type)]
    while waiting:
        info = waiting.pop()
        if isinstance(info, msgspec.inspect.StructType) and info.cls not in found:
            found.add(info.cls)
            waiting += [field.type for field in info.fields]
        for name in ("item_type", "key_type", "value_type"):
            if hasattr(info, name):
                waiting.append(getattr(info, name))
        waiting += list(getattr(info, "types", ()))
    yield from found


def test_schemas_are_schemas():
    for name, schema in DOCUMENT["components"]["schemas"].items():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
        assert "title" not in schema, name
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOCUMENT)))
    assert references <= set(DOCUMENT["components"]["schemas"])


# ---- what it says is true -------------------------------------------------------------------------------------------


EXAMPLES = [
    (method, path, name)
    for method, path, operation in METHODS
    for name in next(iter(operation.get("requestBody", {}).get("content", {}).values()), {}).get("examples", {})
]


@pytest.mark.parametrize(("method", "path", "name"), EXAMPLES)
def test_every_example_is_answered_as_it_is_told(server, ids, method, path, name):
    [(kind, content)] = described(path, method)["requestBody"]["content"].items()
    example = put_in(content["examples"][name], ids)
    if kind == "application/json":
        validate(example["value"], content["schema"], exactly=False)
    reply = send(server, method, in_path(path, put_in(described(path, method), ids)), {kind: content}, example)
    assert reply.status in (200, 201), reply.body
    if reply.headers["content-type"].startswith("text/event-stream"):
        validate_events(reply, path)
    else:
        validate(reply.json, schema_of(path, method, reply.status))


def test_there_are_enough_examples():
    assert {path for _, path, _ in EXAMPLES} >= {"/v1/chat/completions", "/v1/completions", "/v1/tokenize"}


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path, _ in METHODS if method == "get"])
def test_every_get_is_answered_as_it_is_told(server, ids, method, path):
    told = put_in(described(path, method), ids)
    asked, query = in_path(path, told), []
    for parameter in told.get("parameters", []):
        if parameter["in"] == "query" and "example" in parameter:
            query.append(f"{parameter['name']}={parameter['example']}")
    reply = call(server.url, "GET", asked + ("?" + "&".join(query) if query else ""))
    if "200" not in told["responses"]:
        assert str(reply.status) in told["responses"]
        return
    assert reply.status == 200
    content = told["responses"]["200"].get("content", {})
    if not content:
        assert reply.body == b""
        return
    kind = reply.headers["content-type"].partition(";")[0]
    assert kind in content
    if kind == "application/json":
        validate(reply.json, schema_of(path, "get"), exactly=path != "/v1/tokenizer_info")


def test_samples_are_answers():
    samples = [
        (content["example"], content["schema"])
        for _, _, operation in METHODS
        for reply in operation["responses"].values()
        for content in reply.get("content", {}).values()
        if "example" in content
    ]
    assert len(samples) > 4
    for sample, schema in samples:
        validate(sample, schema)


CHAT = schema_of("/v1/chat/completions")
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    "fields",
    [
        {"logprobs": True, "top_logprobs": 1, "n": 2}, {"return_token_ids": True}, {"max_tokens": 1},
        {"stop": ["x"]}, {"tools": [TOOL]}, {"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_chat_answers_of_all_kinds(server, fields, stream):
    reply = ask(server.url, "a b", stream=stream, **fields)
    assert reply.status == 200
    if stream:
        validate_events(reply, "/v1/chat/completions")
    else:
        validate(reply.json, CHAT)


def test_a_tool_call():
    with serving(null_models(answer='{"name":"look","arguments":{}}')) as server:
        whole = ask(server.url, tools=[TOOL])
        assert whole.json["choices"][0]["message"]["tool_calls"]
        validate(whole.json, CHAT)
        validate_events(ask(server.url, tools=[TOOL], stream=True), "/v1/chat/completions")
        tool = {"type": "function", **TOOL["function"]}
        body = {"model": "eye", "input": "x", "tools": [tool]}
        whole = call(server.url, "POST", "/v1/responses", body)
        assert whole.json["output"][0]["type"] == "function_call"
        validate(whole.json, schema_of("/v1/responses"))
        validate_events(call(server.url, "POST", "/v1/responses", {**body, "stream": True}), "/v1/responses")


@pytest.mark.parametrize("fields", [{"logprobs": 1, "echo": True}, {"return_token_ids": True, "n": 2}, {"stop": "x"}])
def test_completions_of_all_kinds(server, fields):
    body = {"model": "eye", "prompt": ["a b", "c"], **fields}
    validate(call(server.url, "POST", "/v1/completions", body).json, schema_of("/v1/completions"))
    if "logprobs" not in fields:
        validate_events(call(server.url, "POST", "/v1/completions", {**body, "stream": True}), "/v1/completions")


def test_failures_are_what_is_told(server):
    for reply in (
        ask(server.url, model="nobody"), ask(server.url, temperature=9), call(server.url, "PUT", "/v1/completions"),
        call(server.url, "POST", "/v1/embeddings", {}), call(server.url, "GET", "/triptych/v1/nothing"),
    ):  # fmt: skip
        validate(reply.json, {"$ref": "#/components/schemas/ErrorAnswer"})


def test_operators_answers(server):
    for order in ("start", "stop"):
        reply = call(server.url, "POST", f"/triptych/v1/models/org/eye/{order}")
        validate(reply.json, schema_of(f"/triptych/v1/models/{{model}}/{order}"))


# ---- as it is served ------------------------------------------------------------------------------------------------


def served(reply: Reply) -> dict[str, Any]:
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    return reply.json


def test_it_is_about_the_server_that_gives_it(server):
    told = served(call(server.url, "GET", "/openapi.json"))
    assert told["openapi"] == "3.1.0"
    assert told["servers"] == [{"url": server.url}]
    assert "securitySchemes" not in told["components"]
    named = served(call(server.url, "GET", "/openapi.json", headers={"host": "models.example:444"}))
    assert named["servers"] == [{"url": "http://models.example:444"}]
    for host in ('x"><script>', "a b", "'$(id)'"):
        told = served(call(server.url, "GET", "/openapi.json", headers={"host": host}))
        assert told["servers"] == [{"url": server.url}]


def test_examples_name_models_that_are_served(server):
    call(server.url, "POST", "/triptych/v1/models/eye/start")
    call(server.url, "POST", "/triptych/v1/models/text/start")
    told = served(call(server.url, "GET", "/openapi.json"))
    content = told["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]
    assert content["examples"]["a-question"]["value"]["model"] == "text"
    assert content["examples"]["about-an-image"]["value"]["model"] == "eye"
    assert "{" not in json.dumps([each["value"]["model"] for each in content["examples"].values()]).replace('"', "")


def test_without_a_model_that_sees_there_are_no_examples_with_images():
    told = document(GROUPS, Facts("http://x", any_model="blind"))
    assert "about-an-image" not in json.dumps(told)
    assert "seeing model" not in json.dumps(told)


def test_keys_are_a_scheme_and_no_model_is_named_without_one():
    with serving(null_models(), options=Options(drain=1, keys=("secret",))) as server:
        text = call(server.url, "GET", "/openapi.json").body.decode()
        told = json.loads(text)
    assert "secret" not in text
    assert '"eye"' not in text
    assert told["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for operation in [operation for group in groups(kept=False) for operation in group.operations]:
        told_of = told["paths"][operation.paths[0]][operation.method.lower()]
        assert ("security" in told_of) is not operation.public
        # Who signs in is told of a key that is wrong.
        assert ("401" in told_of["responses"]) is (not operation.public or operation.id == "post_app_sign_in")
