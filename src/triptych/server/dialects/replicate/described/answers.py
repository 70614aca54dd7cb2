"""What this dialect answers, as types for the reference."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

Time = Annotated[str, Meta(description="RFC 3339, in UTC.", extra_json_schema={"format": "date-time"})]
Version64 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class InvalidField(msgspec.Struct):
    type: str
    field: str
    description: str


class ProblemAnswer(msgspec.Struct):
    """An error. `detail` says what is wrong, of a body that is not valid a line for each fault."""

    detail: str
    status: int
    title: str | UnsetType = UNSET
    retry_after: Annotated[int | UnsetType, Meta(description="Seconds to wait before the next try.")] = UNSET
    invalid_fields: list[InvalidField] | UnsetType = UNSET


class PredictionUrls(msgspec.Struct):
    get: str
    cancel: str
    web: Annotated[str, Meta(description="Its page.")]
    stream: Annotated[str | UnsetType, Meta(description="Its events; whoever has this URL may read them.")] = UNSET


class PredictionMetrics(msgspec.Struct):
    """Of a prediction that has ended; times are in seconds."""

    predict_time: float
    total_time: float
    queue_time: float
    input_token_count: int
    output_token_count: int
    image_token_count: int
    cost: Annotated[float | UnsetType, Meta(description="Dollars, if what was called has a price here.")] = UNSET
    cold_start_time: Annotated[
        float | UnsetType, Meta(description="What of the queue time its model took to start, if it did not run yet.")
    ] = UNSET
    time_to_first_token: float | UnsetType = UNSET
    tokens_per_second: Annotated[float | UnsetType, Meta(description="Output tokens over `predict_time`.")] = UNSET


class Prediction(msgspec.Struct):
    """A prediction. `model` and `version` are the names that its caller used; the first line of `logs` and the header
    `x-triptych-model` say what runs.
    """

    id: str
    model: str
    version: Version64
    input: dict[str, Any]
    output: Annotated[list[str] | None, Meta(description="Pieces of the text; it only ever grows.")]
    logs: str | None
    error: str | None
    status: Literal["starting", "processing", "succeeded", "failed", "canceled"]
    data_removed: bool
    source: Literal["api"]
    created_at: Time
    started_at: Time | None
    completed_at: Time | None
    urls: PredictionUrls
    metrics: PredictionMetrics | UnsetType = UNSET
    deadline: Time | UnsetType = UNSET
    deployment: str | UnsetType = UNSET
    webhook: str | UnsetType = UNSET
    webhook_events_filter: list[str] | UnsetType = UNSET


class PredictionPage(msgspec.Struct):
    next: str | None
    previous: str | None
    results: list[Prediction]


class ModelVersion(msgspec.Struct):
    id: Version64
    created_at: Time
    cog_version: str
    openapi_schema: dict[str, Any]


class VersionPage(msgspec.Struct):
    next: str | None
    previous: str | None
    results: list[ModelVersion]


class PublishedModel(msgspec.Struct):
    """A served model under one of its names; `description` says what runs."""

    url: str
    owner: str
    name: str
    description: str
    visibility: Literal["public"]
    github_url: str | None
    paper_url: str | None
    license_url: str | None
    cover_image_url: str | None
    run_count: int
    is_official: bool
    default_example: None
    latest_version: ModelVersion


class PublishedPage(msgspec.Struct):
    next: str | None
    previous: str | None
    results: list[PublishedModel]


class FoundModel(msgspec.Struct):
    model: PublishedModel
    metadata: dict[str, Any]


class SearchAnswer(msgspec.Struct):
    query: str
    models: list[FoundModel]
    collections: list[dict[str, Any]]
    pages: list[dict[str, Any]]


class Account(msgspec.Struct):
    type: Literal["user"]
    username: str
    name: str
    github_url: str | None
    avatar_url: str | None


class Hardware(msgspec.Struct):
    name: str
    sku: str


class Collection(msgspec.Struct):
    name: str
    slug: str
    description: str


class CollectionPage(msgspec.Struct):
    next: str | None
    previous: str | None
    results: list[Collection]


class WholeCollection(Collection):
    full_description: str | None
    models: list[PublishedModel]


class Configuration(msgspec.Struct):
    hardware: str
    min_instances: int
    max_instances: int


class Release(msgspec.Struct):
    number: int
    model: str
    version: Version64
    created_at: Time
    created_by: Account
    configuration: Configuration


class Deployment(msgspec.Struct):
    owner: str
    name: str
    current_release: Release


class DeploymentPage(msgspec.Struct):
    next: str | None
    previous: str | None
    results: list[Deployment]


class EmptyPage(msgspec.Struct):
    next: None
    previous: None
    results: list[dict[str, Any]]


class InputFile(msgspec.Struct):
    """A file on its way into predictions. `urls.get` is what an input takes, `urls.download` gives the bytes."""

    id: str
    name: str
    content_type: str
    size: int
    etag: str
    checksums: dict[str, str]
    metadata: dict[str, Any]
    created_at: Time
    expires_at: Time | None
    urls: dict[str, str]


class InputFilePage(msgspec.Struct):
    next: str | None
    previous: str | None
    results: list[InputFile]


class WebhookSecret(msgspec.Struct):
    key: str
