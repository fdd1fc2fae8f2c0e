"""What a bucket may be called (S3 User Guide, "Bucket naming rules")."""

import ipaddress
import re

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?=[a-z0-9]))*[a-z0-9]")


def valid(name: str) -> bool:
    if not 3 <= len(name) <= 63 or NAME.fullmatch(name) is None or "-." in name:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return True
    return False
