"""Files and folders as WsgiDAV wants them (RFC 4918; quota properties: RFC 4331)."""

from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from wsgidav.dav_error import HTTP_CONFLICT, HTTP_FORBIDDEN, HTTP_LOCKED, HTTP_NOT_FOUND, DAVError
from wsgidav.dav_provider import DAVCollection, DAVNonCollection, DAVProvider

from nutshell.object_store.dav import properties
from nutshell.object_store.dav.share import Failure, Found, Place, Share, place_of
from nutshell.object_store.swift.messages import Response

QUOTAS = ("{DAV:}quota-used-bytes", "{DAV:}quota-available-bytes")
# What no name is made of, for what WsgiDAV would take for the end of a destination's path.
STAND_INS = {"?": "\ufdd0", "#": "\ufdd1", ";": "\ufdd2"}


def plain_path(path: str) -> str:
    for char, instead in STAND_INS.items():
        path = path.replace(instead, char)
    return path


def refusal(answer: Response) -> DAVError:
    """The store's no as WebDAV says it: a quota is 507, whoever is signed in is forbidden rather than unknown."""
    text = answer.body.decode("utf-8", "replace") if answer.headers.get("content-type") == "text/plain" else ""
    status = {401: HTTP_FORBIDDEN, 413: 507 if "quota" in text else 413}.get(answer.status, answer.status)
    return DAVError(status, text or None)


class Provider(DAVProvider):  # type: ignore[misc]
    """One for all callers: whose account it is stands in the request's `Share`."""

    def get_resource_inst(self, path: str, environ: dict[str, Any]) -> Any:
        clean = plain_path(path)
        place = place_of(clean)
        share: Share = environ["nutshell.share"]
        if not place.project:
            return Folder(clean, environ, Found(place, folder=True))
        try:
            found = share.find(place)
        except Failure as why:
            raise refusal(why.answer) from None
        return None if found is None else made(clean, environ, found)

    def ref_url_to_path(self, ref_url: str) -> str:
        return str(super().ref_url_to_path(ref_url))


def made(path: str, environ: dict[str, Any], found: Found) -> Any:
    return (Folder if found.folder else File)(path, environ, found)


def address(share: Share, place: Place, folder: bool) -> str:
    """One for each thing, however its project is called: what locks are kept under."""
    parts = [share.request.account, place.container, *place.name.split("/")] if place.project else []
    return quote("/" + "/".join(p for p in parts if p) + ("/" if folder and place.project else ""))


def shown_name(name: str) -> str:
    """Without what XML cannot hold."""
    return "".join(c if c >= " " and c not in "\ufffe\uffff" else "\ufffd" for c in name)


def get_value(node: Any, name: str, otherwise: Any) -> Any:
    """A property: ours, or what WsgiDAV makes of the rest."""
    share: Share = node.environ["nutshell.share"]
    if name == "{DAV:}getetag" and node.get_etag():
        return f'"{node.get_etag()}"'
    if name in QUOTAS:
        value = quota_of(share, node.found)[QUOTAS.index(name)]
        if value is None:
            raise DAVError(HTTP_NOT_FOUND)
        return str(value)
    if not name.startswith("{DAV:}"):
        text = properties.read(share, node.found).get(name)
        if text is None:
            raise DAVError(HTTP_NOT_FOUND)
        return ElementTree.fromstring(text)  # noqa: S314 - what this process wrote itself
    return otherwise(name)


def set_value(node: Any, name: str, value: Any, dry_run: bool) -> None:
    if name.startswith("{DAV:}") or not node.found.place.container:
        raise DAVError(HTTP_FORBIDDEN)
    share: Share = node.environ["nutshell.share"]
    text = None if value is None else ElementTree.tostring(value, encoding="unicode")
    try:
        properties.write(share, node.found, name, text, dry_run)
    except Failure as why:
        raise refusal(why.answer) from None


def names_of(node: Any, names: list[str]) -> list[str]:
    """Quotas are answered when they are asked for by name (RFC 4331, section 3)."""
    kept = [n for n in names if n not in QUOTAS]
    return kept + sorted(properties.read(node.environ["nutshell.share"], node.found))


def quota_of(share: Share, found: Found) -> tuple[int | None, int | None]:
    """(used, available) bytes of a container, or of the account."""
    known = share.request.notes.setdefault("quotas", {})
    place = found.place
    if place.container not in known:
        known[place.container] = _quota(share, Place(place.project, place.container))
    pair: tuple[int | None, int | None] = known[place.container]
    return pair


