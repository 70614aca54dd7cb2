"""Keyword arguments of the Python API, checked and turned into `SamplingParams` and `EngineConfig` options."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any

from .engine.errors import ParameterError
from .engine.request import Constraint, ConstraintKind, SamplingParams

_CONSTRAINTS: tuple[ConstraintKind, ...] = ("json_schema", "json_object", "regex", "choice")


def sampling_params(params: SamplingParams | None, options: dict[str, Any]) -> SamplingParams:
    """`params` (or the defaults) with `options` put over them.

    Besides the fields of `SamplingParams`, `json_schema=`, `regex=`, `choice=` and `json_object=True` stand for
    the `constraint` of that kind, and `stop` and `stop_token_ids` may be one value. Raises `ParameterError`.
    """
    values = dict(options)
    wanted = [kind for kind in _CONSTRAINTS if values.get(kind) not in (None, False)]
    if len(wanted) > 1 or (wanted and values.get("constraint") is not None):
        raise ParameterError("only one constraint can be asked for at a time", wanted[0])
    if wanted:
        values["constraint"] = Constraint(wanted[0], values[wanted[0]])
    for kind in _CONSTRAINTS:
        values.pop(kind, None)
    reject_unknown(values, (item.name for item in fields(SamplingParams)), "sampling parameter")
    for name, single in (("stop", str), ("stop_token_ids", int)):
        if name in values:
            value = () if values[name] is None else values[name]
            values[name] = (value,) if isinstance(value, single) else tuple(value)
    return replace(params or SamplingParams(), **values)


def reject_unknown(values: dict[str, Any], known: Iterable[str], what: str) -> None:
    """Raises `ParameterError` naming the first key of `values` that is not in `known`, and those that are."""
    names = list(known)
    for name in values:
        if name not in names:
            raise ParameterError(f"unknown {what} {name!r}; there are {', '.join(names)}", name)
