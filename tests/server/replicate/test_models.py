"""Models, versions and what surrounds them: complete for clients that check every field, under every name."""

from __future__ import annotations

import re
from typing import Any

import pytest
from predicting import TIME, Client, problem

from triptych.server.dialects.replicate.catalog import Catalog
from triptych.server.dialects.replicate.models import ModelRoutes
from triptych.server.dialects.replicate.published import PINNED
from triptych.server.router import Router, embedded_specs
from triptych.server.served import ServedModel

MOUNT = "/replicate/v1"


@pytest.fixture
def client(one: Client) -> Client:
    return Client(one.server, one.key, MOUNT)


def check_version(version: dict[str, Any]) -> None:
    assert set(version) == {"id", "created_at", "cog_version", "openapi_schema"}
    assert len(version["id"]) == 64
    assert tuple(map(int, version["cog_version"].split("."))) >= (0, 3, 9)
    assert version["created_at"].endswith("Z")
    assert {"Input", "Output"} <= set(version["openapi_schema"]["components"]["schemas"])


def check_model(model: dict[str, Any]) -> None:
    assert all(isinstance(model[name], str) for name in ("url", "owner", "name", "description"))
    assert model["visibility"] == "public"
    assert isinstance(model["run_count"], int)
    assert model["default_example"] is None
    check_version(model["latest_version"])


def test_a_page_of_models_under_their_names(client: Client) -> None:
    page = client.ask("GET", "/models?sort_by=model_created_at&sort_direction=asc").json
    assert set(page) == {"next", "previous", "results"}
    for model in page["results"]:
        check_model(model)
    names = [f"{model['owner']}/{model['name']}" for model in page["results"]]
    assert names == ["triptych/eye", "triptych/text", "org/eye"]
    assert len({model["latest_version"]["id"] for model in page["results"]}) == 3
    assert problem(client.ask("GET", "/models?sort_by=name"))["status"] == 422


def test_a_model_by_its_names(client: Client) -> None:
    model = client.ask("GET", "/models/org/eye").json
    check_model(model)
    assert "Answered here by eye." in model["description"]
    assert client.ask("GET", "/models/eye").json["name"] == "eye"
    for path in ("/models/nobody/nothing", "/models/org/eye/more", "/models/%3F"):
        assert problem(client.ask("GET", path))["status"] == 404


def test_versions(client: Client) -> None:
    page = client.ask("GET", "/models/org/eye/versions").json
    [version] = page["results"]
    check_version(version)
    for name in ("latest", "undefined", "null", version["id"]):
        assert client.ask("GET", f"/models/org/eye/versions/{name}").json == version
    assert client.ask("GET", f"/models/anything/else/versions/{version['id']}").json["id"] == version["id"]
    assert client.ask("GET", f"/models/org/eye/versions/{'0' * 64}").status == 404
    assert client.ask("GET", "/models/nobody/x/versions/latest").status == 404
    seeing, reading = (client.ask("GET", f"/models/{name}/versions/latest").json for name in ("eye", "text"))
    inputs = [each["openapi_schema"]["components"]["schemas"]["Input"]["properties"] for each in (seeing, reading)]
    assert "image" in inputs[0]
    assert "prompt_template" in inputs[1]


@pytest.mark.parametrize("body", [b"eye null", b'"eye null"', b' "EYE" '])
def test_search_by_query_in_each_clients_form(client: Client, body: bytes) -> None:
    for content_type in ("text/plain", "application/json"):
        page = client.ask("QUERY", "/models", body, content_type=content_type).json
        assert [model["owner"] for model in page["results"]] == ["triptych", "org"]
        for model in page["results"]:
            check_model(model)


def test_search(client: Client) -> None:
    found = client.ask("GET", "/search?query=image&limit=1").json
    assert (found["query"], found["collections"], found["pages"], len(found["models"])) == ("image", [], [], 1)
    check_model(found["models"][0]["model"])
    assert client.ask("GET", "/search?query=nothing+of+this").json["models"] == []
    assert problem(client.ask("GET", "/search"))["status"] == 400
    for limit in ("0", "51", "x"):
        assert problem(client.ask("GET", f"/search?query=a&limit={limit}"))["status"] == 422


