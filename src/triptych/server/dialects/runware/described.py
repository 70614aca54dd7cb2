"""This dialect's routes in words, for the reference."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ...operations import JSON, SEEING_MODEL, Body, Example, Field, Fields, Group, Operation, Parameter, Reply
from .errors import CODES
from .routes import DOWNLOAD, MOUNTS, PATHS, TYPES
from .wire import MOST_TASKS

_IMAGE = "https://upload.example/harbour.jpg"
# In examples.
UPLOAD = "8f0d2b3e-6a1c-4f57-9b6d-0a5c8f3f7f10.png"
_UUIDS = tuple(f"2f0c8a1e-6f1b-4b0d-8a53-1c2f9f1f7a0{number}" for number in range(4))


class Task(msgspec.Struct, kw_only=True, rename="camel"):
    """One task. Each is read by itself, field by field, so that one that is wrong spoils no other."""

    task_type: str | None = None
    task_uuid: str | None = msgspec.field(default=None, name="taskUUID")
    model: str | None = None
    inputs: dict[str, Any] | None = None
    input_image: str | None = None
    input_images: list[str] | None = None
    prompt: str | list[str] | None = None
    delivery_method: str | None = None
    include_cost: bool | None = None
    webhook_url: str | None = msgspec.field(default=None, name="webhookURL")
    upload_endpoint: str | None = None
    output_type: str | None = None
    output_format: str | None = None
    output_quality: int | None = None
    ttl: int | None = None
    image: str | None = None
    media: str | None = None
    operation: str | None = None
    search: str | None = None
    limit: int | None = None
    offset: int | None = None
    api_key: str | None = None


class TaskItem(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """What came of a task. It has what its type has, and nothing else."""

    task_type: str
    task_uuid: str | UnsetType = msgspec.field(default=UNSET, name="taskUUID")
    text: str | UnsetType = UNSET
    cost: float | UnsetType = UNSET
    status: str | UnsetType = UNSET
    image_uuid: str | UnsetType = msgspec.field(default=UNSET, name="imageUUID")
    image_url: str | UnsetType = msgspec.field(default=UNSET, name="imageURL")
    media_uuid: str | UnsetType = msgspec.field(default=UNSET, name="mediaUUID")
    media_url: str | UnsetType = msgspec.field(default=UNSET, name="mediaURL")
    operation: str | UnsetType = UNSET
    request: list[Any] | UnsetType = UNSET
    response: dict[str, Any] | UnsetType = UNSET
    total_results: int | UnsetType = UNSET
    results: list[dict[str, Any]] | UnsetType = UNSET
    organization_uuid: str | UnsetType = msgspec.field(default=UNSET, name="organizationUUID")
    organization_name: str | UnsetType = UNSET
    balance: float | UnsetType = UNSET
    team: list[Any] | UnsetType = UNSET
    api_keys: list[Any] | UnsetType = UNSET
    usage: dict[str, Any] | UnsetType = UNSET
    pong: bool | UnsetType = UNSET
    connection_session_uuid: str | UnsetType = msgspec.field(default=UNSET, name="connectionSessionUUID")


class TaskProblem(msgspec.Struct, kw_only=True, rename="camel", omit_defaults=True):
    """Why a task came to nothing."""

    code: Annotated[str, Meta(extra_json_schema={"enum": list(CODES)})]
    message: str
    parameter: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    documentation: str | UnsetType = UNSET
    task_type: str | UnsetType = UNSET
    task_uuid: str | UnsetType = msgspec.field(default=UNSET, name="taskUUID")
    status: str | UnsetType = UNSET
    min: float | UnsetType = UNSET
    max: float | UnsetType = UNSET
    default: Any = UNSET
    allowed_values: list[Any] | UnsetType = UNSET


class FirstProblem(msgspec.Struct, kw_only=True):
    """The first of the errors once more, for clients that look at no list."""

    code: str
    message: str


class Tasks(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What came of an array of tasks."""

    data: list[TaskItem]
    errors: list[TaskProblem] | UnsetType = UNSET


class NoTask(msgspec.Struct, kw_only=True):
    """An array of tasks of which none succeeded."""

    data: Annotated[list[TaskItem], Meta(max_length=0)]
    errors: list[TaskProblem]
    error: FirstProblem


