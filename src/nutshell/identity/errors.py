"""Refusals in the words of the Identity API (API reference v3, "Status codes")."""

from http import HTTPStatus
from typing import Any

from nutshell.core import errors


class Missing(errors.NotFound):
    """Could not find {kind}: {id}."""


class ForbiddenAction(errors.Forbidden):
    """You are not authorized to perform the requested action: {rule}."""


class Taken(errors.Conflict):
    """Conflict occurred attempting to store {kind} - {details}."""


class ImmutableUpdate(errors.Forbidden):
    """Unable to update immutable {kind} resource: `{id}. Set resource option "immutable" to false first."""


class ImmutableDelete(errors.Forbidden):
    """Unable to delete immutable {kind} resource: `{id}. Set resource option "immutable" to false first."""


class UnknownMethod(errors.Unauthorized):
    """Attempted to authenticate with an unsupported method."""


class PasswordExpired(errors.Unauthorized):
    """The password is expired and needs to be changed for user: {user_id}."""


class NoAssignment(errors.NotFound):
    """Could not find role assignment with role: {role}, user or group: {actor}, {place}."""


def render_error(fault: errors.Fault, request_id: str) -> Any:
    """{"error": {"code", "message", "title"}}, as Keystone."""
    title = HTTPStatus(fault.http).phrase
    return {"error": {"code": fault.http, "message": str(fault), "title": title}}
