"""Replicate's routes: under /v1, without it and with two of it, as its clients add one or not; and under /replicate."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from ...endpoint import FORM, JSON, NO_BODY, Doors, Endpoint, Handler
from .errors import refusal
from .handlers import Handlers

PREFIXES = ("/v1", "", "/v1/v1", "/replicate/v1", "/replicate", "/replicate/v1/v1")
# Paths that OpenAI has as well; what stands for them alone is under the other prefixes.
SHARED = (
    ("GET", "/models"), ("GET", "/models/{model:served}"), ("POST", "/files"), ("GET", "/files"),
    ("GET", "/files/{file_id}"), ("DELETE", "/files/{file_id}"),
)  # fmt: skip
# The URL itself is the key.
PUBLIC = ("/streams/{token}", "/files/{file_id}/download")


def routes(doors: Doors, handlers: Handlers) -> list[BaseRoute]:
    """Every route of the dialect."""
    made: list[BaseRoute] = []
    for method, path, handler in table(handlers):
        form = FORM if (method, path) == ("POST", "/files") else NO_BODY if path.endswith("/cancel") else JSON
        endpoint = Endpoint(doors, "replicate", path, handler, refusal, form, path in PUBLIC)
        methods = ["GET", "HEAD"] if method == "GET" else [method]
        made += [Route(prefix + path, endpoint, methods=methods) for prefix in PREFIXES]
    return made


def table(of: Handlers) -> list[tuple[str, str, Handler]]:
    """Method, path and handler."""
    return [
        ("POST", "/predictions", of.create.by_version),
        ("GET", "/predictions", of.predictions.list_all),
        ("GET", "/predictions/{prediction_id}", of.predictions.retrieve),
        ("POST", "/predictions/{prediction_id}/cancel", of.predictions.cancel),
        ("POST", "/models/{model:served}/predictions", of.create.by_model),
        ("POST", "/deployments/{deployment:served}/predictions", of.create.by_deployment),
        ("GET", "/streams/{token}", of.streams.follow),
        ("POST", "/files", of.files.create),
        ("GET", "/files", of.files.list_all),
        ("GET", "/files/{file_id}", of.files.retrieve),
        ("DELETE", "/files/{file_id}", of.files.delete),
        ("GET", "/files/{file_id}/download", of.files.download),
        ("GET", "/models", of.models.list_all),
        ("POST", "/models", of.models.refuse),
        ("QUERY", "/models", of.models.query),
        ("GET", "/search", of.models.search),
        ("GET", "/models/{model:served}/versions", of.models.versions),
        ("GET", "/models/{model:served}/versions/{version_id}", of.models.version),
        ("DELETE", "/models/{model:served}/versions/{version_id}", of.models.refuse),
        ("POST", "/models/{model:served}/versions/{version_id}/trainings", of.models.refuse_training),
        ("GET", "/models/{model:served}/examples", of.models.examples),
        ("GET", "/models/{model:served}/readme", of.models.readme),
        ("GET", "/models/{model:served}", of.models.retrieve),
        ("PATCH", "/models/{model:served}", of.models.refuse),
        ("DELETE", "/models/{model:served}", of.models.refuse),
        ("GET", "/account", of.account.account),
        ("GET", "/hardware", of.account.hardware),
        ("GET", "/collections", of.account.collections),
        ("GET", "/collections/{slug}", of.account.collection),
        ("GET", "/deployments", of.account.deployments),
        ("POST", "/deployments", of.account.refuse),
        ("GET", "/deployments/{deployment:served}", of.account.deployment),
        ("PATCH", "/deployments/{deployment:served}", of.account.refuse),
        ("DELETE", "/deployments/{deployment:served}", of.account.refuse),
        ("GET", "/trainings", of.account.trainings),
        ("GET", "/trainings/{training_id}", of.account.training),
        ("POST", "/trainings/{training_id}/cancel", of.account.training),
        ("GET", "/webhooks/default/secret", of.secret.retrieve),
    ]
