"""A service: its place on the port, its versions, its error format, and its routes.

A route is a verb of a noun, an action of a noun (POST …/action), or a plain handler. Each carries its policy rule; a
route without one (`rule=None`) must say `public=True`, else it does not register.
"""

import re
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from nutshell.core.clock import iso_seconds
from nutshell.core.errors import Fault
from nutshell.core.policy import Who
from nutshell.core.resource import Resource
from nutshell.core.schema import Body
from nutshell.core.store import Tx
from nutshell.core.versions import Span, Version, Versions

if t.TYPE_CHECKING:
    from nutshell.core.cloud import Cloud

N = t.TypeVar("N", bound=Resource)
Handler = Callable[..., t.Any]  # f(ask); f(ask, receive) where it streams; f(ask, receive, send) for a socket
PLURAL_LIMIT = 1000


@dataclass(frozen=True)
class Answer:
    """A whole HTTP answer, for what a plain return value cannot say. `body`: JSON-able, bytes, or None.

    `chunks` streams instead: an iterable of bytes, or an async one, sent after the transaction has ended; or, where
    `Ask.sends_files`, an open file with a Content-Length, sent from where it stands.
    """

    http: int = 200
    body: t.Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: t.Any = None


@dataclass
class Ask(t.Generic[N]):
    """One request: authenticated, authorised, validated. Handlers get this and nothing else."""

    who: Who
    tx: Tx
    cloud: "Cloud"
    service: "Service"
    route: "Route"
    method: str
    path: str
    params: Mapping[str, str]  # from the path
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]  # names in lower case
    base: str  # "https://host:port" as the client sees it
    request_id: str
    at: Version  # for the core's own use: handlers declare `since=`, they do not look
    token: str = ""
    source: str = ""  # the address that the request came from
    sends_files: bool = False  # the server can
    given: dict[str, t.Any] = field(default_factory=dict)  # the validated body
    body: t.Any = None  # the decoded JSON, for routes without a declared body
    raw: bytes = b""
    target: N = None  # type: ignore[assignment]  # set before handlers of routes with an id run
    prepared: t.Any = None  # what the route's `before` returned
    marks: list[tuple[str, float]] = field(default_factory=list)  # when which part was passed (time.perf_counter)

    @property
    def now(self) -> float:
        return self.tx.now

    def asked(self, name: str, default: str = "") -> str:
        """A query parameter's last value."""
        values = self.query.get(name)
        return values[-1] if values else default

    def flag(self, name: str) -> bool:
        """A boolean query parameter: present and not "false", "0", "no", "off"."""
        values = self.query.get(name)
        return bool(values) and values[-1].strip().lower() not in ("false", "0", "no", "off", "f", "n")  # type: ignore[index]

    @property
    def url(self) -> str:
        """The service's address for links, with its version prefix as this request used it."""
        return self.base + self.service.mount + self.route.prefix_used(self.params)

    def may(self, rule: str, target: Mapping[str, t.Any] | None = None) -> bool:
        """Whether policy lets the caller do this (to the target, else to something of the caller's own)."""
        return self.cloud.rules.allows(rule, self.who, own_target(self.who) if target is None else target)

    def must(self, rule: str, target: Mapping[str, t.Any] | None = None) -> None:
        """As `may`, or the service's 403 naming the rule."""
        if not self.may(rule, target):
            raise self.service.forbids(rule)

    def new_id(self) -> str:
        return self.cloud.clock.new_id()


def own_target(who: Who) -> dict[str, t.Any]:
    """What rules are checked against when a request creates something or has no row yet: the caller's own."""
    return {
        "project_id": who.project_id,
        "user_id": who.user_id,
        "domain_id": who.domain_id,
        "tenant_id": who.project_id,
    }


@dataclass(frozen=True)
class Route:
    """One method on one path, in a span of versions."""

    method: str
    path: str  # below the service's prefix: "/servers/{id}"
    handler: Handler
    rule: str | None
    http: int = 200
    noun: type[Resource] | None = None
    verb: str = ""
    body: type[Body] | type[Resource] | None = None
    wrap: str | None = None  # the member the body is under; None: the noun's `one`; "": the bare body
    span: Span = Span()
    view: str = "detail"
    action: str = ""  # the member of POST …/action that selects this route
    loads: bool = False  # fetch the row of {id} (or the noun's key) and check visibility
    writes: bool = True  # runs in a writing transaction
    slow: bool = False  # a reading route that may block (hashing): off the event loop
    before: Handler | None = None  # runs before the transaction, in a thread (hashing, driver reads)
    streams: bool = False  # an async handler: `async f(ask, receive) -> Answer`, no transaction held
    socket: bool = False  # a websocket: `async f(ask, receive, send)`
    public: bool = False  # no token asked
    prefix: str = ""
    against: Handler | None = None  # the policy target, when it is not the row

    def prefix_used(self, params: Mapping[str, str]) -> str:
        if "{" not in self.prefix:  # asked for each link of a list
            return self.prefix
        return re.sub(r"\{(\w+)\}", lambda m: params.get(m[1], ""), self.prefix)


def plain_error(fault: Fault, request_id: str) -> t.Any:
    return {"error": {"code": fault.http, "title": type(fault).__name__, "message": str(fault)}}


def plain_links(ask: Ask[t.Any], many: str, rows: Sequence[t.Any], more: bool) -> dict[str, t.Any]:
    return {}


