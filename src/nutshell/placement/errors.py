"""How placement refuses: its machine-readable codes.

Source: Placement API guide, "Errors" (https://docs.openstack.org/placement/latest/contributor/api-ref-guideline.html).
"""

from nutshell.core.errors import BadRequest, Conflict, NotFound


class NoProvider(NotFound):
    """No resource provider with uuid {id} found"""


class NoSuch(NotFound):
    """{why}"""


class Changed(Conflict):
    """{why}"""

    code = "placement.concurrent_update"


class NameTaken(Conflict):
    """Conflicting resource provider {what} already exists."""

    code = "placement.duplicate_name"


class ProviderInUse(Conflict):
    """Unable to delete resource provider {id}: Resource provider has allocations."""

    code = "placement.resource_provider.inuse"


class ProviderIsParent(Conflict):
    """Unable to delete parent resource provider {id}: It has child resource providers."""

    code = "placement.resource_provider.cannot_delete_parent"


class InventoryInUse(Conflict):
    """Unable to delete inventory of class {name}: Inventory for '{name}' on resource provider '{id}' in use."""

    code = "placement.inventory.inuse"


class NoRoom(Conflict):
    """Unable to allocate inventory: {why}"""


class BadQuery(BadRequest):
    """{why}"""

    code = "placement.query.bad_value"
