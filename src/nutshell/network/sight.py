"""What a caller may see of network, for code that has no request at hand (other services, checks across nouns).

It is the same rule that listings and shows use (`visible=` of the noun), compiled once per kind of caller.
"""

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from nutshell.core.policy import Who
from nutshell.core.resource import Row
from nutshell.core.store import Tx, loader

if TYPE_CHECKING:
    from nutshell.core.cloud import Cloud


def seen(cloud: "Cloud", tx: Tx, who: Who, noun: type[Row], column: str, value: str) -> list[Row]:
    """The rows with this value that the caller may see."""
    from nutshell.core.listing import visible_where

    compiled: dict[Any, tuple[str, tuple[str, ...]]] = cloud.ports.setdefault(_Compiled, {})
    key = (noun, column, id(cloud.rules), who.roles, who.system, bool(who.project_id), bool(who.domain_id))
    found = compiled.get(key)
    if found is None:
        condition = visible_where(SimpleNamespace(who=who, cloud=cloud), noun)  # type: ignore[arg-type]
        done = condition.compile(dialect=tx.dialect.sql, compile_kwargs={"render_postcompile": True})
        names = tuple(done.positiontup or ())
        params = done.construct_params(dict.fromkeys(n for n in names if n.startswith("who_")))
        literal = {n: v for n, v in params.items() if not n.startswith("who_")}
        found = (str(done), names)
        compiled[key] = found
        compiled[(*key, "values")] = ("", tuple(literal.items()))  # type: ignore[arg-type]
    text, names = found
    literal = dict(compiled[(*key, "values")][1])  # type: ignore[arg-type]
    values = [who.credential(n[4:]) if n.startswith("who_") else literal[n] for n in names]
    load = loader(noun)
    rows = tx.sql(
        f'SELECT {load.columns} FROM {noun.table.name} WHERE "{column}" = ? AND ({text})', value, *values
    ).fetchall()
    return [load.row(r) for r in rows]


class _Compiled:
    """The key under which a cloud keeps compiled conditions."""
