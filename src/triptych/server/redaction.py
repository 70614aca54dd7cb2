"""What may not be logged: prompts, answers, image bytes, data URIs, keys.

A field of text reaches a line only if its name is known to hold nothing of a caller's. What is left is searched for
everything that has the shape of an image or a key. `log_content` lets prompts and answers through, never the rest.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, MutableMapping
from types import TracebackType
from typing import Any

from ..engine import errors

# Fields of text that may be logged. Numbers, truth values and None may be logged under any name.
TEXT_FIELDS = frozenset({
    "event", "exception", "request_id", "dialect", "method", "route", "model", "finish_reason", "error",
    "replica", "phase", "state", "reason", "outcome", "host", "version",
})  # fmt: skip
# Set by the logging library itself.
_OURS = frozenset({"level", "logger", "timestamp"})
_KEY_FIELD = re.compile(r"key|token|secret|password|authorization|cookie", re.IGNORECASE)
# The longest texts: of a field, of an event, and of either when content is logged.
_LONGEST_FIELD, _LONGEST_EVENT, _LONGEST_CONTENT = 200, 2000, 20_000

_BASE64, _BREAK = r"[A-Za-z0-9+/_=%-]", r"(?:\s|\\[nr])+"
_ALWAYS: tuple[tuple[re.Pattern[str], str], ...] = (
    # Base64 may be broken into lines, in a data URI or without one.
    (re.compile(rf"\bdata:([\w.+-]+/[\w.+-]+)?(;[\w=.+-]+)*,[^\s\"'<>\\]*({_BREAK}{_BASE64}{{20,}})*", re.IGNORECASE),
     "data:(hidden)"),
    (re.compile(rf"{_BASE64}{{60,}}({_BREAK}{_BASE64}{{20,}})+|{_BASE64}{{200,}}"), "(hidden)"),
    (re.compile(r"\bb(['\"])(?:\\.|(?!\1).){8,}\1?"), "(bytes hidden)"),
    (re.compile(r"\b(bearer|basic)\s+[^\s\"',]+", re.IGNORECASE), r"\1 (hidden)"),
    (re.compile(r"(\b(?:api[_-]?key|authorization|password|secret)\b['\"]?\s*[:=]\s*['\"]?)(?!bearer|basic|\()[^\s'\",}]+",
                re.IGNORECASE), r"\1(hidden)"),
    (re.compile(r"\b(?:sk|pk|r8|hf|tp)[-_][A-Za-z0-9_-]{12,}"), "(key hidden)"),
    (re.compile(r"\b(https?|wss?)://[^\s/@\"'<>]+@", re.IGNORECASE), r"\1://"),
)  # fmt: skip
_WITHOUT_CONTENT: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b(https?|wss?)://([^\s/?#\"'<>]+)[/?#][^\s\"'<>]+", re.IGNORECASE), r"\1://\2/(hidden)"),
    # asyncio shows the exception of a task that nobody waited for.
    (re.compile(r"exception=(\w+)\(.*"), r"exception=\1(hidden)"),
)
# The last line of a traceback that a replica wrote.
_RAISED = re.compile(r"(^|: )((?:\w+\.)*([A-Z]\w*(?:Error|Exception|Warning|Exit|Interrupt))): (.+)")
_SYSTEM_ERROR = re.compile(r"\[Errno -?\d+\] [^:'\"]*")
# Errors whose messages hold nothing of a caller's: our own, which are written so, and those of the machine.
_OPEN_NAMES = frozenset(
    {name for name, value in vars(errors).items() if isinstance(value, type)}
    | {"MemoryError", "OutOfMemoryError", "ImportError", "ModuleNotFoundError"}
)
# What most fields look like: a word too short for an image, without the marks of a URL, and without the shape of a key.
_PLAIN = re.compile(r"(?!.*(?:sk|pk|r8|hf|tp)[-_])[\w./@+-]{0,100}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_LAST_FRAMES = 40


class Redaction:
    """A structlog processor, and the same rules for text.

    `secrets` are known keys, found wherever they stand; `content` is `log_content`.
    """

    def __init__(self, secrets: Iterable[str] = (), content: bool = False) -> None:
        self._content = content
        known = sorted(filter(None, set(secrets)), key=len, reverse=True)
        # A short key, such as a test's, is no reason to hide parts of words.
        pattern = "|".join(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])" for secret in known)
        self._secrets = re.compile(pattern) if known else None

    def __call__(self, logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Redact a line before it is rendered; `exc_info` becomes the text `exception`."""
        error = _error(event.pop("exc_info", None))
        for key, value in event.items():
            if value is None or isinstance(value, bool | int | float) or key in _OURS or key[0] == "_":
                continue
            event[key] = self._field(key, value)
        if error is not None:
            event["exception"] = self.exception(error)
        return event

    def _field(self, key: str, value: Any) -> str:
        if isinstance(value, bytes | bytearray | memoryview):
            return f"({len(value)} bytes hidden)"
        text = value if isinstance(value, str) else str(value)
        known = key in TEXT_FIELDS
        if not known and (not self._content or _KEY_FIELD.search(key)):
            return f"({len(text)} characters hidden)"
        longest = _LONGEST_EVENT if key == "event" else _LONGEST_FIELD
        return self.text(text, _LONGEST_CONTENT if self._content else longest)

    def text(self, text: str, longest: int = _LONGEST_EVENT) -> str:
        """`text` on one line, without keys and image data, and cut after `longest` characters."""
        if len(text) > 20 * longest:
            # No time for what is not shown. The last word may be part of a key.
            text = text[: 20 * longest].rpartition(" ")[0] or "(hidden)"
        if self._secrets is not None:
            text = self._secrets.sub("(key hidden)", text)
        if _PLAIN.fullmatch(text):
            return text
        for pattern, by in _ALWAYS:
            text = pattern.sub(by, text)
        if not self._content:
            for pattern, by in _WITHOUT_CONTENT:
                text = pattern.sub(by, text)
            text = _RAISED.sub(_hide_message, text)
        text = _CONTROL.sub(_escape, text)
        return text if len(text) <= longest else f"{text[:longest]}... ({len(text)} characters)"

    def exception(self, error: BaseException) -> str:
        """A traceback whose messages are redacted: of an unexpected error none is shown without `content`."""
        return "\n".join(self._traceback(error, set()))

    def _traceback(self, error: BaseException, seen: set[int]) -> list[str]:
        seen.add(id(error))
        before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        lines: list[str] = []
        if before is not None and id(before) not in seen:
            lines = [*self._traceback(before, seen), "which led to:"]
        lines.append("Traceback (most recent call last):")
        lines += [frame.rstrip() for frame in traceback.format_tb(error.__traceback__, -_LAST_FRAMES)]
        message = self._message(error)
        lines.append(f"{type(error).__name__}: {message}" if message else type(error).__name__)
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                lines += ["  | " + line for line in self._traceback(each, seen)]
        return lines

    def _message(self, error: BaseException) -> str:
        if self._content or isinstance(error, errors.TriptychError) or type(error).__name__ in _OPEN_NAMES:
            return self.text(str(error), _LONGEST_CONTENT if self._content else _LONGEST_EVENT)
        if isinstance(error, OSError) and error.errno is not None:
            # Without the file's name: a prompt that is taken for a path is what it would show.
            return f"[Errno {error.errno}] {self.text(str(error.strerror))}"
        return "(hidden)" if str(error) else ""


def _hide_message(match: re.Match[str]) -> str:
    before, path, name, message = match.groups()
    if name in _OPEN_NAMES:
        return match[0]
    system = _SYSTEM_ERROR.match(message)
    return f"{before}{path}: {system[0].rstrip() if system else '(hidden)'}"


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def _error(info: Any) -> BaseException | None:
    """The exception of `exc_info` in all its spellings."""
    if isinstance(info, BaseException):
        return info
    if isinstance(info, tuple):
        error: BaseException | None = info[1]
        return error
    if info:
        import sys

        current: tuple[type[BaseException] | None, BaseException | None, TracebackType | None] = sys.exc_info()
        return current[1]
    return None
