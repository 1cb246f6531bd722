"""Finds one route among hundreds: a router that remembers which paths are none of its own.

The framework asks each route's regular expression in turn, and for routers within routers all of them again at each
level: up to a millisecond a request for 240 routes. A branch asks its routes once for each *shape* of a path, which is
the path with every segment that no route spells out replaced:

    /api/v1/devices/0f8fad5b-d9cb/tags  ->  api v1 devices * tags

Routes spell a segment out or leave it open as a whole, so paths of one shape are alike to all of them.
"""

from collections.abc import Iterable

from fastapi import APIRouter
from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

_Shape = tuple[str, ...]

_MOST_SHAPES = 4096
"""Remembered by one branch: whoever asks for paths of many shapes fills no memory, and is served as without."""


class Words:
    """Every segment that some route below `prefix` spells out."""

    def __init__(self, prefix: str) -> None:
        self._known = set(prefix.split("/"))
        self._scope_key = f"iotistic.path_shape:{prefix}"

    def learn(self, routes: Iterable[BaseRoute]) -> None:
        """Learn what routes spell out. Raises ValueError for a segment that is open in a part."""
        for context in iter_route_contexts(list(routes)):
            for segment in (context.path or "").split("/"):
                if "{" not in segment:
                    self._known.add(segment)
                elif not (segment.startswith("{") and segment.endswith("}")):
                    raise ValueError(f"{context.path}: a segment is spelled out or open as a whole")

    def shape_of(self, scope: Scope) -> _Shape:
        """Return the shape of a request's path, which is looked at once."""
        path: str = scope["path"]
        found: tuple[str, _Shape] | None = scope.get(self._scope_key)
        if found is None or found[0] != path:  # another one: the framework tries it with and without a slash
            known = self._known
            shape = scope["type"], *[one if one in known else "*" for one in path.split("/")]
            found = scope[self._scope_key] = path, shape
        return found[1]


class Branch(APIRouter):
    """Routers that get no further routes, as one among others that share `words`.

    `below` is the end of the prefix that they are included with; whoever includes the branch adds the rest. Where an
    inclusion has none, the framework makes every route below to see that no path is empty, and makes it again to serve.
    """

    def __init__(self, words: Words, *routers: APIRouter, below: str = "") -> None:
        super().__init__()
        for router in routers:
            self.include_router(router, prefix=below)
            if not isinstance(router, Branch):  # which has taught them
                # Not as they are below this one: the framework would make all of them anew to say so.
                words.learn(router.routes)
        self._words = words
        self._nothing_for: set[_Shape] = set()

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Say whether a route of this router takes the request."""
        shape = self._words.shape_of(scope)
        if shape in self._nothing_for:
            return Match.NONE, {}
        found = super().matches(scope)
        if found[0] is Match.NONE and len(self._nothing_for) < _MOST_SHAPES:
            self._nothing_for.add(shape)
        return found

    def _get_routes_version(self, seen: set[int] | None = None) -> int:  # noqa: ARG002  the framework's
        """Say that nothing has changed: the framework would ask every router below, at each level of each request.

        It is private to the framework; should that call it something else, only the time comes back.
        """
        return len(self.routes)
