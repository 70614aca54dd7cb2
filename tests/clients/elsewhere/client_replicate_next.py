"""replicate 2.0.0b4 as it is, by its variables of the environment: the next major version, not yet released."""

import asyncio
import hashlib
import os
import time
from datetime import UTC, datetime

import pytest
import replicate
from replicate.exceptions import ModelError

URL = os.environ["TRIPTYCH_URL"]
LLAVA, MIXTRAL, QUICK, SLOW = (
    "yorickvp/llava-13b", "mistralai/mixtral-8x7b-instruct-v0.1", "echo/quick", "echo/slow",
)  # fmt: skip
VERSION = "80537f9eead1a5bfa72d5ac6ea6414379be41d4d4f6679fd776e9535d1eb58bb"
PINNED = f"{LLAVA}:{VERSION}"
SUM = {"prompt": "What is 17 + 25?", "temperature": 0.01, "top_k": 1}
WORDS = "one two three four five six"


def asked(drawn, image):
    return {"image": image, "prompt": drawn.question, "temperature": 0}


# ---- run ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ref", [PINNED, LLAVA, "yorickvp/llava-v1.6-mistral-7b"])
def test_a_picture_as_an_open_file(drawn, ref):
    with drawn.file.open("rb") as image:
        assert "".join(replicate.run(ref, input=asked(drawn, image))) == drawn.color


def test_other_ways_to_show_a_picture(drawn):
    with drawn.file.open("rb") as image:
        said = replicate.run(PINNED, input=asked(drawn, image), file_encoding_strategy="base64")
    assert "".join(said) == drawn.color
    for image in (drawn.file, drawn.data_uri):
        assert "".join(replicate.run(LLAVA, input=asked(drawn, image))) == drawn.color


def test_a_text():
    assert "".join(replicate.run(MIXTRAL, input=SUM)).strip() == "42"


async def test_async_run(drawn):
    async with replicate.AsyncReplicate(base_url=f"{URL}/v1") as client:
        assert "".join(await client.run(PINNED, input=asked(drawn, drawn.data_uri))) == drawn.color


def test_a_wait_that_runs_out_gives_the_whole_text_all_the_same():
    began = datetime.now(UTC)
    assert "".join(replicate.run(SLOW, input={"prompt": WORDS}, wait=1)) == WORDS
    made = list(replicate.predictions.list(created_after=began))
    assert [(one.status, one.input) for one in made] == [("succeeded", {"prompt": WORDS})]


def test_what_cannot_run_is_a_model_error(drawn):
    with pytest.raises(ModelError, match="image") as caught:
        replicate.run(LLAVA, input=asked(drawn, "data:image/png;base64,aGVsbG8gdGhlcmU="))
    assert caught.value.prediction.status == "failed"


# ---- functions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ref", [PINNED, LLAVA])
def test_a_function_gives_one_text(drawn, ref):
    look = replicate.use(ref)
    with drawn.file.open("rb") as image:
        assert look(**asked(drawn, image)) == drawn.color
    assert "prompt" in look.openapi_schema()["components"]["schemas"]["Input"]["properties"]


def test_a_function_streams():
    said = [(time.monotonic(), piece) for piece in replicate.use(SLOW, streaming=True)(prompt=WORDS)]
    assert "".join(piece for _, piece in said) == WORDS
    assert said[-1][0] - said[0][0] > 1
    assert str(replicate.use(MIXTRAL, streaming=True)(**SUM)).strip() == "42"


def test_the_text_of_one_function_is_the_input_of_the_next():
    said = replicate.use(MIXTRAL, streaming=True)(**SUM)
    assert replicate.use(QUICK)(prompt=said).strip() == "42"


async def test_an_async_function(drawn):
    look = replicate.use(LLAVA, use_async=True)
    assert await look(**asked(drawn, drawn.data_uri)) == drawn.color


async def test_an_async_function_streams():
    said = await replicate.use(SLOW, use_async=True, streaming=True)(prompt=WORDS)
    assert "".join([piece async for piece in said]) == WORDS


# ---- predictions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [VERSION, PINNED, LLAVA])
def test_create_and_wait(drawn, version):
    prediction = replicate.predictions.create(version=version, input=asked(drawn, drawn.data_uri))
    assert prediction.status == "starting"
    done = replicate.predictions.wait(prediction.id)
    assert (done.status, "".join(done.output), done.model) == ("succeeded", drawn.color, LLAVA)
    assert done.version == prediction.version
    assert done.metrics.total_time > 0


