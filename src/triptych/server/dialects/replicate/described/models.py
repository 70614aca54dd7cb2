"""Models, and what surrounds them, in words."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from ....operations import ANY_MODEL, JSON, Operation, Parameter, Reply
from .answers import (
    Account,
    CollectionPage,
    Deployment,
    DeploymentPage,
    EmptyPage,
    Hardware,
    ModelVersion,
    PublishedModel,
    PublishedPage,
    SearchAnswer,
    VersionPage,
    WholeCollection,
)
from .failures import operation, refused

_MODEL = Parameter("model", "The model's name.", "path", example=ANY_MODEL)
_VERSION = Parameter("version_id", "The version's id; `latest` is the newest.", "path", example="latest")
_DEPLOYMENT = Parameter("deployment", "The deployment's name.", "path", example=ANY_MODEL)
_TRAINING = Parameter("training_id", "A training's id.", "path", example="1v9q8xk2n5j3c7m0d4t6w8z1bh")
_FIXED = "Always refused: what is served is the operator's to decide."
_UNTRAINED = "Always refused: nothing is trained here."


def _get(path: str, summary: str, told: str, type: object, *statuses: int, **fields: object) -> Operation:
    return operation("GET", path, summary, told, Reply(200, "The answer.", {JSON: type}), *statuses, **fields)


MODELS = (
    _get("/models", "List models", "What is served, under each name that it answers to and that has an owner.",
         PublishedPage, 422, parameters=(
             Parameter("sort_by", "`model_created_at` or `latest_version_created_at`."),
             Parameter("sort_direction", "`asc` or `desc`."),
         )),
    operation("QUERY", "/models", "Search models by a body", "Models for a text, which is the body.",
              Reply(200, "A page of models.", {JSON: PublishedPage}), 413),
    _get("/search", "Search models", "Models with all words of a text in their name or in what is said of them.",
         SearchAnswer, 400, 422, parameters=(
             Parameter("query", "The text.", example="llava"),
             Parameter("limit", "How many, at most.", type=Annotated[int, Meta(ge=1, le=50)]),
         )),
    _get("/models/{model:served}", "Describe a model", "A model by any of its names, with its newest version.",
         PublishedModel, 404, parameters=(_MODEL,)),
    _get("/models/{model:served}/versions", "List versions", "The versions under a name: ours, and those that programs "
         "which were written for replicate.com pin.", VersionPage, 404, parameters=(_MODEL,)),
    _get("/models/{model:served}/versions/{version_id}", "Describe a version", "What a version takes and gives.",
         ModelVersion, 404, parameters=(_MODEL, _VERSION)),
    _get("/models/{model:served}/examples", "List examples", "None are kept.", EmptyPage, 404, parameters=(_MODEL,)),
    operation("GET", "/models/{model:served}/readme", "Read about a model", "What it is and takes, in Markdown.",
              Reply(200, "The text.", {"text/plain": str}), 404, parameters=(_MODEL,)),
    refused("POST", "/models", "Make a model", _FIXED),
    refused("PATCH", "/models/{model:served}", "Change a model", _FIXED, parameters=(_MODEL,)),
    refused("DELETE", "/models/{model:served}", "Delete a model", _FIXED, parameters=(_MODEL,)),
    refused("DELETE", "/models/{model:served}/versions/{version_id}", "Delete a version", _FIXED,
            parameters=(_MODEL, _VERSION)),
)  # fmt: skip

AROUND = (
    _get("/account", "Look at the account", "There is one, whatever the key.", Account),
    _get("/hardware", "List hardware", "What the models run on, as far as any has run.", list[Hardware]),
    _get("/collections", "List collections", "Those that have a model.", CollectionPage),
    _get("/collections/{slug}", "Look at a collection", "The models of a kind.", WholeCollection, 404,
         parameters=(Parameter("slug", "Its name in URLs.", "path", example="vision-models"),)),
    _get("/deployments", "List deployments", "One for each name of a model.", DeploymentPage),
    _get("/deployments/{deployment:served}", "Describe a deployment", "The deployment of a model's name.", Deployment,
         404, parameters=(_DEPLOYMENT,)),
    refused("POST", "/deployments", "Make a deployment", _FIXED),
    refused("PATCH", "/deployments/{deployment:served}", "Change a deployment", _FIXED, parameters=(_DEPLOYMENT,)),
    refused("DELETE", "/deployments/{deployment:served}", "Delete a deployment", _FIXED, parameters=(_DEPLOYMENT,)),
    _get("/trainings", "List trainings", "There are none.", EmptyPage),
    refused("GET", "/trainings/{training_id}", "Look at a training", "There are none.", 404, parameters=(_TRAINING,)),
    refused("POST", "/trainings/{training_id}/cancel", "Cancel a training", "There are none.", 404,
            parameters=(_TRAINING,)),
    refused("POST", "/models/{model:served}/versions/{version_id}/trainings", "Train a model", _UNTRAINED, 422,
            parameters=(_MODEL, _VERSION)),
)  # fmt: skip
