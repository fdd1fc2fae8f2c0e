"""What the service is made of: versions, extensions and zones (Block Storage API v3)."""

from typing import Any

from nutshell.core.service import Answer, Ask
from nutshell.volume.service import volume
from nutshell.volume.tables import ZONE

EXTENSIONS = (
    ("AdminActions", "os-admin-actions", "2012-08-25"),
    ("AvailabilityZones", "os-availability-zone", "2013-06-27"),
    ("Backups", "backups", "2012-12-12"),
    ("Capabilities", "capabilities", "2015-08-31"),
    ("ExtendedServices", "os-extended-services", "2014-01-10"),
    ("ExtendedSnapshotAttributes", "os-extended-snapshot-attributes", "2012-06-19"),
    ("Hosts", "os-hosts", "2011-06-29"),
    ("Qos_specs_manage", "qos-specs", "2013-08-02"),
    ("QuotaClasses", "os-quota-class-sets", "2012-03-12"),
    ("Quotas", "os-quota-sets", "2011-08-08"),
    ("SchedulerHints", "OS-SCH-HNT", "2013-04-18"),
    ("Scheduler_stats", "scheduler-stats", "2014-09-07"),
    ("Services", "os-services", "2012-10-28"),
    ("SnapshotActions", "os-snapshot-actions", "2013-07-16"),
    ("TypesExtraSpecs", "os-types-extra-specs", "2011-08-24"),
    ("TypesManage", "os-types-manage", "2011-08-24"),
    ("UsedLimits", "os-used-limits", "2013-10-03"),
    ("VolumeActions", "os-volume-actions", "2012-05-31"),
    ("VolumeHostAttribute", "os-vol-host-attr", "2011-11-03"),
    ("VolumeImageMetadata", "os-vol-image-meta", "2012-12-07"),
    ("VolumeMigStatusAttribute", "os-vol-mig-status-attr", "2013-08-08"),
    ("VolumeTenantAttribute", "os-vol-tenant-attr", "2011-11-03"),
    ("VolumeTransfer", "os-volume-transfer", "2013-05-29"),
    ("VolumeTypeAccess", "os-volume-type-access", "2014-06-26"),
)


def _versions(ask: Ask[Any]) -> dict[str, Any]:
    links = [
        {"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"},
        {"rel": "self", "href": f"{ask.base}/volume/v3/"},
    ]
    media = {"base": "application/json", "type": "application/vnd.openstack.volume+json;version=3"}
    one = {
        "id": "v3.0",
        "status": "CURRENT",
        "version": "3.71",
        "min_version": "3.0",
        "updated": "2023-08-31T00:00:00Z",
        "links": links,
        "media-types": [media],
    }
    return {"versions": [one]}


@volume.route("GET", "/", public=True, prefixes=("",))
def list_versions(ask: Ask[Any]) -> Answer:
    return Answer(300, _versions(ask))


@volume.route("GET", "/v3", public=True, prefixes=("",))
def show_version(ask: Ask[Any]) -> Answer:
    return Answer(200, _versions(ask))


@volume.route("GET", "/extensions", rule="volume:get_all")
def list_extensions(ask: Ask[Any]) -> Answer:
    found = [
        {"name": name, "alias": alias, "description": name, "updated": f"{day}T00:00:00+00:00", "links": []}
        for name, alias, day in EXTENSIONS
    ]
    return Answer(200, {"extensions": found})


@volume.route("GET", "/os-availability-zone", rule="volume:get_all")
def list_zones(ask: Ask[Any]) -> Answer:
    return Answer(200, {"availabilityZoneInfo": [{"zoneName": ZONE, "zoneState": {"available": True}}]})
