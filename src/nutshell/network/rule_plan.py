"""What a security group rule may say: protocols, port ranges, ICMP types, prefixes (Networking API v2.0,
"Security group rules"; protocol numbers: IANA)."""

from ipaddress import ip_address, ip_network
from typing import Any

from nutshell.network.errors import InvalidAttribute, SecurityGroupRuleRefused

PROTOCOLS = {
    "ah": 51,
    "dccp": 33,
    "egp": 8,
    "esp": 50,
    "gre": 47,
    "hopopt": 0,
    "icmp": 1,
    "igmp": 2,
    "ip": 0,
    "ipip": 4,
    "ipv6-encap": 41,
    "ipv6-frag": 44,
    "ipv6-icmp": 58,
    "icmpv6": 58,
    "ipv6-nonxt": 59,
    "ipv6-opts": 60,
    "ipv6-route": 43,
    "ospf": 89,
    "pgm": 113,
    "rsvp": 46,
    "sctp": 132,
    "tcp": 6,
    "udp": 17,
    "udplite": 136,
    "vrrp": 112,
}
ONLY_V6 = frozenset({"ipv6-encap", "ipv6-frag", "ipv6-icmp", "icmpv6", "ipv6-nonxt", "ipv6-opts", "ipv6-route"})
ONLY_V6_NUMBERS = frozenset(str(PROTOCOLS[n]) for n in ONLY_V6)
WITH_PORTS = {6: "TCP", 17: "UDP", 136: "UDPLITE", 132: "SCTP", 33: "DCCP"}
ANY = frozenset({"0", "any", None})
EVERYWHERE = frozenset({"0.0.0.0/0", "::/0", None})


def protocol_of(value: Any) -> str | None:
    """A protocol as the API keeps it: a name it knows in lower case, or a number as text. 400 otherwise."""
    if value is None:
        return None
    text = str(value).lower()
    if text in ("", "any"):
        return None
    if text in PROTOCOLS or (text.isdecimal() and int(text) <= 255):
        return text
    names = ", ".join(sorted(PROTOCOLS))
    raise SecurityGroupRuleRefused(
        "SecurityGroupRuleInvalidProtocol",
        f"Security group rule protocol {value} not supported. Only protocol values [{names}] and integer"
        " representations [0 to 255] are supported",
    )


def number_of(protocol: str | None) -> int | None:
    """The IANA number; None for any."""
    if protocol is None or protocol == "0":
        return None
    return PROTOCOLS[protocol] if protocol in PROTOCOLS else int(protocol)


def prefix_of(value: Any) -> str | None:
    """A remote prefix; a bare address is a host's. 400 when it is neither."""
    if value is None or value == "":
        return None
    try:
        if "/" not in str(value):
            found = ip_address(value)
            return f"{found}/{found.max_prefixlen}"
        ip_network(value, strict=False)
    except (ValueError, TypeError):
        raise InvalidAttribute(name="remote_ip_prefix", why=f"'{value}' is not a valid IP subnet") from None
    return str(value)


def normalized(prefix: str | None) -> str | None:
    return None if prefix is None else str(ip_network(prefix, strict=False))


def check_rule(given: dict[str, Any]) -> None:
    """Bring a rule's members into their usual form and check them against each other."""
    given["protocol"] = protocol_of(given.get("protocol"))
    given["remote_ip_prefix"] = prefix_of(given.get("remote_ip_prefix"))
    ethertype = given.setdefault("ethertype", "IPv4")
    if ethertype == "IPv6":
        given["protocol"] = {"icmp": "ipv6-icmp", "icmpv6": "ipv6-icmp", "1": "58"}.get(
            given["protocol"], given["protocol"]
        )
    low, high = given.get("port_range_min"), given.get("port_range_max")
    if (low, high) == (1, 65535):
        low = high = given["port_range_min"] = given["port_range_max"] = None
    _check_ports(given["protocol"], low, high)
    prefix = given["remote_ip_prefix"]
    if prefix is not None and (":" in prefix) != (ethertype == "IPv6"):
        raise SecurityGroupRuleRefused(
            "SecurityGroupRuleParameterConflict", f"Conflicting value ethertype {ethertype} for CIDR {prefix}"
        )
    if ethertype == "IPv4" and (given["protocol"] in ONLY_V6 or given["protocol"] in ONLY_V6_NUMBERS):
        raise SecurityGroupRuleRefused(
            "SecurityGroupEthertypeConflictWithProtocol",
            f"Invalid ethertype {ethertype} for protocol {given['protocol']}",
        )
    if prefix and given.get("remote_group_id"):
        raise SecurityGroupRuleRefused(
            "SecurityGroupMultipleRemoteEntites",
            "Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided",
        )


def _check_ports(protocol: str | None, low: int | None, high: int | None) -> None:
    if low is None and high is None:
        return
    number = number_of(protocol)
    if protocol is None:
        raise SecurityGroupRuleRefused(
            "SecurityGroupProtocolRequiredWithPorts", "Must also specify protocol if port range is given"
        )
    if number in WITH_PORTS:
        if low == 0 or high == 0:
            raise SecurityGroupRuleRefused("SecurityGroupInvalidPortValue", "Invalid value for port 0")
        for port in (low, high):
            if port is not None and not 0 <= port <= 65535:
                raise SecurityGroupRuleRefused("SecurityGroupInvalidPortValue", f"Invalid value for port {port}")
        if low is None or high is None or low > high:
            raise SecurityGroupRuleRefused(
                "SecurityGroupInvalidPortRange", "For TCP/UDP protocols, port_range_min must be <= port_range_max"
            )
        return
    if number in (1, 58):
        for name, what, value in (("port_range_min", "type", low), ("port_range_max", "code", high)):
            if value is not None and not 0 <= value <= 255:
                raise SecurityGroupRuleRefused(
                    "SecurityGroupInvalidIcmpValue",
                    f"Invalid value for ICMP {what} ({name}) {value}. It must be 0 to 255",
                )
        if low is None:
            raise SecurityGroupRuleRefused(
                "SecurityGroupMissingIcmpType",
                f"ICMP code (port-range-max) {high} is provided but ICMP type (port-range-min) is missing",
            )
        return
    raise SecurityGroupRuleRefused(
        "SecurityGroupInvalidProtocolForPort",
        f"Ports cannot be specified for protocol {protocol}. Ports are only supported for "
        + ", ".join(WITH_PORTS.values()),
    )


def same_key(rule: dict[str, Any]) -> tuple[Any, ...]:
    """Equal for two rules that say the same."""
    protocol = rule.get("protocol")
    prefix = rule.get("remote_ip_prefix")
    return (
        rule["direction"],
        rule.get("ethertype", "IPv4"),
        number_of(protocol) if protocol not in ANY else None,
        rule.get("port_range_min"),
        rule.get("port_range_max"),
        rule.get("remote_group_id"),
        None if prefix in EVERYWHERE else prefix,
    )
