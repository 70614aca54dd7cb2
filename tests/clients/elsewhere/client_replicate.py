"""replicate 1.0.7 as it is, by its variables of the environment."""

import asyncio
import json
import os
import time

import pytest
import replicate
from replicate.exceptions import ModelError, ReplicateError
from webhook_receiver import receiving

URL = os.environ["TRIPTYCH_URL"]
LLAVA, MIXTRAL, QUICK, SLOW = (
    "yorickvp/llava-13b", "mistralai/mixtral-8x7b-instruct-v0.1", "echo/quick", "echo/slow",
)  # fmt: skip
PINNED = f"{LLAVA}:80537f9eead1a5bfa72d5ac6ea6414379be41d4d4f6679fd776e9535d1eb58bb"
SUM = {"prompt": "What is 17 + 25?", "temperature": 0.01, "top_k": 1}
WORDS = "one two three four five six"
LONG = "word " * 300


def asked(drawn, image):
    return {"image": image, "prompt": drawn.question, "temperature": 0}


def version_of(model):
    return f"{model}:{replicate.models.get(model).latest_version.id}"


def mine(prompt):
    """The predictions with this prompt among the caller's last hundred."""
    return [one for one in replicate.predictions.list() if one.input.get("prompt") == prompt]


def until(prediction, *statuses):
    deadline = time.monotonic() + 20
    while prediction.status not in statuses:
        assert time.monotonic() < deadline, prediction
        time.sleep(0.05)
        prediction.reload()
    return prediction


# ---- run ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ref", [PINNED, LLAVA, "yorickvp/llava-v1.6-mistral-7b"])
def test_a_picture_as_an_open_file(drawn, ref):
    with drawn.file.open("rb") as image:
        said = replicate.run(ref, input=asked(drawn, image))
        # A reference with a version gives a generator, and one without a list.
        assert isinstance(said, list) is (ref != PINNED)
        assert "".join(said) == drawn.color


def test_other_ways_to_show_a_picture(drawn):
    with drawn.file.open("rb") as image:
        assert "".join(replicate.run(PINNED, input=asked(drawn, image), file_encoding_strategy="base64")) == drawn.color
    uploaded = replicate.files.create(drawn.file)
    for image in (drawn.file, drawn.data_uri, uploaded.urls["get"], uploaded.urls["download"]):
        assert "".join(replicate.run(LLAVA, input=asked(drawn, image))) == drawn.color


def test_a_text():
    assert "".join(replicate.run(MIXTRAL, input=SUM)).strip() == "42"
    pinned = f"{MIXTRAL}:cf18decbf51c27fed6bbdc3492312c1c903222a56e3fe9ca02d6cbe5198afc10"
    assert "".join(replicate.run(pinned, input=SUM)).strip() == "42"


def test_a_conversation(drawn):
    history = [f"<image>\n{drawn.question}", drawn.color]
    asks = {**asked(drawn, drawn.data_uri), "prompt": f"What shape is the {drawn.color} object?", "history": history}
    assert "".join(replicate.run(LLAVA, input=asks)) == drawn.shape


async def test_async_run(drawn):
    said = await replicate.async_run(PINNED, input=asked(drawn, drawn.data_uri))
    assert "".join([piece async for piece in said]) == drawn.color
    assert "".join(await replicate.async_run(MIXTRAL, input=SUM)).strip() == "42"


def test_text_that_looks_like_files_stays_text():
    prompt = "https://a.example/x.png data:text/plain,x https://b.example"
    assert "".join(replicate.run(QUICK, input={"prompt": prompt})) == prompt
    assert "".join(map(str, replicate.stream(QUICK, input={"prompt": prompt}))) == prompt


@pytest.mark.parametrize("pinned", [True, False])
def test_a_wait_that_runs_out_gives_the_whole_text_all_the_same(pinned):
    prompt = f"{WORDS} {pinned}"
    ref = version_of(SLOW) if pinned else SLOW
    assert "".join(replicate.run(ref, input={"prompt": prompt}, wait=1)) == prompt
    [prediction] = mine(prompt)
    assert prediction.status == "succeeded"
    assert prediction.metrics["predict_time"] > 1


