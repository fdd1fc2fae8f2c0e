"""What a port may be, checked without looking at anything else: MACs, address pairs, DHCP options.

Source: Networking API v2.0, "Ports", "Allowed address pairs" and "Extra DHCP options".
"""

import re
from ipaddress import ip_address, ip_network
from typing import Any

from nutshell.network import errors

MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
MOST_PAIRS = 10


def mac_of(name: str, value: Any) -> str:
    """A unicast MAC in canonical form, or 400."""
    text = str(value).strip().lower().replace("-", ":")
    if not MAC.fullmatch(text) or text == "00:00:00:00:00:00" or int(text[:2], 16) & 1:
        raise errors.InvalidAttribute(name=name, why=f"'{value}' is not a valid MAC address")
    return text


def check_pairs(given: Any, own_mac: str, secure: bool) -> list[dict[str, str]]:
    """[{"mac_address", "ip_address"}], the MAC filled in with the port's own."""
    if not given:
        return []
    if not isinstance(given, list):
        raise errors.InvalidAttribute(name="allowed_address_pairs", why="Allowed address pairs must be a list")
    if not secure:
        raise errors.AddressPairAndPortSecurityRequired()
    if len(given) > MOST_PAIRS:
        raise errors.AllowedAddressPairExhausted(limit=MOST_PAIRS)
    found: list[dict[str, str]] = []
    for pair in given:
        if not isinstance(pair, dict) or "ip_address" not in pair:
            raise errors.AllowedAddressPairsMissingIP()
        if unknown := set(pair) - {"ip_address", "mac_address"}:
            raise errors.InvalidAttribute(
                name="allowed_address_pairs", why=f"Unrecognized attribute(s) '{', '.join(sorted(unknown))}'"
            )
        one = {
            "mac_address": mac_of("allowed_address_pairs", pair["mac_address"]) if pair.get("mac_address") else own_mac,
            "ip_address": _address_or_prefix(pair["ip_address"]),
        }
        if one in found:
            raise errors.DuplicateAddressPairInRequest(mac=one["mac_address"], ip=one["ip_address"])
        found.append(one)
    return found


def _address_or_prefix(value: Any) -> str:
    try:
        return str(ip_network(value, strict=False)) if "/" in str(value) else str(ip_address(value))
    except (ValueError, TypeError):
        raise errors.InvalidAttribute(
            name="allowed_address_pairs", why=f"'{value}' is neither a valid IP address, nor is it a valid IP subnet"
        ) from None


def check_dhcp_opts(given: Any, held: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """[{"opt_name", "opt_value", "ip_version"}]; on update an option with no value is taken away."""
    found = {(o["opt_name"], o["ip_version"]): o for o in held or ()}
    for option in given or ():
        if not isinstance(option, dict) or not option.get("opt_name") or "opt_value" not in option:
            raise errors.InvalidAttribute(name="extra_dhcp_opts", why=f"Invalid data format for option: '{option}'")
        if unknown := set(option) - {"opt_name", "opt_value", "ip_version", "id"}:
            raise errors.InvalidAttribute(
                name="extra_dhcp_opts", why=f"Unrecognized attribute(s) '{', '.join(sorted(unknown))}'"
            )
        version = option.get("ip_version", 4)
        if version not in (4, 6, "4", "6"):
            raise errors.InvalidAttribute(name="extra_dhcp_opts", why=f"'{version}' is not in [4, 6]")
        key = (str(option["opt_name"]), int(version))
        if option["opt_value"] is None:
            found.pop(key, None)
        else:
            found[key] = {"opt_name": key[0], "opt_value": str(option["opt_value"]), "ip_version": key[1]}
    return list(found.values())
