"""The rule language: checked on a row, and the same rule as a query."""

import pytest
import sqlalchemy as sa

from nutshell.core.policy import COMMON, Rules, Who, parse

TABLE = sa.Table(
    "t", sa.MetaData(), sa.Column("project_id", sa.Text), sa.Column("shared", sa.Boolean), sa.Column("user_id", sa.Text)
)
ROWS = [{"project_id": p, "shared": s, "user_id": u} for p in ("p", "q") for s in (True, False) for u in ("u", "v")]
CALLERS = [
    Who(user_id="u", project_id="p", roles=frozenset({"reader"})),
    Who(user_id="v", project_id="q", roles=frozenset({"member", "reader"})),
    Who(user_id="u", roles=frozenset({"admin"}), system=True),
    Who(user_id="w"),
]
TEXTS = [
    "@",
    "!",
    "",
    "role:Admin",
    "project_id:%(project_id)s",
    "role:reader and project_id:%(project_id)s",
    "rule:project_reader_or_admin or field:t:shared=True",
    "not (role:admin or role:member)",
    "user_id:%(user_id)s and not field:t:shared=True",
    "system_scope:all or 'u':%(user_id)s",
    "project_id:%(nothing)s",
    "rule:unknown",
    "True:%(shared)s",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_rule_selects_the_rows_it_allows(text: str) -> None:
    rules = Rules({**COMMON, "it": text})
    engine = sa.create_engine("sqlite://")
    with engine.begin() as c:
        TABLE.create(c)
        c.execute(TABLE.insert(), ROWS)
        for who in CALLERS:
            where = rules.rule("it").where(who, TABLE.c.get, rules)
            values = {f"who_{n}": who.credential(n) for n in ("project_id", "user_id", "system_scope")}
            used = {k: v for k, v in values.items() if k in where.compile().params}
            found = [dict(r._mapping) for r in c.execute(sa.select(TABLE).where(where), used)]
            assert found == [r for r in ROWS if rules.allows("it", who, r)], (text, who)


@pytest.mark.parametrize("text", ["role:a and", "(role:a", "role:a)", "admin", "role:a role:b", "or"])
def test_a_rule_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_overrides_replace_by_name() -> None:
    rules = Rules({"a": "role:admin", "b": "rule:a"}, {"a": "role:auditor"})
    assert rules.allows("b", Who(roles=frozenset({"auditor"})), {})
    assert not rules.allows("b", Who(roles=frozenset({"admin"})), {})
