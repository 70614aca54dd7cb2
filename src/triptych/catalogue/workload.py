"""What is to be paid for: tokens, pictures and captions; written as `input=1M,output=200K,captions=500`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from .errors import WorkloadError
from .facts import Model

_NUMBER = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,6}))?\s*([kmb]?)", re.IGNORECASE)
_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000}
_MOST = 10**15


@dataclass(frozen=True, slots=True)
class Workload:
    """`input` and `output` are tokens of text. `images` are pictures that go along with them; `captions` are tasks of
    one picture, `prompt_tokens` of question and `caption_tokens` of answer each. `calls` says in how many requests the
    tokens go, for providers that are paid by the call. `image_tokens` is what a picture costs (None: what the model's
    pictures cost at most).
    """

    input: int = 0
    output: int = 0
    images: int = 0
    captions: int = 0
    calls: int = 0
    prompt_tokens: int = 60
    caption_tokens: int = 100
    image_tokens: int | None = None

    @property
    def pictures(self) -> int:
        return self.images + self.captions

    @property
    def empty(self) -> bool:
        return not (self.input or self.output or self.pictures or self.calls)


# What "cheapest" may mean without a workload of one's own.
CRITERIA = {
    "input": Workload(input=1_000_000),
    "output": Workload(output=1_000_000),
    "blend": Workload(input=750_000, output=250_000),
    "caption": Workload(captions=1),
}
DEFAULT_TEXT, DEFAULT_SEEING = CRITERIA["blend"], Workload(captions=1_000)
FIELDS = tuple(field.name for field in fields(Workload))


def parse_workload(text: str) -> Workload:
    """From a command line: a criterion's name, or parts like `captions=500`. Raises WorkloadError."""
    if text.strip() in CRITERIA:
        return CRITERIA[text.strip()]
    values: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, sign, number = part.partition("=")
        if not sign:
            raise WorkloadError(f"{part[:40]!r} is no part of a workload: write for example input=1M,output=200K")
        if name.strip() in values:
            raise WorkloadError(f"{name.strip()} is given twice", name.strip())
        values[name.strip()] = number
    return read_workload(values)


def read_workload(values: Mapping[str, str]) -> Workload:
    """From fields as text. Raises WorkloadError for an unknown or wrong one, and if there is nothing to pay for."""
    read: dict[str, int] = {}
    for name, text in values.items():
        if name not in FIELDS:
            raise WorkloadError(f"a workload has no {name[:40]!r}; it has {', '.join(FIELDS)}", name)
        read[name] = _number(name, text)
    workload = Workload(**read)
    if workload.empty:
        raise WorkloadError("the workload is empty: say input, output, images, captions or calls")
    return workload


def _number(name: str, text: str) -> int:
    found = _NUMBER.fullmatch(text.strip())
    if found is None:
        raise WorkloadError(f"{name} must be a whole number, with K, M or B if need be, not {text[:40]!r}", name)
    whole, part, unit = found[1], found[2] or "", found[3].lower()
    scaled = int(whole + part) * _UNITS[unit]
    if scaled % 10 ** len(part) or scaled // 10 ** len(part) > _MOST:
        raise WorkloadError(f"{name} must be a whole number of at most {_MOST}, not {text[:40]!r}", name)
    return scaled // 10 ** len(part)


def default_workload(model: Model) -> Workload:
    """A thousand captions for a model that takes pictures, else a million tokens, three in for one out."""
    return DEFAULT_SEEING if takes_pictures(model) else DEFAULT_TEXT


def takes_pictures(model: Model) -> bool:
    return model.sees or model.image_tokens is not None


def settled(workload: Workload, model: Model) -> Workload:
    """With the tokens of a picture filled in, None if nobody told them. Raises WorkloadError for pictures that the
    model does not take.
    """
    if workload.pictures and not takes_pictures(model):
        raise WorkloadError(f"{model.name} takes no pictures: leave out images and captions", "images")
    if workload.image_tokens is None:
        return replace(workload, image_tokens=model.image_tokens)
    return workload


def assumptions(workload: Workload, model: Model) -> list[str]:
    """What was assumed to turn the workload into what providers are paid for."""
    told = []
    if workload.captions:
        prompt, answer = workload.prompt_tokens, workload.caption_tokens
        told.append(f"a caption is one picture, {prompt} tokens of prompt and {answer} of answer")
    if workload.pictures and workload.image_tokens is not None:
        stated = workload.image_tokens != model.image_tokens
        why = "as stated" if stated else f"{model.image_formula}, the most a picture can be"
        told.append(f"a picture is {workload.image_tokens:,} input tokens where tokens are paid ({why})")
    if workload.pictures and workload.image_tokens is None:
        told.append("how many tokens a picture is for this model is not known; state image_tokens to compare per token")
    told.append("no tokens are read from a cache, nothing is sent as a batch; no taxes, discounts or free allowances")
    return told