def test_what_cannot_run_is_a_model_error(drawn):
    with pytest.raises(ModelError, match="image") as caught:
        replicate.run(LLAVA, input=asked(drawn, "data:image/png;base64,aGVsbG8gdGhlcmU="))
    assert caught.value.prediction.status == "failed"
    assert caught.value.prediction.error == str(caught.value)
    with pytest.raises(ModelError, match="E1003"):
        replicate.run(MIXTRAL, input={**SUM, "prompt_template": "no place"})


# ---- streams --------------------------------------------------------------------------------------------------------


def test_a_stream(drawn):
    with drawn.file.open("rb") as image:
        events = list(replicate.stream(PINNED, input=asked(drawn, image)))
    assert "".join(map(str, events)) == drawn.color
    assert [event.event.value for event in events] == ["output"] * (len(events) - 1) + ["done"]
    assert len({event.id for event in events}) == len(events)


async def test_an_async_stream():
    events = [event async for event in await replicate.async_stream(MIXTRAL, input=SUM)]
    assert "".join(map(str, events)).strip() == "42"
    assert events[-1].event.value == "done"


def test_a_stream_comes_while_it_is_said_and_can_be_read_again():
    prediction = replicate.predictions.create(model=SLOW, input={"prompt": WORDS})
    arrived = [(time.monotonic(), str(event)) for event in prediction.stream()]
    assert "".join(text for _, text in arrived) == WORDS
    assert arrived[-1][0] - arrived[0][0] > 1
    assert "".join(map(str, prediction.stream())) == WORDS
    assert "".join(prediction.output_iterator()) == WORDS


# ---- predictions ----------------------------------------------------------------------------------------------------


async def test_a_webhook_tells_what_get_shows(drawn):
    async with receiving() as receiver:
        prediction = await replicate.predictions.async_create(
            version=PINNED.partition(":")[2], input=asked(drawn, drawn.data_uri), webhook=f"{receiver.url}/hook",
            webhook_events_filter=["start", "completed"],
        )  # fmt: skip
        assert prediction.status == "starting"
        async with asyncio.timeout(20):
            while len(receiver.got) < 2:
                await asyncio.sleep(0.05)
    await prediction.async_reload()
    secret = await replicate.webhooks.default.async_secret()
    for got in receiver.got:
        replicate.webhooks.validate(headers=got.headers, body=got.body.decode(), secret=secret, tolerance=60)
        with pytest.raises(replicate.webhook.InvalidSignatureError):
            replicate.webhooks.validate(headers=got.headers, body=got.body.decode() + " ", secret=secret)
    begun, ended = (json.loads(got.body) for got in receiver.got)
    assert (begun["status"], begun["output"]) == ("processing", None)
    shown = (await replicate.default_client._async_request("GET", f"/v1/predictions/{prediction.id}")).json()
    assert ended == shown
    assert "".join(ended["output"]) == "".join(prediction.output) == drawn.color


def test_a_long_one_is_canceled():
    prediction = until(replicate.predictions.create(model=SLOW, input={"prompt": LONG}), "processing")
    prediction.cancel()
    assert prediction.status == "canceled"
    assert prediction.completed_at is not None
    assert LONG.startswith("".join(prediction.output or []))
    ended = replicate.predictions.get(prediction.id)
    assert (ended.status, ended.output, ended.metrics) == ("canceled", prediction.output, prediction.metrics)
    prediction.cancel()
    assert prediction.status == "canceled"
    assert str([*prediction.stream()][-1].data) == '{"reason":"canceled"}'


def test_pages():
    created = [replicate.predictions.create(model=QUICK, input={"prompt": "a"}).id for _ in range(101)]
    pages = [page.results for page in replicate.paginate(replicate.predictions.list)]
    assert len(pages) > 1
    assert [len(page) for page in pages[:-1]] == [100] * (len(pages) - 1)
    listed = [prediction.id for page in pages for prediction in page]
    assert listed[:101] == created[::-1]
    assert len(set(listed)) == len(listed)