def test_a_name_that_is_searched_for_as_it_is_comes_first() -> None:
    routes = ModelRoutes(Catalog(Router([ServedModel(spec) for spec in embedded_specs()])))
    for name in ("yorickvp/llava-13b", "llava-v1.6-mistral-7b"):
        assert name in routes._found(name)[0].model


def test_readme_and_examples(client: Client) -> None:
    readme = client.ask("GET", "/models/org/eye/readme")
    assert readme.headers["content-type"].startswith("text/plain")
    assert readme.body.startswith(b"# org/eye\n")
    assert client.ask("GET", "/models/org/eye/examples").json["results"] == []
    assert client.ask("GET", "/models/nobody/x/readme").status == 404


def test_what_surrounds_models(client: Client) -> None:
    account = client.ask("GET", "/account").json
    assert account == {
        "type": "user", "username": "local", "name": "Local server", "github_url": None, "avatar_url": None,
    }
    hardware = client.ask("GET", "/hardware").json
    assert all(set(each) == {"name", "sku"} for each in hardware)
    assert hardware
    collections = client.ask("GET", "/collections").json["results"]
    assert [each["slug"] for each in collections] == ["vision-models", "language-models"]
    whole = client.ask("GET", "/collections/vision-models").json
    assert [f"{each['owner']}/{each['name']}" for each in whole["models"]] == ["triptych/eye", "org/eye"]
    assert whole["full_description"] is None
    assert client.ask("GET", "/collections/nothing").status == 404
    deployment = client.ask("GET", "/deployments/org/eye").json
    release = deployment["current_release"]
    assert (release["number"], release["model"], release["created_by"]) == (1, "org/eye", account)
    assert set(release["configuration"]) == {"hardware", "min_instances", "max_instances"}
    assert len(client.ask("GET", "/deployments").json["results"]) == 3
    assert client.ask("GET", "/trainings").json == {"next": None, "previous": None, "results": []}
    assert client.ask("GET", "/trainings/x").status == 404


@pytest.mark.parametrize(("method", "path", "status"), [
    ("POST", "/models", 403), ("PATCH", "/models/org/eye", 403), ("DELETE", "/models/org/eye", 403),
    ("DELETE", "/models/org/eye/versions/latest", 403), ("POST", "/deployments", 403),
    ("PATCH", "/deployments/org/eye", 403), ("DELETE", "/deployments/org/eye", 403),
    ("POST", "/models/org/eye/versions/latest/trainings", 422), ("POST", "/trainings/x/cancel", 404),
])  # fmt: skip
def test_nothing_can_be_changed(client: Client, method: str, path: str, status: int) -> None:
    assert problem(client.ask(method, path, {} if method in ("POST", "PATCH") else None))["status"] == status


def test_the_packaged_models_have_the_names_that_programs_use() -> None:
    catalog = Catalog(Router([ServedModel(spec) for spec in embedded_specs()]))
    names = [published.model for published in catalog.all]
    assert {*PINNED} <= set(names)
    assert len({name.lower() for name in names}) == len(names)
    assert len({published.version for published in catalog.all}) == len(names)
    tiny = catalog.find("yorickvp/llava-13b")
    assert tiny.about.startswith("Answered here by triptych/tiny-llava-1.5.")
    assert "small demonstration model" in tiny.about
    assert (tiny.family.vision, catalog.find("mixtral").family.vision) == (True, False)
    assert catalog.asked("80537f9eead1a5bfa72d5ac6ea6414379be41d4d4f6679fd776e9535d1eb58bb").backend is tiny.backend
    again = Catalog(Router([ServedModel(spec) for spec in embedded_specs()]))
    assert [each.version for each in again.all] == [each.version for each in catalog.all]


def test_times_are_those_of_the_contract(client: Client) -> None:

    assert re.fullmatch(TIME, client.ask("GET", "/models/eye").json["latest_version"]["created_at"])