@dataclass
class Service:
    """One service of the cloud.

    mount: where it hangs ("/compute"); prefixes: version roots, tried in order ("/v2.1", "/v2.1/{project_id}").
    """

    name: str
    mount: str
    prefixes: Sequence[str] = ("",)
    versions: Versions | None = None
    unversioned: Sequence[str] = ()  # prefixes of an older API that speaks only the lowest version
    error: Callable[[Fault, str], t.Any] = plain_error
    refuses: Callable[[Fault, Mapping[str, str]], "Answer"] | None = None  # instead of `error`, where Accept matters
    time: Callable[[float], str] = iso_seconds
    page_links: Callable[[Ask[t.Any], str, Sequence[t.Any], bool], dict[str, t.Any]] = plain_links
    max_limit: int | None = PLURAL_LIMIT
    default_limit: int | None = None
    lax: bool = False  # bodies take "5" for 5 and "true" for True
    update_method: str = "PUT"
    detail_route: bool = False  # listings have …/detail
    any_field_filters: bool = False  # every shown column may be filtered by, with several values (network)
    unknown_filter: str = "ignore"  # or "refuse"
    fields_query: bool = False  # ?fields=a&fields=b selects members (network)
    forbids: Callable[[str], Fault] = None  # type: ignore[assignment]
    not_found: Callable[[type[Resource], str], Fault] | None = None
    request_id_header: str = "x-openstack-request-id"
    headers: Mapping[str, str] = field(default_factory=dict)  # of every answer
    rules: dict[str, str] = field(default_factory=dict)  # the default policy, rule name → text
    routes: list[Route] = field(default_factory=list)
    seeds: list[Callable[["Cloud", Tx], None]] = field(default_factory=list)  # first start: what must exist
    default_sort: str = "created_at desc, id desc"
    default_sort_dir: str = "desc"
    scope: Callable[[Ask[t.Any], type[Resource]], Sequence[t.Any]] | None = None  # what listings show; else `visible`
    max_body: int = 10 * 2**20
    strict_slash: bool = False  # "/images/" is not "/images"
    admits: Callable[[Ask[t.Any]], None] | None = None  # looked at first of all (the project in the address)

    def __post_init__(self) -> None:
        if self.forbids is None:
            from nutshell.core.errors import PolicyForbids

            self.forbids = lambda rule: PolicyForbids(rule=rule)

    def policy(self, rules: Mapping[str, str]) -> None:
        """Declare default rules. A name may be declared once."""
        for name, text in rules.items():
            if self.rules.setdefault(name, text) != text:
                raise ValueError(f"policy rule {name} is declared twice")

    def route(
        self,
        method: str,
        path: str,
        *,
        rule: str | None = None,
        since: str = "",
        until: str = "",
        prefixes: Sequence[str] | None = None,
        **rest: t.Any,
    ) -> Callable[[Handler], Handler]:
        """A plain handler. See `Route` for the options."""

        def keep(f: Handler) -> Handler:
            if rule is None and not rest.get("public"):
                raise ValueError(f"{method} {path} declares no policy rule")
            rest.setdefault("writes", method not in ("GET", "HEAD"))
            for prefix in self.prefixes if prefixes is None else prefixes:
                self.routes.append(
                    Route(
                        method=method,
                        path=path,
                        handler=f,
                        rule=rule,
                        span=Span.of(since, until),
                        prefix=prefix,
                        **rest,
                    )
                )
            return f

        return keep

    def verb(
        self, noun: type[Resource], verb: str, *, rule: str, method: str = "", path: str = "", **rest: t.Any
    ) -> Callable[[Handler], Handler]:
        """A verb of a noun: "list", "show", "create", "update", "delete" have the usual method and path; another verb
        names its own (`path` is below the noun's, and has {id} where the row is meant)."""
        usual = {
            "list": ("GET", noun.path),
            "show": ("GET", noun.path + "/{id}"),
            "create": ("POST", noun.path),
            "update": (self.update_method, noun.path + "/{id}"),
            "delete": ("DELETE", noun.path + "/{id}"),
        }
        default_method, default_path = usual.get(verb, ("POST", noun.path))
        method, path = method or default_method, (noun.path + path if path else default_path)
        rest.setdefault("loads", "{id}" in path)
        rest.setdefault("http", {"create": 201, "delete": 204}.get(verb, 200))
        if verb in ("create", "update"):
            rest.setdefault("body", noun)
        return self.route(method, path, rule=rule, noun=noun, verb=verb, **rest)

    def action(
        self,
        noun: type[Resource],
        name: str,
        *,
        rule: str,
        body: type[Body] | None = None,
        http: int = 202,
        **rest: t.Any,
    ) -> Callable[[Handler], Handler]:
        """An action: POST <noun>/{id}/action with {name: body}. Without `body` any value is taken (usually null)."""
        return self.route(
            "POST",
            noun.path + "/{id}/action",
            rule=rule,
            noun=noun,
            verb=name,
            action=name,
            body=body,
            http=http,
            loads=True,
            **rest,
        )

    def reads(
        self, noun: type[Resource], *, list_rule: str, show_rule: str, detail_rule: str = "", **rest: t.Any
    ) -> None:
        """The usual list (brief and /detail where the service has both) and show of a noun."""
        from nutshell.core.listing import list_rows, show_row

        if self.detail_route:
            self.verb(noun, "list", rule=detail_rule or list_rule, path="/detail", view="detail", **rest)(list_rows)
            self.verb(noun, "list", rule=list_rule, view="brief", **rest)(list_rows)
        else:
            self.verb(noun, "list", rule=list_rule, **rest)(list_rows)
        self.verb(noun, "show", rule=show_rule, **rest)(show_row)