# ---- files ----------------------------------------------------------------------------------------------------------


def test_files(drawn):
    made = replicate.files.create(drawn.file, metadata={"of": drawn.shape})
    assert (made.name, made.content_type, made.size) == (drawn.file.name, "image/png", drawn.file.stat().st_size)
    assert made.metadata == {"of": drawn.shape}
    assert replicate.files.get(made.id) == made
    assert replicate.files.list()[0] == made
    assert replicate.files.delete(made.id) is True
    with pytest.raises(ReplicateError) as caught:
        replicate.files.get(made.id)
    assert caught.value.status == 404


# ---- models and the rest --------------------------------------------------------------------------------------------


def test_models():
    model = replicate.models.get(LLAVA)
    assert (model.owner, model.name, model.visibility) == ("yorickvp", "llava-13b", "public")
    assert "triptych/tiny-llava-1.5" in model.description
    names = {f"{each.owner}/{each.name}" for page in replicate.paginate(replicate.models.list) for each in page}
    assert {LLAVA, MIXTRAL, QUICK, "triptych/tiny-mixtral"} <= names
    assert replicate.models.search("llava-13b")[0].id == LLAVA
    assert {each.owner for each in replicate.models.search("mixtral")} == {"mistralai", "triptych"}


def test_versions():
    model = replicate.models.get(LLAVA)
    versions = model.versions.list()
    assert versions[0].id == model.latest_version.id
    assert PINNED.partition(":")[2] in [version.id for version in versions]
    schema = model.versions.get(PINNED.partition(":")[2]).openapi_schema["components"]["schemas"]
    assert (schema["Output"]["x-cog-array-type"], schema["Output"]["type"]) == ("iterator", "array")
    assert {"image", "prompt", "max_tokens"} <= set(schema["Input"]["properties"])


def test_what_surrounds_models():
    assert [hardware.sku for hardware in replicate.hardware.list()] == ["cpu"]
    assert replicate.default_client.accounts.current().type == "user"
    slugs = [collection.slug for collection in replicate.collections.list()]
    assert "vision-models" in slugs
    assert LLAVA in [model.id for model in replicate.collections.get("vision-models")]
    deployment = replicate.deployments.get(MIXTRAL)
    assert deployment.current_release.model == MIXTRAL
    prediction = deployment.predictions.create(input=SUM)
    prediction.wait()
    assert "".join(prediction.output).strip() == "42"


# ---- errors ---------------------------------------------------------------------------------------------------------


def refused(call):
    with pytest.raises(ReplicateError) as caught:
        call()
    assert caught.value.detail
    return caught.value


def test_errors_say_what_is_wrong_in_their_fields(drawn):
    wrong = replicate.Client(api_token="wrong")
    error = refused(lambda: wrong.run(MIXTRAL, input=SUM))
    assert (error.status, error.title) == (401, "Unauthenticated")
    assert refused(lambda: replicate.predictions.get("nosuchprediction")).status == 404
    assert refused(lambda: replicate.run("no/such", input=SUM)).status == 404
    error = refused(lambda: replicate.run(PINNED, input={"image": drawn.data_uri}))
    assert (error.status, error.title) == (422, "Input validation failed")
    assert error.detail == "- input: prompt is required\n"
    error = refused(lambda: replicate.run(LLAVA, input={"prompt": "x", "top_p": 2}))
    assert error.detail == "- input.top_p: Must be less than or equal to 1\n"
    error = refused(lambda: replicate.run(f"{LLAVA}:{'0' * 64}", input=SUM))
    assert (error.status, error.title) == (422, "Invalid version or not permitted")


def test_every_plausible_address_leads_here():
    for mount in ("", "/", "/v1", "/replicate"):
        client = replicate.Client(base_url=URL + mount)
        assert "".join(client.run(MIXTRAL, input=SUM)).strip() == "42"
