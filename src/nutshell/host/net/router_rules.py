"""A router's address translation as nftables text: a pure function of the router.

Source: nft(8); Network API v2.0, routers and floating IPs.
"""

from ipaddress import ip_interface

from nutshell.network.capability import Router

METADATA_PORT = 9697  # where the router's namespace listens for metadata requests sent to 169.254.169.254:80


def nat_text(router: Router, gateway_link: str) -> str:
    """One transaction that replaces the router's tables.

    A guest that calls a floating IP of its own router has its source translated too (to its own floating IP, else to
    the router's address): the answer must come back through the router even from a neighbour on the same subnet.
    """
    lines = [
        "add table ip nut",
        "delete table ip nut",
        "table ip nut {",
        " map inward { type ipv4_addr : ipv4_addr; }",
        " map outward { type ipv4_addr : ipv4_addr; }",
        " chain arriving { type nat hook prerouting priority -100; policy accept;",
        f'  iifname "qr*" ip daddr 169.254.169.254 tcp dport 80 redirect to :{METADATA_PORT}',
        "  dnat to ip daddr map @inward",
        " }",
        " chain own { type nat hook output priority -100; policy accept;",
        "  dnat to ip daddr map @inward",
        " }",
        " chain input { type filter hook input priority 0; policy accept;",
        f'  iifname != "qr*" tcp dport {METADATA_PORT} drop',
        " }",
        " chain leaving { type nat hook postrouting priority 100; policy accept;",
    ]
    address = _gateway_address(router)
    if router.gateway is not None:
        lines.append(
            f'  iifname != "{gateway_link}" oifname != "{gateway_link}" ct status dnat snat to ip saddr map @outward'
        )
        if address:
            lines.append(f'  iifname "qr*" oifname != "{gateway_link}" ct status dnat snat to {address}')
        lines.append(f'  oifname "{gateway_link}" snat to ip saddr map @outward')
        if router.snat and address:
            lines.append(f'  oifname "{gateway_link}" ip saddr != {address} snat to {address}')
    lines += [" }", "}"]
    outward: dict[str, str] = {}
    for outer, inner in {floating.floating_ip: floating.fixed_ip for floating in router.floating}.items():
        lines.append(f"add element ip nut inward {{ {outer} : {inner} }}")
        outward.setdefault(inner, outer)  # of several, a guest goes out by its first
    for inner, outer in outward.items():
        lines.append(f"add element ip nut outward {{ {inner} : {outer} }}")
    return "\n".join(lines) + "\n"


def _gateway_address(router: Router) -> str:
    addresses = router.gateway.addresses if router.gateway is not None else ()
    return next((str(ip) for text in addresses if (ip := ip_interface(text).ip).version == 4), "")
