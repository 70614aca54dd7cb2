"""What a caption's task says: its question, and how its answer is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...delivery.addresses import RefusedError
from .errors import TaskError, shown
from .fields import Fields, invalid

DEFAULT_PROMPT = "Describe this image in detail."


@dataclass(frozen=True, slots=True)
class Wish:
    """`acknowledge`: the answer is only that the task was taken; `wait`: it is waited for by the task's own word;
    where to tell of the caption; and whether its cost is wanted.
    """

    acknowledge: bool
    wait: bool
    cost: bool
    webhook: str | None
    upload: str | None


def read_wish(fields: Fields, check: Callable[[str], None]) -> Wish:
    """What is said beside the question. What is about files of images is checked, and then without effect: a text
    stands in the answer itself. `check` raises RefusedError for a URL to which nothing is ever sent. Raises TaskError.
    """
    method = fields.word("deliveryMethod", ("sync", "async"), "sync")
    fields.word("outputType", ("URL", "base64Data", "dataURI"), "URL")
    fields.word("outputFormat", ("JPG", "PNG", "WEBP"), "JPG")
    fields.whole("outputQuality", 20, 99, 95)
    fields.whole("ttl", 60)
    if fields.get("template") is not None:
        raise TaskError("unsupportedParameter", "template is not supported; use prompt.", "template", "string")
    if (fields.whole("numberResults", 1) or 1) > 1:
        raise TaskError("unsupportedParameter", "A caption has one result.", "numberResults", "integer")
    webhook, upload = _address(fields, "webhookURL", check), _address(fields, "uploadEndpoint", check)
    return Wish(
        acknowledge=method == "async" or webhook is not None,
        wait=fields.get("deliveryMethod") is not None and method == "sync",
        cost=fields.flag("includeCost"), webhook=webhook, upload=upload,
    )  # fmt: skip


def _address(fields: Fields, name: str, check: Callable[[str], None]) -> str | None:
    url = fields.text(name)
    if url is None:
        return None
    try:
        check(url)
    except RefusedError as error:
        raise invalid(name, "string", f"{name}: {error}.") from None
    return url


def read_prompt(fields: Fields) -> str:
    """What is asked. Some clients have no other place for it than beside the image, others send a list of lines. Raises
    TaskError.
    """
    place = "prompt" if fields.get("prompt") is not None else "inputs.prompt"
    value = fields.get(place)
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        value = "\n".join(value)
    if value is not None and not isinstance(value, str):
        raise invalid(place, "string", f"{place} must be a string, not {shown(value)}.")
    return value if value and value.strip() else DEFAULT_PROMPT