_FIELDS: Fields = {
    Task: {
        "taskType": Field("What to do. `imageCaption` is an older word for `caption`.", None,
                          {"type": "string", "enum": list(TYPES)}, True),
        "taskUUID": Field("A UUID of the caller's, new for each task: answers are matched by it, and the same task "
                          "sent again is one task. Of `getResponse` and `getTaskDetails` it is the other task's. "
                          "`authentication` and `ping` need none."),
        "model": Field("A served name, or Runware's id of one.", "runware:150@2"),
        "inputs": Field("Of a caption: `image`, a UUID of an upload, a URL, a data URI or base64."),
        "inputImage": Field("The same, as older clients write it."),
        "inputImages": Field("The same as a list, of one image."),
        "prompt": Field("What to ask about the image. May stand in `inputs` too.", "Describe this image in detail."),
        "deliveryMethod": Field("`async` answers as soon as the task is kept; `getResponse` gets the result.", "sync",
                                {"enum": ["sync", "async", None]}),
        "includeCost": Field("Adds what the caption would cost at Runware, in dollars.", False),
        "webhookURL": Field("An https URL that gets the result; the answer comes as soon as the task is kept."),
        "uploadEndpoint": Field("An https URL at which the text is put."),
        "outputType": Field("`URL`, `base64Data` or `dataURI`, without effect: a text stands in the answer itself."),
        "outputFormat": Field("`JPG`, `PNG` or `WEBP`, without effect on a text."),
        "outputQuality": Field("Without effect on a text.", 95, {"minimum": 20, "maximum": 99}),
        "ttl": Field("Seconds, without effect: no file is made of a text.", None, {"minimum": 60}),
        "image": Field("Of an `imageUpload`: a URL, a data URI or base64."),
        "media": Field("The same of a `mediaStorage`; its UUID, to delete it."),
        "operation": Field("Of a `mediaStorage`: `upload` or `delete`; of `accountManagement`: `getDetails`."),
        "search": Field("Of a `modelSearch`: part of a name."),
        "limit": Field("How many models, at most.", 20, {"minimum": 1, "maximum": 100}),
        "offset": Field("How many to leave out.", 0, {"minimum": 0}),
        "apiKey": Field("Of an `authentication`: the key, in place of the header."),
    },
}  # fmt: skip

_WHY = {
    400: "No task succeeded, and the first one is wrong; or there is no task.",
    401: "A key is needed, and none or a wrong one was given.",
    402: "What a caption could cost is over what is left of the key's budget.",
    403: "The key is good, but not for this API or this model.",
    404: "What the first task asks for is not there.",
    413: "The body is over the server's limit.",
    415: "The body is not JSON by its own word, or it is compressed.",
    429: "Too many captions are waited for or one is late, the key has asked too often, or too many wrong keys came "
    "from the address.",
    500: "The model failed, or the server.",
    503: "The model is loading, or the server is about to stop.",
    504: "The caption was not there in time; it can be asked for with `getResponse`.",
}
_RETRY = {"retry-after": "Seconds to wait before the next try."}


def _refusals(*statuses: int) -> tuple[Reply, ...]:
    return tuple(
        Reply(status, _WHY[status], {JSON: NoTask}, _RETRY if status in (429, 503, 504) else {}) for status in statuses
    )


_RUN = Operation(
    "POST", "", "Run tasks",
    f"Runs an array of up to {MOST_TASKS} tasks and answers when the last one is over, with an item in `data` or an "
    "error in `errors` for each of them. What is wrong with one spoils no other.\n\n"
    "The same address takes WebSockets, on which the first frame is an `authentication` and each answer a frame of its "
    "own. The header `X-Runware-Dry-Run: 1` checks captions and runs none.",
    (
        Reply(200, "What came of the tasks; at least one succeeded.", {JSON: Tasks},
              {"x-triptych-model": "The served models that answered, whatever names were used."}),
        *_refusals(400, 401, 402, 403, 404, 413, 415, 429, 500, 503, 504),
    ),
    body=Body(list[Task], (
        Example("A caption", [{
            "taskType": "caption", "taskUUID": _UUIDS[0], "model": SEEING_MODEL, "inputs": {"image": _IMAGE},
        }]),
        Example("A question with its cost", [{
            "taskType": "caption", "taskUUID": _UUIDS[1], "model": SEEING_MODEL, "inputs": {"image": _IMAGE},
            "prompt": "How many boats are moored?", "includeCost": True,
        }]),
        Example("Without waiting", [{
            "taskType": "caption", "taskUUID": _UUIDS[2], "model": SEEING_MODEL, "inputs": {"image": _IMAGE},
            "deliveryMethod": "async",
        }]),
        Example("Which models there are", [{"taskType": "modelSearch", "taskUUID": _UUIDS[3], "search": ""}]),
    )),
    prefixes=PATHS, public=True,
)  # fmt: skip

_DOWNLOAD = Operation(
    "GET", DOWNLOAD, "Download an upload",
    "The bytes of an image that was uploaded. Whoever has the URL may read them.",
    (Reply(200, "The image.", {"image/png": str}), *_refusals(404, 503)),
    parameters=(Parameter("name", "As the upload's URL has it.", "path", example=UPLOAD),), prefixes=MOUNTS,
    public=True,
)  # fmt: skip

GROUP = Group(
    "Runware",
    "Tasks, as the clients of runware.ai send them, over HTTP and WebSockets: set their URL to this server's address "
    "with `/v1` behind it. A caption is a prediction that is kept and runs to its end.",
    (_RUN, _DOWNLOAD),
    _FIELDS,
)
