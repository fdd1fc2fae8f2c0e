"""Inexact filters of Keystone's listings: name__contains=x, name__icontains=x, name__startswith=x …

Source: Identity API v3, "Filtering".
"""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from nutshell.core.resource import Resource
from nutshell.core.service import Ask


def _pattern(kind: str, text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return {"contains": f"%{escaped}%", "startswith": f"{escaped}%", "endswith": f"%{escaped}", "equals": escaped}[kind]


def _like(noun: type[Resource], column: str, kind: str, fold: bool) -> Callable[[Ask[Any], list[str]], Any]:
    def condition(ask: Ask[Any], given: list[str]) -> Any:
        text, found = given[-1], noun.c(column)
        if fold:
            return sa.func.lower(found).like(_pattern(kind, text.lower()), escape="\\")
        return found.like(_pattern(kind, text), escape="\\")

    return condition


def text_filters(noun: type[Resource], *columns: str) -> None:
    """Give a noun's listing the inexact filters on these columns; names starting with i ignore case."""
    for column in columns:
        for kind in ("contains", "startswith", "endswith", "equals"):
            noun.filters_by(f"{column}__{kind}")(_like(noun, column, kind, False))
            noun.filters_by(f"{column}__i{kind}")(_like(noun, column, kind, True))