def test_a_deadline_and_a_cancel():
    prediction = replicate.predictions.create(version=SLOW, input={"prompt": "word " * 300}, cancel_after="5m")
    left = prediction.deadline - prediction.created_at
    assert left.total_seconds() == 300
    canceled = replicate.predictions.cancel(prediction_id=prediction.id)
    assert (canceled.id, canceled.status) == (prediction.id, "canceled")
    assert replicate.predictions.wait(prediction.id).completed_at == canceled.completed_at


async def test_pages():
    async with replicate.AsyncReplicate() as client:
        began = datetime.now(UTC)
        asks = (client.predictions.create(version=QUICK, input={"prompt": "a"}) for _ in range(101))
        created = {prediction.id for prediction in await asyncio.gather(*asks)}
        page = await client.predictions.list(created_after=began)
        assert (len(page.results), page.has_next_page()) == (100, True)
        last = await page.get_next_page()
        assert (len(last.results), last.has_next_page()) == (1, False)
        listed = [prediction async for prediction in client.predictions.list(created_after=began)]
    assert [prediction.id for prediction in listed] == [each.id for each in (*page.results, *last.results)]
    assert {prediction.id for prediction in listed} == created


# ---- files, models and the rest -------------------------------------------------------------------------------------


def test_files(drawn):
    data = drawn.file.read_bytes()
    made = replicate.files.create(content=data, filename="a.png", type="image/png", metadata={"of": drawn.shape})
    assert (made.content_type, made.size, made.metadata) == ("image/png", len(data), {"of": drawn.shape})
    sniffed = replicate.files.create(content=data)
    assert sniffed.content_type == "image/png"
    assert replicate.files.get(file_id=made.id).checksums.sha256 == hashlib.sha256(data).hexdigest()
    assert [file.id for file in replicate.files.list()][:2] == [sniffed.id, made.id]
    assert "".join(replicate.run(LLAVA, input=asked(drawn, made.urls.get))) == drawn.color
    replicate.files.delete(file_id=made.id)
    with pytest.raises(replicate.NotFoundError):
        replicate.files.get(file_id=made.id)


def test_models():
    model = replicate.models.get(model_owner="yorickvp", model_name="llava-13b")
    assert "triptych/tiny-llava-1.5" in model.description
    assert {f"{each.owner}/{each.name}" for each in replicate.models.list()} >= {LLAVA, MIXTRAL, QUICK}
    found = [f"{each.owner}/{each.name}" for each in replicate.models.search(body="llava-13b")]
    assert found[0] == LLAVA
    versions = replicate.models.versions.list(model_owner="yorickvp", model_name="llava-13b").results
    assert VERSION in [version.id for version in versions]
    version = replicate.models.versions.get(model_owner="yorickvp", model_name="llava-13b", version_id=VERSION)
    assert version.id == VERSION
    with replicate.Replicate() as client:
        assert [found.model.name for found in client.search(query="llava-13b", limit=1).models] == ["llava-13b"]


def test_what_surrounds_models():
    assert [hardware.sku for hardware in replicate.hardware.list()] == ["cpu"]
    assert replicate.account.get().type == "user"
    assert "vision-models" in [collection.slug for collection in replicate.collections.list()]
    assert replicate.collections.get(collection_slug="vision-models").models
    deployment = replicate.deployments.get(deployment_owner="yorickvp", deployment_name="llava-13b")
    assert deployment.current_release.model == LLAVA
    assert replicate.webhooks.default.secret.get().key.startswith("whsec_")


# ---- errors ---------------------------------------------------------------------------------------------------------


def test_errors_are_the_clients_own_and_not_tried_again():
    with pytest.raises(replicate.UnprocessableEntityError) as caught:
        replicate.run(LLAVA, input={"temperature": 0})
    assert caught.value.body["detail"] == "- input: prompt is required\n"
    assert caught.value.body["invalid_fields"][0]["type"] == "required"
    assert caught.value.response.request.headers["x-stainless-retry-count"] == "0"
    with pytest.raises(replicate.NotFoundError):
        replicate.run("no/such", input=SUM)
    with pytest.raises(replicate.PermissionDeniedError):
        replicate.models.delete(model_owner="yorickvp", model_name="llava-13b")
    with replicate.Replicate(bearer_token="wrong") as client, pytest.raises(replicate.AuthenticationError) as wrong:
        client.predictions.list()
    assert wrong.value.body["title"] == "Unauthenticated"


@pytest.mark.parametrize("mount", ["", "/", "/v1", "/replicate/v1"])
def test_every_plausible_address_leads_here(mount):
    with replicate.Replicate(base_url=URL + mount) as client:
        assert "".join(client.run(MIXTRAL, input=SUM)).strip() == "42"
