"""OpenAI's error object: which status, type and code each of our errors has."""

from __future__ import annotations

import re
from math import ceil
from typing import Any, TypeVar

import msgspec

from ....engine import errors
from ....replica.client import ReplicaLostError
from ...accounts.errors import BudgetError, ForbiddenError, KeysUnknownError, RateLimitError
from ...files.blobs import BlobError
from ...generation import ModelUnavailableError, NotSupportedError, UnknownModelError, UpstreamError
from ...service import NoVisionError, PictureError, TooManyImagesError
from ...store.store import StoreError

T = TypeVar("T")

_IMAGE_LABEL = re.compile(r"^images\[(\d+)\]: ")


class OpenAIError(Exception):
    """An answer that is an error. `param` is a path like `messages[0].content[1]`."""

    def __init__(
        self,
        message: str,
        param: str | None = None,
        code: str | None = None,
        status: int = 400,
        type: str = "invalid_request_error",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.status = status
        self.type = type
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """The error object, all four keys present."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def missing(param: str) -> OpenAIError:
    return OpenAIError(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def unsupported(param: str, why: str) -> OpenAIError:
    return OpenAIError(f"Unsupported parameter: '{param}' {why}", param, "unsupported_parameter")


def invalid(param: str | None, why: str) -> OpenAIError:
    return OpenAIError(why, param)


def read_body(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """A body as what `decoder` makes of it. Raises OpenAIError for one that is no JSON or has a wrong type."""
    try:
        return decoder.decode(body)
    except RecursionError:
        raise OpenAIError("The body is nested too deeply.") from None
    except UnicodeDecodeError:
        raise OpenAIError("The body is not valid JSON: it is not UTF-8.") from None
    except msgspec.DecodeError as error:
        raise _wrong(error) from None


def _wrong(error: msgspec.DecodeError) -> OpenAIError:
    """Names the place."""
    text = str(error)
    if isinstance(error, msgspec.ValidationError):
        what, _, where = text.partition(" - at `")
        path = where.rstrip("`").removeprefix("$").removeprefix(".").replace("[...]", "[]")
        named = f"Invalid type for '{path}': {what[0].lower()}{what[1:]}." if path else f"{what}."
        return OpenAIError(named, path or None)
    return OpenAIError(f"The body is not valid JSON: {text}.")


def from_error(
    error: Exception, image_params: list[str], messages: str = "messages", form: str = "response_format"
) -> OpenAIError:
    """Our own errors in OpenAI's words. `image_params` are the paths of the request's images in order; `messages` is
    what the prompt is called in this request, `form` what the demanded form of the text is called.
    """
    if isinstance(error, OpenAIError):
        return error
    if isinstance(error, PictureError):
        return _picture(error, image_params)
    text = str(error)
    if isinstance(error, NoVisionError):
        return OpenAIError(_sentence(text), image_params[0] if image_params else None, "unsupported_content")
    if isinstance(error, TooManyImagesError):
        return OpenAIError(_sentence(text), messages, "too_many_images")
    if isinstance(error, UnknownModelError):
        return OpenAIError(text, "model", "model_not_found", 404)
    if isinstance(error, NotSupportedError):
        return OpenAIError(_sentence(text), "model", "unsupported_model")
    if isinstance(error, ForbiddenError):
        return OpenAIError(_sentence(text), None, "forbidden", 403)
    if isinstance(error, BudgetError):  # their clients know it by this code, and would ask again without the header
        return OpenAIError(_sentence(text), None, error.code, 429, error.code, {"x-should-retry": "false"})
    if isinstance(error, RateLimitError):
        headers = {"retry-after": str(ceil(error.retry_after)), "retry-after-ms": str(ceil(error.retry_after * 1000))}
        return OpenAIError(_sentence(text), None, error.code, 429, "rate_limit_error", headers)
    if isinstance(error, KeysUnknownError):
        return _unavailable(text, "keys_unavailable", 10)
    if isinstance(error, UpstreamError):
        return OpenAIError(_sentence(text), None, "upstream_error", 502, "server_error", {"x-should-retry": "false"})
    if isinstance(error, ModelUnavailableError):
        return _unavailable(text, error.code, error.retry_after)
    if isinstance(error, ReplicaLostError):
        return _unavailable(text, "model_loading", 5)
    if isinstance(error, errors.QueueFullError):
        return OpenAIError(_sentence(text), None, "overloaded", 429, "rate_limit_error", {"retry-after": "2"})
    if isinstance(error, errors.EngineStoppedError):
        return _unavailable(text, "shutting_down", 5)
    if isinstance(error, errors.ContextOverflowError):
        return OpenAIError(_overflow(text), messages, "context_length_exceeded")
    if isinstance(error, errors.ImageError):
        return _image(text, image_params)
    if isinstance(error, errors.ConstraintError):
        return OpenAIError(f"Invalid schema for response_format: {text}", form, "invalid_json_schema")
    if isinstance(error, StoreError | BlobError):
        return _unavailable("What the server keeps cannot be reached now.", "storage_unavailable", 10)
    if isinstance(error, errors.ParameterError):
        return OpenAIError(_sentence(text), error.name or None)
    if isinstance(error, errors.PromptError):
        return OpenAIError(_sentence(text), messages)
    if isinstance(error, errors.CheckpointError | errors.MemoryBudgetError | errors.DownloadError):
        return OpenAIError(f"The model cannot be loaded: {text}", "model", "model_not_loaded", 503, "server_error",
                           {"retry-after": "30", "x-should-retry": "false"})  # fmt: skip
    known = isinstance(error, errors.TriptychError)
    message = text if known else "An internal error; the server's log has the details."
    return OpenAIError(message, None, "internal_error", 500, "server_error")


def _unavailable(text: str, code: str, retry_after: float) -> OpenAIError:
    headers = {"retry-after": str(round(min(60.0, max(1.0, retry_after))))}
    return OpenAIError(_sentence(text), None, code, 503, "server_error", headers)


def _overflow(text: str) -> str:
    """With the phrases that clients look for: litellm, langchain and others tell an overflow by its text."""
    if "maximum context length" in text:  # an upstream's own words
        return text
    numbers = re.findall(r"\d+", text)
    maximum = next((n for n in re.findall(r"context (?:is|of) (\d+)", text)), numbers[-1] if numbers else "?")
    return (
        f"This model's maximum context length is {maximum} tokens: {text}. The prompt is too long "
        "[context_length_exceeded]"
    )


def _image(text: str, image_params: list[str]) -> OpenAIError:
    label = _IMAGE_LABEL.match(text)
    param = None
    if label:
        number = int(label[1])
        param = image_params[number] if number < len(image_params) else None
        text = text[label.end() :]
    code, said = "image_parse_error", text.lower()  # an upstream begins its sentences with a capital
    if "not an image" in said:
        code = "invalid_image_format"
    elif "is empty" in said:
        code = "empty_image_file"
    elif "over the limit" in said or "too many pixels" in said:
        code = "image_file_too_large" if "bytes" in said else "image_too_large"
    return OpenAIError(_sentence(text), param, code)


def _picture(error: PictureError, image_params: list[str]) -> OpenAIError:
    param = image_params[error.number] if error.number < len(image_params) else None
    code = getattr(error.reason, "code", None) or "failed_to_download_image"
    return OpenAIError(_sentence(str(error)), param, code)


def _sentence(text: str) -> str:
    first = text.partition(" ")[0]
    if first.isalpha():  # not a path or a name
        text = text[:1].upper() + text[1:]
    return text + ("" if text.endswith(".") else ".")
