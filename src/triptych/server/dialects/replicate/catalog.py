"""The served models as Replicate's callers know them: by owner and name, and by version."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property

from ...backend import Backend
from ...generation import UnknownModelError
from ...names import OWNER, has_owner, with_owner
from ...router import Router
from .errors import ProblemError
from .family import Family, family_of
from .published import PINNED

_ID = re.compile(r"[0-9a-f]{64}")
# What careless programs put where a version may be.
_LATEST = ("latest", "undefined", "null")
_FORMS = "a version id of 64 hexadecimal digits, owner/name:<version id>, or owner/name"


@dataclass(frozen=True, slots=True)
class Published:
    """A served model under one of its names; `version` is the one that is asked for."""

    owner: str
    name: str
    backend: Backend
    version: str

    @property
    def model(self) -> str:
        return f"{self.owner}/{self.name}"

    @property
    def family(self) -> Family:
        return family_of(self.backend)

    @property
    def versions(self) -> tuple[str, ...]:
        """All ids under this name, the newest first."""
        return (_version(self.model, self.backend), *PINNED.get(self.model.lower(), ()))

    @property
    def about(self) -> str:
        """One line on what really runs."""
        backend = self.backend
        named = [] if backend.name == self.model else [f"Answered here by {backend.name}."]
        runs = [] if backend.model == backend.name else [f"It runs {backend.model}."]
        note = [f"It is {backend.note}."] if backend.note else []
        return " ".join((*named, *runs, f"It {self.family.what}.", *note))


class Catalog:
    """Every name of a served model that has an owner, and the models without such a name under ours."""

    def __init__(self, router: Router) -> None:
        self._router = router

    @cached_property
    def all(self) -> list[Published]:
        """The models' own names first."""
        found: dict[str, Published] = {}
        for model in self._router.models:
            self._add(found, model.name, model)
        for model in self._router.models:
            for name in model.aliases:
                if has_owner(name) and self._router.find(name) is model:
                    self._add(found, name, model)
        return list(found.values())

    @staticmethod
    def _add(found: dict[str, Published], name: str, model: Backend) -> None:
        name = with_owner(name)
        found.setdefault(name.lower(), _published(name, model))

    @cached_property
    def _by_name(self) -> dict[str, Published]:
        return {published.model.lower(): published for published in self.all}

    @cached_property
    def _by_version(self) -> dict[str, Published]:
        found: dict[str, Published] = {}
        for published in self.all:
            for version in published.versions:
                found.setdefault(version, published)
        return found

    def find(self, name: str) -> Published:
        """The model of a name, as the caller wrote it, with its newest version. Raises UnknownModelError."""
        if (known := self._by_name.get(name.lower())) is not None and known.owner == OWNER:
            return known
        model = self._router.find(name or "?")
        return _published(name, model) if has_owner(name) else self._own(model)

    def _own(self, model: Backend) -> Published:
        """A model under its own name."""
        return next(published for published in self.all if published.backend is model)

    def version(self, version: str) -> Published | None:
        """The model that a version id belongs to, if it is served."""
        found = self._by_version.get(version)
        if found is None and _ID.fullmatch(version):
            try:
                found = self._own(self._router.find(version))
            except UnknownModelError:
                return None
        return None if found is None else Published(found.owner, found.name, found.backend, version)

    def asked(self, text: str) -> Published:
        """What `version` of a new prediction means, in each of its forms. Raises ProblemError."""
        if _ID.fullmatch(text.lower()):
            if (found := self.version(text.lower())) is None:
                raise _no_version(text)
            return found
        name, _, version = text.rpartition(":")
        try:
            if has_owner(name) and (_ID.fullmatch(version.lower()) or version in _LATEST):
                return self.of(name, version.lower())
            return self.find(text)
        except UnknownModelError:
            pass
        raise _no_version(text)

    def of(self, name: str, version: str) -> Published:
        """A version under a name, which may be any if nothing is served under it: clients that pin a version send only
        the id when they create. Raises ProblemError, UnknownModelError.
        """
        if version in _LATEST:
            return self.find(name)
        found = self.version(version)
        if found is None:
            raise _no_version(version)
        try:
            named = self.find(name)
        except UnknownModelError:
            return found
        if named.backend is not found.backend:
            raise ProblemError(
                422, f"The version {version[:12]} is one of {found.model}, not of {name}.",
                "Invalid version or not permitted",
            )  # fmt: skip
        return Published(named.owner, named.name, named.backend, version)


def _published(name: str, model: Backend) -> Published:
    owner, _, short = name.partition("/")
    return Published(owner, short, model, _version(name, model))


def _version(name: str, model: Backend) -> str:
    """The same for a name as long as the same runs under it."""
    return hashlib.sha256(f"triptych/version/1\0{name.lower()}\0{model.model}".encode()).hexdigest()


def _no_version(text: str) -> ProblemError:
    shown = text if len(text) <= 100 else f"{text[:100]}..."
    return ProblemError(
        422,
        "The specified version does not exist (or perhaps you don't have permission to use it?): "
        f"{shown!r}. `version` takes {_FORMS}. GET /v1/models lists what is served here.",
        "Invalid version or not permitted",
    )