def _quota(share: Share, place: Place) -> tuple[int | None, int | None]:
    free: list[int] = []
    used: int | None = None
    for where, kind in ((place, "container"), (Place(place.project), "account")):
        if where.container == "" and kind == "container":
            continue
        try:
            headers = share.call("HEAD", where).headers
        except Failure:
            continue
        taken = int(headers.get(f"x-{kind}-bytes-used", "0"))
        used = taken if used is None else used
        limit = headers.get(f"x-{kind}-meta-quota-bytes", "")
        if limit.isdigit():
            free.append(max(0, int(limit) - taken))
    return used, min(free) if free else None


def failures(node: Any, refused: list[Response]) -> Any:
    """True, or what did not go, as WsgiDAV reports it."""
    return True if not refused else [(node.get_href(), refusal(refused[0]))]


def transfer(node: Any, dest_path: str, deep: bool, move: bool) -> Any:
    """COPY and MOVE. What is at the destination goes first (RFC 4918, section 9.8.4)."""
    share: Share = node.environ["nutshell.share"]
    target = place_of(plain_path(dest_path))
    if not target.container or (not target.name and not node.is_collection) or not node.found.place.container:
        raise DAVError(HTTP_FORBIDDEN, "The top holds containers only, and containers hold files.")
    try:
        there = share.find(target)
        if there is not None:
            refused = share.delete(there)
            if refused:
                return failures(node, refused)
            node.provider.lock_manager.remove_all_locks_from_url(
                address(share, target, there.folder), recursive=there.folder != node.is_collection
            )
        node.environ["nutshell.created"] = there is None
        refused = share.copy(node.found, target, deep, move)
        if move and not refused:
            node.remove_all_locks(recursive=True)
            share.keep_folder(node.found.place.parent)
        return failures(node, refused)
    except Failure as why:
        raise refusal(why.answer) from None


def locked(node: Any, itself: bool = True) -> bool:
    """Whether it, or something in it, is locked: WsgiDAV then looks at each."""
    asked = {"include_root": itself, "include_children": node.is_collection, "token_only": True}
    return bool(node.provider.lock_manager.storage.get_lock_list(node.get_ref_url(), **asked))


def remove(node: Any) -> Any:
    share: Share = node.environ["nutshell.share"]
    if not node.found.place.container:
        raise DAVError(HTTP_FORBIDDEN, "A project's account is not deleted here.")
    try:
        refused = share.delete(node.found)
        if not refused:
            node.remove_all_locks(recursive=True)
            share.keep_folder(node.found.place.parent)
    except Failure as why:
        raise refusal(why.answer) from None
    return failures(node, refused)


