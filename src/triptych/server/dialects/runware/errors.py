"""Runware's errors: each is one task's, and says by its code what kind it is. Clients look at codes only: they take
`invalid...` and `missing...` for the caller's fault, `...NotFound` for something that is not there, and so on.
"""

from __future__ import annotations

from typing import Any

from ....engine.errors import QueueFullError, TriptychError
from ...accounts.errors import BudgetError, ForbiddenError, KeysUnknownError, RateLimitError, WrongKeyError
from ...endpoint import BodyTooLargeError, NotAcceptingError, Refusal, WrongContentTypeError
from ...files.blobs import BlobError
from ...generation import ModelUnavailableError, UnknownModelError
from ...store.predictions import PredictionRecord
from ...store.store import StoreError
from .wire import UnreadableError, to_json

# Every code that is not the caller's fault in the form of a task, which is 400.
_STATUS = {
    "missingApiKey": 401, "invalidApiKey": 401, "insufficientCredits": 402, "permissionDenied": 403,
    "mediaNotFound": 404, "taskFailedOrNotFound": 404, "taskNotFound": 404, "taskCancelled": 404, "notFound": 404,
    "methodNotAllowed": 405, "payloadTooLarge": 413, "unsupportedMediaType": 415, "rateLimitExceeded": 429,
    "inferenceError": 500, "internalServerError": 500, "modelNotReady": 503, "serviceUnavailable": 503,
    "inferenceTimeout": 504,
}  # fmt: skip
# Those that are.
_WRONG = (
    "invalidRequest", "arrayTooSmall", "arrayTooLarge", "missingTaskType", "unsupportedTaskType", "missingTaskUUID",
    "invalidTaskUUID", "conflictTaskUUID", "invalidModel", "missingInputImage", "invalidInputImage", "downloadFailed",
    "invalidInputs", "invalidPrompt", "invalidPromptLength", "invalidDeliveryMethod", "invalidOutputType",
    "invalidOutputFormat", "invalidOutputQuality", "invalidTtl", "invalidWebhookURL", "invalidUploadEndpoint",
    "invalidIncludeCost", "invalidNumberResults", "unsupportedParameter", "missingImage", "invalidImage",
    "missingMedia", "invalidMedia", "invalidOperation", "invalidSearch", "invalidLimit", "invalidOffset",
    "invalidCategory", "invalidArchitecture", "invalidType",
)  # fmt: skip
CODES = (*_WRONG, *_STATUS)
# A prediction's failure, by its own code. Everything else is the model's.
_FAILURES = {
    "invalid_image_url": "invalidInputImage", "failed_to_download_image": "downloadFailed",
    "invalid_base64_image": "invalidInputImage", "empty_image_file": "invalidInputImage",
    "image_file_too_large": "invalidInputImage", "file_not_found": "invalidInputImage", "image": "invalidInputImage",
    "no_vision": "invalidModel", "unknown_model": "invalidModel", "context_overflow": "invalidPromptLength",
    "prompt": "invalidPrompt", "model_loading": "modelNotReady", "upstream_unavailable": "modelNotReady",
    "queue_full": "rateLimitExceeded", "insufficient_quota": "insufficientCredits",
    "forbidden": "permissionDenied", "internal": "internalServerError",
}  # fmt: skip
_ABOUT = {"invalidModel": "model", "invalidPromptLength": "prompt", "invalidPrompt": "prompt"}
_DOCUMENTATION = "/reference#group-runware"
# A value that is wrong is repeated up to here.
_MOST_SHOWN = 80


