"""Faults: failures brought about on purpose, as rules that say what is struck, when, and how (docs/FAULTS.md)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from nutshell.core.config import setting
from nutshell.core.errors import BadRequest, Forbidden
from nutshell.core.render import Context
from nutshell.core.resource import Resource, field
from nutshell.core.service import Ask, Service
from nutshell.operator.service import operator


@dataclass(frozen=True)
class FaultsConfig:
    """Failures on purpose, for tests of clients and of the cloud itself."""

    table: ClassVar[str] = "faults"

    enabled: bool = setting(False, "Let administrators set fault rules (/nutshell/v1/faults, nutshell fault).")


class At(StrEnum):
    """What a rule strikes."""

    REQUEST = "request"  # an API request, once its caller is known and before anything is done
    OPERATION = "operation"  # what a loop carries out for a resource: a server's creation, a volume's growth
    DRIVER = "driver"  # a call of the hypervisor, network or volume driver
    HOST = "host"  # a simulated host


class Effect(StrEnum):
    """What happens to what is struck."""

    STATUS = "status"  # request: answered with `status` in the service's own error format
    DELAY = "delay"  # request, operation, driver: goes on after `delay_s`
    CUT = "cut"  # request: the connection ends without an answer
    CUT_BODY = "cut-body"  # request: the connection ends in the middle of the answer's body
    ERROR = "error"  # operation: fails for good, the resource goes to ERROR with `message`
    FAIL = "fail"  # driver: the call fails; it is tried again unless `final`
    HANG = "hang"  # driver, operation: stands still until the rule is cleared or `delay_s` passed, then fails
    LOST = "lost"  # host: does not answer until the rule is cleared; then it is back with its guests
    RESTART = "restart"  # host: goes down and comes back at once; its guests are lost


MEANS = {
    At.REQUEST: (Effect.STATUS, Effect.DELAY, Effect.CUT, Effect.CUT_BODY),
    At.OPERATION: (Effect.ERROR, Effect.DELAY, Effect.HANG),
    At.DRIVER: (Effect.FAIL, Effect.DELAY, Effect.HANG),
    At.HOST: (Effect.LOST, Effect.RESTART),
}
LONGEST_S = 86_400.0


class FaultRule(Resource, service="nutshell", one="fault", many="faults", visible="nutshell:faults:show",
                sort="created_at, id"):  # fmt: skip
    """One rule. A filter left out means any; of nth, every and probability at most one, none means each call."""

    at: At = field(default=At.REQUEST, write="create")
    of: str = field(default="", wire="service", write="create", max_length=64)
    operation: str = field(default="", write="create", max_length=255)
    resource_id: str = field(default="", write="create", max_length=64)
    resource_name: str = field(default="", write="create", max_length=255)
    project_id: str = field(default="", write="create", max_length=64)
    host: str = field(default="", write="create", max_length=255)
    nth: int = field(default=0, write="create", lo=0)
    every: int = field(default=0, write="create", lo=0)
    probability: float = field(default=0.0, write="create", lo=0.0, hi=1.0)
    seed: int = field(default=0, write="create")
    count: int = field(default=0, write="create", lo=0)  # strikes at most so often; 0: no limit (with nth: once)
    effect: Effect = field(write="create")
    status: int = field(default=500, write="create", lo=400, hi=599)
    message: str = field(default="A fault rule struck.", write="create", max_length=1000)
    retry_after: int | None = field(default=None, write="create", lo=0, hi=86_400)
    after: bool = field(default=False, write="create")  # request: it is carried out, only its answer is lost
    final: bool = field(default=False, write="create")  # driver: trying again cannot help
    delay_s: float = field(default=0.0, write="create", lo=0.0, hi=LONGEST_S)
    calls: int = field(default=0, hidden=True)
    hits: int = field(default=0, hidden=True)


class Counts(Protocol):
    """Where the present numbers are, and who acts on a rule that strikes at once."""

    enabled: bool

    def counted(self, rule: FaultRule) -> tuple[int, int]:
        """(matching calls, strikes)."""
        ...

    def refuse(self, rule: FaultRule) -> str:
        """Why this rule cannot be set in this cloud; "" when it can."""
        ...


operator.policy({f"nutshell:faults:{verb}": "rule:admin_api" for verb in ("list", "show", "create", "delete", "clear")})
operator.reads(FaultRule, list_rule="nutshell:faults:list", show_rule="nutshell:faults:show")


@FaultRule.shows("calls")
def calls(rule: FaultRule, ctx: Context) -> int:
    return ctx.ask.cloud.port(Counts).counted(rule)[0]


@FaultRule.shows("hits")
def hits(rule: FaultRule, ctx: Context) -> int:
    return ctx.ask.cloud.port(Counts).counted(rule)[1]


@FaultRule.shows("created_at")
def created_at(rule: FaultRule, ctx: Context) -> str:
    return ctx.ask.service.time(rule.created_at)


@operator.verb(FaultRule, "create", rule="nutshell:faults:create")
def create(ask: Ask[FaultRule]) -> FaultRule:
    book: Counts = ask.cloud.port(Counts)
    if not book.enabled:
        raise Forbidden(
            "Fault rules are off in this cloud. To switch them on: enabled = true under [faults] in nutshell.toml, or"
            " NUTSHELL_FAULTS_ENABLED=1, when it is started."
        )
    rule = FaultRule(id=ask.new_id(), **ask.given)
    why = wrong_with(rule, ask.cloud.services) or book.refuse(rule)
    if why:
        raise BadRequest(why)
    return ask.tx.add(rule)


@operator.verb(FaultRule, "delete", rule="nutshell:faults:delete")
def delete(ask: Ask[FaultRule]) -> None:
    ask.tx.drop(ask.target)


@operator.route("DELETE", "/faults", rule="nutshell:faults:clear", noun=FaultRule, verb="clear", http=204)
def clear(ask: Ask[Any]) -> None:
    for rule in ask.tx.find(FaultRule):
        ask.tx.drop(rule)


def wrong_with(rule: FaultRule, services: Any) -> str:
    """What is wrong with a rule; "" when it can be set."""
    if rule.effect not in MEANS[rule.at]:
        fit = ", ".join(MEANS[rule.at])
        return f"effect {rule.effect} cannot be brought about at {rule.at}; there: {fit}"
    if sum(map(bool, (rule.nth, rule.every, rule.probability))) > 1:
        return "of nth, every and probability only one can be said"
    if rule.effect is Effect.DELAY and not rule.delay_s:
        return "a delay needs delay_s"
    if rule.after and rule.effect not in (Effect.STATUS, Effect.CUT):
        return f"after means nothing for effect {rule.effect}"
    if rule.at is At.HOST:
        return "" if rule.host else "which host? Say host."
    if rule.host:
        return "host is for rules at host"
    if rule.at is At.DRIVER and (rule.resource_name or rule.project_id):
        return "driver calls know ids only: say resource_id"
    return _unknown(rule, {s.name: s for s in services if s.name not in ("system", "nutshell", "metadata")})


def _unknown(rule: FaultRule, services: dict[str, Service]) -> str:
    if rule.of and rule.of not in services:
        return f"there is no service {rule.of!r}; there are: {', '.join(sorted(services))}"
    if not rule.operation or rule.at is not At.REQUEST or "/" in rule.operation:
        return ""
    routes = [r for s in services.values() for r in s.routes if rule.of in ("", s.name)]
    known = {r.rule for r in routes} | {r.action for r in routes} | {r.method for r in routes}
    if rule.operation in known or "*" in rule.operation:
        return ""
    return (
        f"no request is called {rule.operation!r}: say a policy rule (os_compute_api:servers:create), an action's name"
        " (reboot), a method, or METHOD /path (POST /servers, GET /servers/*)"
    )
