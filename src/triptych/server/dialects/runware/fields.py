"""The fields of one task: their types and limits, and the errors of those that are wrong. Null counts as absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .errors import TaskError, shown


class Fields:
    """Reads a task's fields by their paths, such as `inputs.image`."""

    def __init__(self, task: Mapping[str, Any]) -> None:
        self._task = task

    def get(self, path: str) -> Any:
        """The value at a path; None if there is none. Raises TaskError where something else than an object is on the
        way.
        """
        value: Any = self._task
        if "." not in path:
            return value.get(path)
        *way, last = path.split(".")
        for name in way:
            value = value.get(name)
            if value is None:
                return None
            if not isinstance(value, dict):
                raise invalid(name, "object", f"{name} must be an object.")
        return value.get(last)

    def text(self, path: str) -> str | None:
        """A string. Raises TaskError."""
        value = self.get(path)
        if value is not None and not isinstance(value, str):
            raise invalid(path, "string", f"{path} must be a string, not {shown(value)}.")
        return value

    def word(self, path: str, words: Sequence[str], default: str) -> str:
        """One of `words`, in any case. Raises TaskError."""
        value = self.text(path)
        if value is None:
            return default
        for word in words:
            if word.lower() == value.lower():
                return word
        named = ", ".join(words)
        message = f"{path} must be one of {named}, not {shown(value)}."
        raise invalid(path, "string", message, allowedValues=list(words), default=default)

    def flag(self, path: str) -> bool:
        """A truth value, false by default. Raises TaskError."""
        value = self.get(path)
        if value is not None and not isinstance(value, bool):
            raise invalid(path, "boolean", f"{path} must be true or false, not {shown(value)}.")
        return bool(value)

    def whole(self, path: str, least: int, most: int | None = None, default: int | None = None) -> int | None:
        """A whole number, also if it is written as 95.0. Raises TaskError."""
        value = self.get(path)
        if value is None:
            return default
        right = not isinstance(value, bool) and isinstance(value, int | float) and value == value // 1
        if right and value >= least and (most is None or value <= most):
            return int(value)
        limits: dict[str, Any] = {"min": least}
        if most is not None:
            limits["max"] = most
        if default is not None:
            limits["default"] = default
        within = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise invalid(path, "integer", f"{path} must be a whole number {within}, not {shown(value)}.", **limits)


def invalid(path: str, type: str, message: str, **more: Any) -> TaskError:
    """A value that is wrong; its code names it as Runware does: `ttl` is `invalidTtl`, `inputs.image` is
    `invalidInputImage`.
    """
    return TaskError(f"invalid{_name(path)}", message, path, type, **more)


def missing(path: str, type: str = "string") -> TaskError:
    return TaskError(f"missing{_name(path)}", f"{path} is missing.", path, type)


def _name(path: str) -> str:
    if path in ("inputs.image", "inputs.images", "inputImage", "inputImages", "inputs.video"):
        return "InputImage"
    name = path.rpartition(".")[2]
    return name[:1].upper() + name[1:]
