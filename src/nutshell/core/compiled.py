"""SQL text of SQLAlchemy expressions, compiled once per shape.

Compiling costs several times what running a small statement does. SQLAlchemy gives each expression a cache key without
its literals (https://docs.sqlalchemy.org/en/latest/core/connections.html#sql-compilation-caching); here it is used
without an Engine, for our statements run on the raw cursor.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import visitors
from sqlalchemy.sql.compiler import SQLCompiler

Named = Callable[[str], Any]


@dataclass(frozen=True)
class _Shape:
    """An expression without its literals; two of one shape have one text."""

    key: Any
    dialect_name: str
    element: Any = field(compare=False)
    cache_key: Any = field(compare=False)
    dialect: sa.Dialect = field(compare=False)


@lru_cache(maxsize=20_000)
def _kept(shape: Any) -> SQLCompiler | None:
    """None for a text that depends on its values: an IN has as many placeholders as members."""
    made = _compiled(shape.element, shape.dialect, shape.cache_key)
    return None if made.post_compile_params else made


def _compiled(element: Any, dialect: sa.Dialect, cache_key: Any) -> SQLCompiler:
    for part in visitors.iterate(element):  # rendering an IN wants every value; named ones come afterwards
        if isinstance(part, sa.BindParameter):
            part.required = False
    made: SQLCompiler = element.compile(
        dialect=dialect, cache_key=cache_key, compile_kwargs={"render_postcompile": True}
    )
    return made


def text_of(element: Any, dialect: sa.Dialect, named: Mapping[str, Any] | Named | None = None) -> tuple[str, list[Any]]:
    """The text with placeholders, and the values in their order.

    `named` gives the values of parameters the expression only names (a mapping or a function of the name).
    """
    key = element._generate_cache_key()
    made = None
    if key is not None:
        made = _kept(_Shape(key.key, dialect.name, element, key, dialect))
    if made is None:
        made = _compiled(element, dialect, key)
    bound = made.construct_params(extracted_parameters=key.bindparams if key is not None else None, _check=False)
    if callable(named):
        given = {n: v for n in made.bind_names.values() if (v := named(n)) is not None}
    else:
        given = dict(named or {})
    bound = {**bound, **given}
    return made.string, [bound[n] for n in made.positiontup or ()]
