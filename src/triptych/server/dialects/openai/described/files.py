"""Files and batches in words."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ....operations import ANY_MODEL, JSON, Body, Example, Field, Fields, Group, Operation, Parameter, Reply
from ..batches import BatchRequest, OutputExpires
from ..files import PURPOSES
from ..perform import ENDPOINTS
from ..routes import PREFIXES
from .answers import Count, Seconds
from .failures import ALWAYS, BODY, failures

# Ids in examples.
FILE_ID = "file-0198f2b0c1a27d3e9a41b5c6d7e8f901"
BATCH_ID = "batch_0198f2b0c1a27d3e9a41b5c6d7e8f902"


class Upload(msgspec.Struct):
    """The parts of the form."""

    purpose: str
    file: bytes
    expires_after_anchor: str | msgspec.UnsetType = msgspec.field(name="expires_after[anchor]", default=msgspec.UNSET)
    expires_after_seconds: Annotated[int, Meta(ge=3600, le=2592000)] | msgspec.UnsetType = msgspec.field(
        name="expires_after[seconds]", default=msgspec.UNSET
    )


class File(msgspec.Struct):
    id: str
    object: Literal["file"]
    bytes: Count
    created_at: Seconds
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"]
    status_details: None


class FileList(msgspec.Struct):
    object: Literal["list"]
    data: list[File]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(msgspec.Struct):
    id: str
    object: Literal["file"]
    deleted: bool


class RequestCounts(msgspec.Struct):
    total: Count
    completed: Count
    failed: Count


class Batch(msgspec.Struct):
    """A batch. Its times are seconds since 1970, null for what has not happened."""

    id: str
    object: Literal["batch"]
    endpoint: str
    model: Annotated[str | None, Meta(description="The model that its requests ask for.")]
    errors: Annotated[dict[str, Any] | None, Meta(description="What is wrong with its input file, by line.")]
    input_file_id: str
    completion_window: str
    status: Literal[
        "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
    ]
    output_file_id: Annotated[str | None, Meta(description="The file of answers, once it has ended.")]
    error_file_id: Annotated[str | None, Meta(description="The file of failures, once it has ended.")]
    created_at: Seconds
    in_progress_at: int | None
    expires_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: dict[str, Any] | None
    metadata: dict[str, str] | None


class BatchList(msgspec.Struct):
    object: Literal["list"]
    data: list[Batch]
    first_id: str | None
    last_id: str | None
    has_more: bool


_FIELDS: Fields = {
    Upload: {
        "purpose": Field("What it is for.", None, {"type": "string", "enum": list(PURPOSES)}),
        "file": Field("The file itself.", None, {"type": "string", "format": "binary"}),
        "expires_after[anchor]": Field("`created_at`, if it is to be deleted in time."),
        "expires_after[seconds]": Field("How long it is then kept: an hour to 30 days."),
    },
    BatchRequest: {
        "input_file_id": Field("A file of the purpose `batch`, with one request a line.", required=True),
        "endpoint": Field(
            "What all its requests are for.", None, {"type": "string", "enum": list(ENDPOINTS)}, True
        ),
        "completion_window": Field("`24h`: what is not answered by then expires.", "24h"),
        "metadata": Field("Comes back with the batch: up to 16 keys."),
        "output_expires_after": Field("When the files of answers are deleted."),
    },
    OutputExpires: {
        "anchor": Field("`created_at`."),
        "seconds": Field("From an hour to 30 days.", None, {"minimum": 3600, "maximum": 2592000}),
    },
}  # fmt: skip

_LINE = {
    "custom_id": "one", "method": "POST", "url": "/v1/chat/completions",
    "body": {"model": ANY_MODEL, "messages": [{"role": "user", "content": "What is 17 + 25?"}]},
}  # fmt: skip
_LINES = json.dumps(_LINE) + "\n"
_FILE = Parameter("file_id", "The file's id.", "path", example=FILE_ID)
_BATCH = Parameter("batch_id", "The batch's id.", "path", example=BATCH_ID)
_AFTER = Parameter("after", "The last id of the page before.")


def _operation(method: str, path: str, summary: str, told: str, reply: Reply, *more: int, **fields: Any) -> Operation:
    return Operation(method, path, summary, told, (reply, *failures((*more, *ALWAYS))), prefixes=PREFIXES, **fields)


_FILES = (
    _operation(
        "POST", "/files", "Upload a file",
        "Keeps a file for a batch or as an image. Files belong to the key that they were uploaded with.",
        Reply(200, "The file.", {JSON: File}), 400, 413,
        body=Body(Upload, content_type="multipart/form-data", examples=(
            Example("Requests of a batch", {"purpose": "batch"}, {"file": ("requests.jsonl", _LINES)}),
        )),
    ),
    _operation(
        "GET", "/files", "List files", "The caller's files, a page at a time.",
        Reply(200, "A page of files.", {JSON: FileList}), 400,
        parameters=(
            Parameter("purpose", "Only files of this purpose."),
            Parameter("order", "By the time they were created: `asc` or `desc`, which is the default."),
            Parameter("limit", "How many, at most.", type=Annotated[int, Meta(ge=1, le=10_000)]), _AFTER,
        ),
    ),
    _operation("GET", "/files/{file_id}", "Describe a file", "What is known of a file.",
               Reply(200, "The file.", {JSON: File}), 404, parameters=(_FILE,)),
    _operation("DELETE", "/files/{file_id}", "Delete a file", "Deletes it at once.",
               Reply(200, "It is gone.", {JSON: FileDeleted}), 404, 413, parameters=(_FILE,)),
    _operation("GET", "/files/{file_id}/content", "Download a file", "The file's bytes.",
               Reply(200, "The bytes.", {"application/octet-stream": str}), 404, parameters=(_FILE,)),
)  # fmt: skip

_BATCHES = (
    _operation(
        "POST", "/batches", "Begin a batch",
        "Answers every request of an uploaded file in the background, behind what somebody waits for.",
        Reply(200, "The batch.", {JSON: Batch}), 404, *(status for status in BODY if status not in ALWAYS),
        body=Body(BatchRequest, (
            Example("Chats", {
                "input_file_id": FILE_ID, "endpoint": "/v1/chat/completions", "completion_window": "24h",
            }),
        )),
    ),
    _operation("GET", "/batches", "List batches", "The caller's batches, the newest first.",
               Reply(200, "A page of batches.", {JSON: BatchList}), 400,
               parameters=(Parameter("limit", "How many, at most.", type=Annotated[int, Meta(ge=1, le=100)]), _AFTER)),
    _operation("GET", "/batches/{batch_id}", "Look at a batch", "How far it is, and where its answers are.",
               Reply(200, "The batch.", {JSON: Batch}), 404, parameters=(_BATCH,)),
    _operation("POST", "/batches/{batch_id}/cancel", "Cancel a batch",
               "Stops it. What is answered already is kept in its files.",
               Reply(200, "The batch.", {JSON: Batch}), 400, 404, 413, parameters=(_BATCH,)),
)  # fmt: skip

KEPT = Group(
    "Files and batches",
    "Many requests in one file, answered while nobody waits. Only the key that made them sees them.",
    (*_FILES, *_BATCHES),
    _FIELDS,
)
