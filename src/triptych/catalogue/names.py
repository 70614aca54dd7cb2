"""Names as people write them: one form for all spellings of a model's, a provider's or a route's name."""

from __future__ import annotations

import re

# Short names for the price lists everybody means, with their addresses.
KNOWN_LISTS = {
    "models.dev": "https://models.dev/api.json",
    "litellm": "https://raw.githubusercontent.com/BerriAI/litellm/main/model_prices_and_context_window.json",
}
_SEPARATORS = re.compile(r"[^a-z0-9]+")
_VERSION = re.compile(r"(^|-)v(?=\d)")
# Replicate's version hashes, revisions and Bedrock's `:1` say which build, not which model.
_PIN = re.compile(r"(@[0-9a-f]{7,40}|:[0-9a-f]{40,64}|:\d+)$")


def plain(name: str) -> str:
    """`LLaVA 1.6 Mistral 7B`, `llava-v1.6-mistral-7b` and `llava_1.6:mistral-7b` are one name."""
    return _VERSION.sub(r"\1", _SEPARATORS.sub("-", name.strip().lower()).strip("-"))


def spellings(name: str) -> list[str]:
    """The forms under which a name is looked up, the exact one first: as it is, without a pin, without an owner."""
    bare = _PIN.sub("", name.strip())
    tail = bare.rpartition("/")[2]
    return list(dict.fromkeys(form for form in map(plain, (name, bare, tail)) if form))
