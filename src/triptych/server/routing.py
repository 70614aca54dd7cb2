"""A router for many routes: it tries only those that a path can be of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from starlette._utils import get_route_path
from starlette.routing import BaseRoute, Match, Route, Router, WebSocketRoute
from starlette.types import Receive, Scope, Send


class IndexedRouter(Router):
    """Starlette's router with an index. To try some hundred routes one after the other costs more than most answers.

    As there, the first route that fits counts, and one that takes other methods only if none does.
    """

    def __init__(self, routes: Sequence[BaseRoute], **more: Any) -> None:
        super().__init__(routes, redirect_slashes=False, **more)
        # By whole path, and by first part and what is fixed of the path; with the place in the order.
        self._whole: dict[str, list[tuple[int, BaseRoute]]] = defaultdict(list)
        self._varying: dict[str, list[tuple[str, int, BaseRoute]]] = defaultdict(list)
        for place, route in enumerate(self.routes):
            path = route.path if isinstance(route, Route | WebSocketRoute) else "{"
            fixed, varies, _ = path.partition("{")
            if varies:
                first, more_parts, _ = fixed.removeprefix("/").partition("/")
                self._varying[first if more_parts else ""].append((fixed, place, route))
            else:
                self._whole[path].append((place, route))
        # Most requests are for one of these.
        self._known = {path: self._candidates(path) for path in self._whole}

    def candidates(self, path: str) -> list[BaseRoute]:
        """The routes that may fit `path`, in their order."""
        return self._known.get(path) or self._candidates(path)

    def _candidates(self, path: str) -> list[BaseRoute]:
        found = [*self._whole.get(path, ())]
        first = path[1:].partition("/")[0]
        for part in {"", first}:
            found += [(place, route) for fixed, place, route in self._varying.get(part, ()) if path.startswith(fixed)]
        return [route for _, route in sorted(found, key=lambda pair: pair[0])]

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await super().app(scope, receive, send)
            return
        scope.setdefault("router", self)
        fits: tuple[BaseRoute, Scope] | None = None
        for route in self.candidates(get_route_path(scope)):
            match, child = route.matches(scope)
            if match is Match.NONE or (match is Match.PARTIAL and fits is not None):
                continue
            fits = route, child
            if match is Match.FULL:
                break
        if fits is None:
            await self.default(scope, receive, send)
            return
        route, child = fits
        scope["route"] = route
        scope.update(child)
        await route.handle(scope, receive, send)