class Folder(DAVCollection):  # type: ignore[misc]
    def __init__(self, path: str, environ: dict[str, Any], found: Found) -> None:
        super().__init__(path.rstrip("/") + "/", environ)  # the slash is how WsgiDAV knows a member's parent
        self.found = found

    def get_ref_url(self) -> str:
        return address(self.environ["nutshell.share"], self.found.place, True)

    def get_display_name(self) -> str:
        return shown_name(self.name)

    def get_last_modified(self) -> float | None:
        return self.found.modified

    def get_property_names(self, *, is_allprop: bool) -> list[str]:
        return names_of(self, super().get_property_names(is_allprop=is_allprop))

    def get_property_value(self, name: str) -> Any:
        return get_value(self, name, super().get_property_value)

    def set_property_value(self, name: str, value: Any, *, dry_run: bool = False) -> None:
        set_value(self, name, value, dry_run)

    def get_member_list(self) -> list[Any]:
        share: Share = self.environ["nutshell.share"]
        if not self.found.place.project:
            project = share.request.account.removeprefix("AUTH_")
            one = Found(Place(share.request.who.project_name or project), folder=True)
            return [made("/" + one.place.project, self.environ, one)] if project else []
        try:
            found = list(share.members(self.found.place))
        except Failure as why:
            raise refusal(why.answer) from None
        base = self.path.rstrip("/")
        cut = len(self.found.place.prefix)
        return [made(f"{base}/{(f.place.name[cut:] or f.place.container)}", self.environ, f) for f in found]

    def get_member_names(self) -> list[str]:
        return [m.name for m in self.get_member_list()]

    def create_empty_resource(self, name: str) -> Any:
        """For PUT, the file that its bytes make; for LOCK, one of no bytes."""
        share: Share = self.environ["nutshell.share"]
        place = place_of(f"{self.path.rstrip('/')}/{name}")
        if not place.name:
            raise DAVError(HTTP_CONFLICT, "The top holds containers only: put files into one of them.")
        file = File(f"{self.path.rstrip('/')}/{name}", self.environ, Found(place, folder=False))
        if self.environ["REQUEST_METHOD"] == "LOCK":
            try:
                share.call("PUT", place, headers={"content-length": "0"})
            except Failure as why:
                raise refusal(why.answer) from None
        return file

    def create_collection(self, name: str) -> None:
        place = place_of(f"{self.path.rstrip('/')}/{plain_path(name)}")
        if not place.container:
            raise DAVError(HTTP_FORBIDDEN, "Projects are identity's to make.")
        try:
            self.environ["nutshell.share"].make_folder(place)
        except Failure as why:
            raise refusal(why.answer) from None

    def handle_delete(self) -> Any:
        return False if locked(self) else remove(self)  # one after the other, where some may have to stay

    def delete(self) -> None:
        """After its members, where these are locked or not."""
        if locked(self, False):
            raise DAVError(HTTP_LOCKED)
        outcome = remove(self)
        if outcome is not True:
            raise outcome[0][1]

    def handle_copy(self, dest_path: str, *, depth_infinity: bool) -> Any:
        return transfer(self, dest_path, depth_infinity, False)

    def handle_move(self, dest_path: str) -> Any:
        return transfer(self, dest_path, True, True)


class Nothing:
    """Where WsgiDAV writes a body that has gone its own way already."""

    def write(self, data: bytes) -> None:
        raise AssertionError("the body came twice")

    def close(self) -> None:
        """Nothing to close."""


class File(DAVNonCollection):  # type: ignore[misc]
    def __init__(self, path: str, environ: dict[str, Any], found: Found) -> None:
        super().__init__(path, environ)
        self.found = found

    def get_ref_url(self) -> str:
        return address(self.environ["nutshell.share"], self.found.place, False)

    def get_display_name(self) -> str:
        return shown_name(self.name)

    def get_content_length(self) -> int:
        return self.found.size

    def get_content_type(self) -> str:
        return self.found.type or "application/octet-stream"

    def get_content(self) -> Any:
        raise AssertionError("files are read without WsgiDAV")

    def support_ranges(self) -> bool:
        return True

    def support_etag(self) -> bool:
        return True

    def get_etag(self) -> str | None:
        return self.found.etag or None

    def get_last_modified(self) -> float | None:
        return self.found.modified

    def get_property_names(self, *, is_allprop: bool) -> list[str]:
        return names_of(self, super().get_property_names(is_allprop=is_allprop))

    def get_property_value(self, name: str) -> Any:
        return get_value(self, name, super().get_property_value)

    def set_property_value(self, name: str, value: Any, *, dry_run: bool = False) -> None:
        set_value(self, name, value, dry_run)

    def begin_write(self, *, content_type: str | None = None) -> Nothing:
        """Takes in the whole body, from the socket to the disks without a stop here."""
        share: Share = self.environ["nutshell.share"]
        place = self.found.place
        if not place.name:
            raise DAVError(HTTP_FORBIDDEN)
        headers = {**self.environ["nutshell.upload"], **properties.kept(share, self.found)}
        try:
            answer = share.call("PUT", place, headers=headers, notes={"inside": True}, **self.environ["nutshell.body"])
        except Failure as why:
            raise refusal(why.answer) from None
        row = answer.row
        etag = row.etag if row is not None else answer.headers.get("etag", "")
        self.found = Found(place, False, row.size if row is not None else 0, etag.strip('"'))
        return Nothing()

    def handle_delete(self) -> Any:
        return False if locked(self) else remove(self)

    def delete(self) -> None:
        outcome = remove(self)
        if outcome is not True:
            raise outcome[0][1]

    def handle_copy(self, dest_path: str, *, depth_infinity: bool) -> Any:
        return transfer(self, dest_path, False, False)

    def handle_move(self, dest_path: str) -> Any:
        return transfer(self, dest_path, False, True)
