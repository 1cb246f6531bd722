"""SQL kept in `.sql` files beside the code that uses it: `-- name: x`, a comment with its purpose, a statement."""

import re
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load_queries(package: str, file: str = "queries.sql") -> Mapping[str, str]:
    """Return the statements of a file in `package` by name. Raises ValueError for a name given twice."""
    text = files(package).joinpath(file).read_text(encoding="utf-8")
    _, *pieces = _NAME.split(text)
    names, bodies = pieces[::2], pieces[1::2]
    if len(set(names)) != len(names):
        raise ValueError(f"{package}/{file} names a query twice")
    return MappingProxyType({name: body.strip() for name, body in zip(names, bodies, strict=True)})
