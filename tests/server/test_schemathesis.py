"""Schemathesis against the document of the server: requests of all shapes, answered as it says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    unsupported_method,
)
from servers import Running, null_models, serving

from triptych.server.app import Options, groups
from triptych.server.openapi import Facts, document

schema = schemathesis.openapi.from_dict(document(groups(kept=True), Facts("http://test", False, "eye", "eye")))

# Which fields go together, and what a model can do, is more than a schema says.
EXCLUDED = [positive_data_acceptance]
# They take QUERY, for which OpenAPI 3.1 has no place, and what another dialect has at the same path.
OTHERS_AS_WELL = ("/models", "/models/{model}")
# A page for browsers, and one of many addresses that tasks may be posted to.
HOME = "/"
# An answer is a success as soon as one task of an array is one.
TASKS = "/v1"
# Fields of a form are texts, whatever they look like.
UPLOAD = "/files"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Running]:
    # Also once there are keys, which examples make, nobody needs one.
    with serving(null_models(), options=Options(no_auth=True), data=tmp_path_factory.mktemp("data")) as running:
        yield running


@schema.hook
def map_body(context, body):
    """Of bodies that are right as far as they go most name a model that is there, so that they get further."""
    if isinstance(body, dict) and isinstance(body.get("model"), str) and len(body["model"]) % 4:
        body = {**body, "model": "eye"}
    return body


@schema.parametrize()
@settings(max_examples=5, suppress_health_check=list(HealthCheck), derandomize=True)
def test_answers_are_as_documented(case, server):
    excluded = list(EXCLUDED)
    if case.path.endswith(OTHERS_AS_WELL) or case.path == HOME:
        excluded += [unsupported_method, allow_header_conformance]
    if case.path.endswith(UPLOAD) or case.path == TASKS:
        excluded.append(negative_data_rejection)
    case.call_and_validate(base_url=server.url, timeout=20, excluded_checks=excluded)


def test_an_answer_that_is_not_as_documented_is_noticed(server):
    told = document(groups(kept=True), Facts("http://test"))
    told["components"]["schemas"]["Version"]["properties"]["version"] = {"type": "integer"}
    operation = schemathesis.openapi.from_dict(told)["/version"]["GET"]
    with pytest.raises(FailureGroup, match='is not of type "integer"'):
        operation.Case().call_and_validate(base_url=server.url)
