"""The settings of the image service."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nutshell.core.config import ConfigError, setting
from nutshell.image.fetch import FetchRules, Network

METHODS = ("glance-direct", "web-download", "copy-image", "glance-download")
MIB = 1 << 20


@dataclass(frozen=True)
class ImageConfig:
    """The image service."""

    table: ClassVar[str] = "image"

    require_format_match: bool = setting(
        True,
        "Refuse data that is not what disk_format says. False: data without any format's sign may be declared as"
        " anything; what is unsafe is refused in any case.",
    )
    hashing_algorithm: str = setting(
        "sha512", "How images' `os_hash_value` is made, beside their MD5.", choices=("sha512", "sha384", "sha256")
    )
    gpt_safety_checks_nonfatal: list[str] = setting(
        make=list, doc='With "mbr" in it, raw disks may have partition tables that are not well formed.'
    )
    decompress: bool = setting(False, "Unpack imported images that are one gzip or zip file, before anything else.")
    decompress_max_mib: int = setting(
        1 << 20, "The largest image that unpacking may make, in MiB; its project's limit holds as well."
    )
    stores: list[str] = setting(
        make=lambda: ["file"],
        doc="Where images' data may be. NAME (one must be): the state directory; NAME=/directory; NAME=object-store:"
        " this cloud's; NAME=s3:BUCKET[/PREFIX]@https://HOST; NAME=http: images that stay at their web address.",
    )
    default_backend: str = setting("", "The store that is used where none is named; empty: the first.")
    store_weights: list[str] = setting(
        make=list, doc="NAME=NUMBER: an image in several stores is read from the heaviest."
    )
    segment_mib: int = setting(200, "Object stores get larger images in pieces of this size, in MiB.")
    s3_region: str = setting("us-east-1", "The region that requests to S3 stores are signed for.")
    s3_credentials: Path | None = setting(
        None,
        "File with the keys of S3 stores, as AWS's clients have it: a section with the store's name, or [default]."
        " Unset: what those clients would find.",
    )
    import_methods: list[str] = setting(make=lambda: list(METHODS), doc="The import methods that are offered.")
    show_locations: bool = setting(
        False, "Show `locations` and `direct_url` of images, and let them be changed as policy says."
    )
    secure_hash: bool = setting(True, "Read and hash the data of locations that are added.")
    web_schemes: list[str] = setting(make=lambda: ["http", "https"], doc="What web-download and web stores may use.")
    web_hosts: list[str] = setting(make=list, doc="Only these hosts are fetched from; empty: all that are not denied.")
    web_denied_hosts: list[str] = setting(make=list, doc="Hosts that are never fetched from.")
    web_ports: list[int] = setting(make=lambda: [80, 443], doc="Ports that are fetched from; empty: all not denied.")
    web_denied_ports: list[int] = setting(make=list, doc="Ports that are never fetched from.")
    web_networks: list[str] = setting(
        make=list,
        doc="Networks (10.1.0.0/16) that are fetched from although they are not global or are this machine's own.",
    )
    web_max_mib: int = setting(0, "Largest download, in MiB; 0: no limit but the project's.")
    web_max_s: int = setting(3600, "Longest download, in seconds.")
    convert_to: str = setting("", "Imported images are converted to this format.", choices=("", "qcow2", "raw"))
    inject: list[str] = setting(make=list, doc="NAME=VALUE: properties that imported images get.")
    inject_not_for: list[str] = setting(make=lambda: ["admin"], doc="Roles whose imports get no such properties.")
    cache_max_mib: int = setting(10240, "What the cache keeps when it is pruned, in MiB.")
    certificates: Path | None = setting(
        None, "Directory of PEM certificates (NAME.pem, or by its UUID) that images may be signed with."
    )
    trusted: Path | None = setting(
        None, "PEM file of authorities; signing certificates must be issued by one of them. Unset: none is asked for."
    )

    def fetch_rules(self) -> FetchRules:
        """The rules for addresses that users name. ConfigError."""
        networks: list[Network] = []
        for text in self.web_networks:
            try:
                networks.append(ipaddress.ip_network(text))
            except ValueError:
                raise ConfigError(f"image.web_networks: {text!r} is no network") from None
        return FetchRules(
            schemes=self.web_schemes,
            hosts=self.web_hosts,
            denied_hosts=self.web_denied_hosts,
            ports=self.web_ports,
            denied_ports=self.web_denied_ports,
            networks=networks,
            max_bytes=self.web_max_mib * MIB,
            max_s=float(self.web_max_s),
        )
