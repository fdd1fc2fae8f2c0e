"""SQL text of SQLAlchemy expressions, compiled once per shape.

Compiling costs several times what running a small statement does. SQLAlchemy gives each expression a cache key without
its literals (https://docs.sqlalchemy.org/en/latest/core/connections.html#sql-compilation-caching); here it is used
without an Engine, for our statements run on the raw cursor.
"""

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import visitors
from sqlalchemy.sql.compiler import SQLCompiler

Named = Callable[[str], Any]
_KNOWN: dict[Any, SQLCompiler] = dict()  # bounded by the number of statements the code can make  # noqa: C408
MOST = 20_000


def text_of(element: Any, dialect: sa.Dialect, named: Mapping[str, Any] | Named | None = None) -> tuple[str, list[Any]]:
    """The text with placeholders, and the values in their order.

    `named` gives the values of parameters the expression only names (a mapping or a function of the name).
    """
    key = element._generate_cache_key()
    known = _KNOWN.get((dialect.name, key.key)) if key is not None else None
    if known is None:
        for part in visitors.iterate(element):  # rendering an IN wants every value; named ones come afterwards
            if isinstance(part, sa.BindParameter):
                part.required = False
        known = element.compile(dialect=dialect, cache_key=key, compile_kwargs={"render_postcompile": True})
        if key is not None and not known.post_compile_params and len(_KNOWN) < MOST:
            _KNOWN[(dialect.name, key.key)] = known
    bound = known.construct_params(extracted_parameters=key.bindparams if key is not None else None, _check=False)
    if callable(named):
        given = {n: named(n) for n in known.bind_names.values() if named(n) is not None}
    else:
        given = dict(named or {})
    bound = {**bound, **given}
    return known.string, [bound[n] for n in known.positiontup or ()]
