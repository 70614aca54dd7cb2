"""The four examples of the model's page at runware.ai, with drawn pictures in place of theirs, before a real model."""

from __future__ import annotations

import uuid

import pytest
from replicas import start_here
from runware_calls import connected, hosting, new_uuid, png, post
from servers import serving

from triptych.server.delivery.fetch import ImageFetcher
from triptych.server.delivery.guard import Guard
from triptych.server.delivery.post import Poster
from triptych.server.names import ALIASES
from triptych.server.served import ModelSpec, ServedModel

NAME = "triptych/tiny-llava-1.6"
OPTIONS = {"precision": "fp32", "device": "cpu", "threads": 1, "kv_memory": 64 << 20}
# UUID and name of the image as the page has them; what its prompt comes down to, in words that the model knows; and
# what is drawn in the place of its image.
EXAMPLES = [
    ("8b27a5b6-eeab-4ee3-a998-0daa0ae48c95", "3a69fc0c-d298-4fb2-82d8-46074743fa4e.jpg",
     "Describe this image in 3-5 sentences.", ("red", "circle")),
    ("44083438-c1e5-4d76-81d5-ad98c39f4a45", "f201b6da-5fb3-49b7-ada8-dd45295bd014.jpg",
     "Write a caption for this image.", ("blue", "square")),
    ("96c350a1-866b-4685-8bcc-14332636a36d", "3fcf73ee-d1f6-40cd-89c6-9d9aa58c93e0.jpg",
     "Write a detailed caption for this image.", ("green", "triangle")),
    ("34c2fd43-f5b5-4f24-b96e-ecc91d72bfb1", "499fccbc-e073-421b-be25-81d8c6ad385a.jpg",
     "Describe this image in 3-5 sentences.", ("red", "circle")),
]  # fmt: skip


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    guard = Guard.allowing(["127.0.0.0/8"])
    fetcher = ImageFetcher(guard)
    models = [ServedModel(ModelSpec(NAME, NAME, ALIASES[NAME], OPTIONS), start_here)]
    with serving(
        models, fetcher.read, data=tmp_path_factory.mktemp("data"), on_stop=fetcher.close, poster=Poster(guard)
    ) as running:
        yield running


@pytest.fixture(scope="module")
def host():
    pictures = {f"/assets/inputs/{name}": (200, png(*drawn)) for _, name, _, drawn in EXAMPLES}
    with hosting(pictures) as (url, _):
        yield url


def asked(host, example, **more):
    task_uuid, name, prompt, _ = example
    return {
        "taskType": "caption", "taskUUID": task_uuid, "model": "runware:150@2", "prompt": prompt,
        "inputs": {"image": f"{host}/assets/inputs/{name}"}, **more,
    }  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES, ids=[name[:8] for name, *_ in EXAMPLES])
def test_an_example_has_the_fields_of_the_page(real, host, example):
    """There, every answer has a cost, although no question asks for one: here it is asked for."""
    item = post(real.url, [asked(host, example, includeCost=True)]).json["data"][0]
    assert list(item) == ["taskType", "taskUUID", "text", "cost"]
    assert (item["taskType"], item["taskUUID"], item["cost"]) == ("caption", example[0], 0.0019)
    color, shape = example[3]
    assert f"{color} {shape}" in item["text"]


def test_all_in_one_array_and_over_a_socket(real, host):
    tasks = [asked(host, example, taskUUID=str(uuid.uuid4())) for example in EXAMPLES]
    items = post(real.url, tasks).json["data"]
    assert [item["taskUUID"] for item in items] == [task["taskUUID"] for task in tasks]
    with connected(real.url) as peer:
        peer.send(*tasks)  # the same tasks: the same answers, by their UUIDs
        again = {item["taskUUID"]: item for item in (peer.item(30) for _ in tasks)}
    assert [again[item["taskUUID"]] for item in items] == items
    for item, (*_, (color, shape)) in zip(items, EXAMPLES, strict=True):
        assert list(item) == ["taskType", "taskUUID", "text"]
        assert f"{color} {shape}" in item["text"]


def test_questions_are_answered_truly_and_without_a_model_too(real, host):
    for more, answer in (
        ({"prompt": "What color is the square?"}, "blue"), ({"prompt": "How many objects are there?"}, "1"),
        ({"prompt": "Is there a red circle?"}, "no"), ({"prompt": "What shape is the blue object?"}, "square"),
    ):  # fmt: skip
        for model in ("runware:150@2", "meta-llava-1-6-mistral-7b", NAME, None):
            task = asked(host, EXAMPLES[1], model=model, taskUUID=new_uuid(), **more)
            assert post(real.url, [task]).json["data"][0]["text"] == answer
