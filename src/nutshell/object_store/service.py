"""The service as the house knows it; its requests do not pass through the resource framework (swift/application.py)."""

from nutshell.core.service import Service

objects = Service(name="object_store", mount="/nutshell/v1/object-store")
objects.policy(
    {
        "object_store:reseller_admin": "role:admin or role:ResellerAdmin",
        "object_store:own": "role:member and project_id:%(project_id)s",
        "object_store:read": "role:reader and project_id:%(project_id)s",
        "object_store:devices": "role:admin",
        "object_store:read_any": "role:reader and system_scope:all",
    }
)