class TaskError(Exception):
    """Why a task came to nothing. `parameter` is the path of what is wrong and `type` what it should have been; `more`
    has what else is told, such as `min`, `max`, `default` or `allowedValues`. `retry_after` is in seconds.
    """

    def __init__(
        self,
        code: str,
        message: str,
        parameter: str | None = None,
        type: str | None = None,
        retry_after: float | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.parameter = parameter
        self.type = type
        self.retry_after = retry_after
        self.more = more
        # A failed task that is reported as it should be is a success over HTTP.
        self.status = 200 if "status" in more else _STATUS.get(code, 400)

    def told(self, base: str, task_type: str | None = None, task_uuid: str | None = None) -> dict[str, Any]:
        """The error of a task; `base` is where this server is, if that is known."""
        told: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.parameter is not None:
            told["parameter"] = self.parameter
        if self.type is not None:
            told["type"] = self.type
        told |= self.more
        if base:
            told["documentation"] = base + _DOCUMENTATION
        if task_type is not None:
            told["taskType"] = task_type
        if task_uuid is not None:
            told["taskUUID"] = task_uuid
        return told


def shown(value: Any) -> str:
    """A wrong value as messages have it."""
    text = value if isinstance(value, str) else to_json(value).decode()
    return repr(text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}...")


def wrong_key(given: bool, why: str = "") -> TaskError:
    """No key, or a wrong one. One client looks for exactly these codes."""
    if given:
        message = f"Invalid API key{f': {why}' if why else ''}."
        return TaskError("invalidApiKey", message, "apiKey", "string")
    message = (
        "An API key is needed: send it as `Authorization: Bearer KEY`, or first of all the task "
        '{"taskType": "authentication", "apiKey": "KEY"}.'
    )
    return TaskError("missingApiKey", message, "apiKey", "string")


def failure(record: PredictionRecord, image: str) -> TaskError:
    """Why a prediction came to nothing; `image` is where its task had the image."""
    if record.status == "canceled":
        return TaskError("taskCancelled", "The task was canceled.")
    code = _FAILURES.get(record.error_code or "", "inferenceError")
    parameter = image if code in ("invalidInputImage", "downloadFailed") else _ABOUT.get(code)
    message = (record.error or "it failed").removeprefix("image 1: ")
    return TaskError(code, sentence(message), parameter, None if parameter is None else "string")


def from_error(error: Exception) -> TaskError:
    """Any error in Runware's words."""
    if isinstance(error, TaskError):
        return error
    if isinstance(error, UnreadableError):
        return TaskError(error.code, str(error))
    if isinstance(error, WrongKeyError):
        return wrong_key(error.given, error.why)
    if isinstance(error, ForbiddenError):
        return TaskError("permissionDenied", sentence(str(error)))
    if isinstance(error, BudgetError):
        return TaskError("insufficientCredits", sentence(str(error)), retry_after=error.retry_after)
    if isinstance(error, RateLimitError):
        return TaskError("rateLimitExceeded", sentence(str(error)), retry_after=error.retry_after)
    if isinstance(error, KeysUnknownError):
        return TaskError("serviceUnavailable", "Keys cannot be looked up now.", retry_after=10)
    if isinstance(error, NotAcceptingError):
        return TaskError("serviceUnavailable", "The server is about to stop.", retry_after=5)
    if isinstance(error, StoreError | BlobError):
        return TaskError("serviceUnavailable", "What the server keeps cannot be reached now.", retry_after=10)
    if isinstance(error, BodyTooLargeError):
        return TaskError("payloadTooLarge", f"The body is over the limit of {error.most} bytes.")
    if isinstance(error, WrongContentTypeError):
        return TaskError("unsupportedMediaType", sentence(str(error)))
    if isinstance(error, UnknownModelError):
        return TaskError("invalidModel", str(error), "model", "string")
    if isinstance(error, ModelUnavailableError):
        return TaskError("modelNotReady", sentence(str(error)), retry_after=error.retry_after)
    if isinstance(error, QueueFullError):
        return TaskError("rateLimitExceeded", sentence(str(error)), retry_after=5)
    if isinstance(error, TriptychError):
        return TaskError("inferenceError", sentence(str(error)))
    return TaskError("internalServerError", "An internal error; the server's log has the details.")


def refusal(error: Exception, base: str = "") -> Refusal:
    """The answer to a request that failed as a whole."""
    told = from_error(error)
    task_type = "authentication" if told.status == 401 else None
    return Refusal(told.status, to_json(failed([told.told(base, task_type)])), told.code, headers(told))


def failed(errors: list[dict[str, Any]]) -> dict[str, Any]:
    """The body of an answer in which nothing succeeded. Some clients read the first error by itself only."""
    first = errors[0]
    return {"data": [], "errors": errors, "error": {"code": first["code"], "message": first["message"]}}


def headers(error: TaskError) -> dict[str, str]:
    """What goes beside an error."""
    found = {} if error.retry_after is None else {"retry-after": str(max(1, round(error.retry_after)))}
    return found | ({"www-authenticate": "Bearer"} if error.status == 401 else {})


def not_found(path: str) -> TaskError:
    return TaskError("notFound", f"There is no route {path}. Tasks go to /v1.")


def wrong_method(method: str, path: str) -> TaskError:
    return TaskError("methodNotAllowed", f"{path} does not take {method}; POST an array of tasks.")


def sentence(text: str) -> str:
    text = text or "it failed"
    return f"{text[0].upper()}{text[1:]}" + ("" if text.endswith(".") else ".")
