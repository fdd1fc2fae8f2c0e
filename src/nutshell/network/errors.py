"""What network refuses, in the classes and sentences of its API.

Source: Networking API v2.0, "Faults" (the type names of NeutronError bodies).
"""

# ruff: noqa: E501 - a docstring is one sentence of the API, on one line

import re
from typing import Any

from nutshell.core import errors
from nutshell.core.errors import Fault


class NetworkNotFound(errors.NotFound):
    """Network {id} could not be found."""


class SubnetNotFound(errors.NotFound):
    """Subnet {id} could not be found."""


class PortNotFound(errors.NotFound):
    """Port {id} could not be found."""


class RouterNotFound(errors.NotFound):
    """Router {id} could not be found"""


class FloatingIPNotFound(errors.NotFound):
    """Floating IP {id} could not be found"""


class SecurityGroupNotFound(errors.NotFound):
    """Security group {id} does not exist"""


class SecurityGroupRuleNotFound(errors.NotFound):
    """Security group rule {id} does not exist"""


class RbacPolicyNotFound(errors.NotFound):
    """RBAC policy with ID {id} not found"""


class AgentNotFound(errors.NotFound):
    """Agent {id} could not be found."""


class NetworkHostedByDHCPAgent(errors.Conflict):
    """The network {network_id} has been already hosted by the DHCP Agent {agent_id}."""


class NetworkNotHostedByDhcpAgent(errors.Conflict):
    """The network {network_id} is not hosted by the DHCP agent {agent_id}."""


class InvalidDHCPAgent(errors.NotFound):
    """Agent {id} is not a valid DHCP Agent or has been disabled"""


class InvalidL3Agent(errors.NotFound):
    """Agent {id} is not a valid L3 Agent or has been disabled"""


class RouterHostedByL3Agent(errors.Conflict):
    """The router {router_id} is already hosted by the L3 Agent {agent_id}."""


class RouterNotHostedByL3Agent(errors.Conflict):
    """The router {router_id} is not hosted by L3 agent {agent_id}."""


class AvailabilityZoneNotFound(errors.NotFound):
    """AvailabilityZone {zone} could not be found."""


class ExtensionNotFound(errors.NotFound):
    """Extension with alias {id} does not exist"""

    code = "HTTPNotFound"


class TagResourceNotFound(errors.NotFound):
    """Resource {resource} {id} could not be found."""


class TagNotFound(errors.NotFound):
    """Tag {tag} could not be found."""


class InvalidInput(errors.BadRequest):
    """Invalid input for operation: {why}."""


class InvalidAttribute(errors.BadRequest):
    """Invalid input for {name}. Reason: {why}."""

    code = "HTTPBadRequest"


class NetworkInUse(errors.Conflict):
    """Unable to complete operation on network {id}. {why}."""


class SubnetInUse(errors.Conflict):
    """Unable to complete operation on subnet {id}: {why}."""


class PortInUse(errors.Conflict):
    """Unable to complete operation on port {id} for network {network_id}. Port already has an attached device {device_id}."""


class ServicePortInUse(errors.Conflict):
    """Port {id} cannot be deleted directly via the port API: {why}."""


class PortBound(errors.Conflict):
    """Unable to complete operation on port {id}, port is already bound, port type: bridge, old_mac {old}, new_mac {new}."""


class MacAddressInUse(errors.Conflict):
    """Unable to complete operation for network {network_id}. The mac address {mac} is in use."""


class IpAddressAlreadyAllocated(errors.Conflict):
    """IP address {ip} already allocated in subnet {subnet_id}"""


class IpAddressGenerationFailure(errors.Conflict):
    """No more IP addresses available on network {network_id}."""


class InvalidIpForNetwork(errors.BadRequest):
    """IP address {ip} is not a valid IP for any of the subnets on the specified network."""


class InvalidIpForSubnet(errors.BadRequest):
    """IP address {ip} is not a valid IP for the specified subnet."""


class AllocationOnAutoAddressSubnet(errors.BadRequest):
    """Invalid input for operation: IPv6 address {ip} cannot be directly assigned to a port on subnet {subnet_id} as the subnet is configured for automatic addresses."""


class ExternalIpAddressExhausted(errors.BadRequest):
    """Unable to find any IP address on external network {network_id}."""


class InvalidAllocationPool(errors.BadRequest):
    """The allocation pool {pool} is not valid."""


class OutOfBoundsAllocationPool(errors.BadRequest):
    """The allocation pool {pool} spans beyond the subnet cidr {cidr}."""


class OverlappingAllocationPools(errors.Conflict):
    """Found overlapping allocation pools: {first} {second} for subnet {cidr}."""


class GatewayConflictWithAllocationPools(errors.Conflict):
    """Gateway ip {ip} conflicts with allocation pool {pool}."""


class NetworkMTUSubnetConflict(errors.Conflict):
    """Invalid MTU {mtu} for network {id}: a subnet of its needs at least {least}."""


class GatewayIpInUse(errors.Conflict):
    """Current gateway ip {ip} already in use by port {port_id}. Unable to update."""


class HostRoutesExhausted(errors.BadRequest):
    """Unable to complete operation for {id}. The number of host routes exceeds the limit {limit}."""


class DNSNameServersExhausted(errors.BadRequest):
    """Unable to complete operation for {id}. The number of DNS nameservers exceeds the limit {limit}."""


class InvalidSharedSetting(errors.Conflict):
    """Unable to reconfigure sharing settings for network {id}. Multiple projects are using it."""


class ExternalNetworkInUse(errors.Conflict):
    """External network {id} cannot be updated to be made non-external, since it has existing gateway ports"""


class OverQuota(errors.Conflict):
    """Quota exceeded for resources: ['{name}']."""


class TunnelIdInUse(errors.Conflict):
    """Unable to create the network. The tunnel ID {segment} is in use."""


class SubnetPoolNotFound(errors.NotFound):
    """Subnet pool {id} could not be found."""


class AddressScopeNotFound(errors.NotFound):
    """Address scope {id} could not be found."""


class AddressScopeInUse(errors.Conflict):
    """Unable to complete operation on address scope {id}. There are one or more subnet pools in use on the address scope."""


class AddressScopeUpdateError(errors.BadRequest):
    """Unable to update address scope {id} : {why}."""


class AddressScopePrefixConflict(errors.Conflict):
    """Failed to associate address scope: subnetpools within an address scope must have unique prefixes."""


class IllegalSubnetPoolIpVersionAssociationToAddressScope(errors.BadRequest):
    """Illegal subnetpool association: address scope {id} is of IP version {version}."""


class IllegalSubnetPoolUpdate(errors.BadRequest):
    """Illegal subnetpool update : {why}."""


class SubnetPoolPrefixesInUse(errors.Conflict):
    """Subnets of the pool are in prefixes to be removed: {cidrs}."""


class EmptySubnetPoolPrefixList(errors.BadRequest):
    """Empty subnet pool prefix list."""


class PrefixVersionMismatch(errors.BadRequest):
    """Cannot mix IPv4 and IPv6 prefixes in a subnet pool."""


class UnsupportedMinSubnetPoolPrefix(errors.BadRequest):
    """Prefix '{prefix}' not supported in IPv{version} pool."""


class IllegalSubnetPoolPrefixBounds(errors.BadRequest):
    """Illegal prefix bounds: {name}={length}, {other}={other_length}."""


class IllegalSubnetPoolPrefixUpdate(errors.BadRequest):
    """Illegal update to prefixes: {why}."""


class SubnetPoolDeleteError(errors.BadRequest):
    """Unable to delete subnet pool: {why}."""


class SubnetAllocationError(errors.Conflict):
    """Failed to allocate subnet: {why}."""


class MinPrefixSubnetAllocationError(errors.BadRequest):
    """Unable to allocate subnet with prefix length {length}, minimum allowed prefix is {limit}."""


class MaxPrefixSubnetAllocationError(errors.BadRequest):
    """Unable to allocate subnet with prefix length {length}, maximum allowed prefix is {limit}."""


class SubnetPoolQuotaExceeded(errors.Conflict):
    """Per-project subnet pool prefix quota exceeded."""


class NetworkSubnetPoolAffinityError(errors.BadRequest):
    """Subnets hosted on the same network must be allocated from the same subnet pool."""


class AllowedAddressPairsMissingIP(errors.BadRequest):
    """Invalid input for operation: AllowedAddressPair must contain ip_address."""


class DuplicateAddressPairInRequest(errors.BadRequest):
    """Invalid input for operation: Request contains duplicate address pair: mac_address {mac} ip_address {ip}.."""


class AllowedAddressPairExhausted(errors.BadRequest):
    """The number of allowed address pair exceeds the maximum {limit}."""


class AddressPairAndPortSecurityRequired(errors.Conflict):
    """Port Security must be enabled in order to have allowed address pairs on a port."""


class PortSecurityPortHasSecurityGroup(errors.Conflict):
    """Port has security group associated. Cannot disable port security or IP address until security group is removed."""


class PortSecurityAndIPRequiredForSecurityGroups(errors.BadRequest):
    """Invalid input for operation: Port security must be enabled and port must have an IP address in order to use security groups.."""


class SecurityGroupInUse(errors.Conflict):
    """Security Group {id} in use."""


class SecurityGroupsOfBothKinds(errors.Conflict):
    """A port cannot have both stateful and stateless security groups: {ids}."""


class SecurityGroupCannotRemoveDefault(errors.Conflict):
    """Insufficient rights for removing default security group."""


class SecurityGroupCannotUpdateDefault(errors.Conflict):
    """Updating default security group not allowed."""


class SecurityGroupDefaultAlreadyExists(errors.Conflict):
    """Default security group already exists."""


class SecurityGroupRuleExists(errors.Conflict):
    """Security group rule already exists. Rule id is {id}."""


class DuplicateSecurityGroupRuleInPost(errors.Conflict):
    """Duplicate Security Group Rule in POST."""


class SecurityGroupNotSingleGroupRules(errors.BadRequest):
    """Invalid input for operation: Only allowed to update rules for one security profile at a time."""


class SecurityGroupRuleRefused(errors.BadRequest):
    """Invalid input for operation: {why}."""

    def __init__(self, type_name: str, why: str) -> None:
        super().__init__(why, type_name=type_name)


class RouterInUse(errors.Conflict):
    """Router {id} {why}"""


class RouterInterfaceNotFound(errors.NotFound):
    """Router {id} does not have an interface with id {port_id}"""


class RouterInterfaceNotFoundForSubnet(errors.NotFound):
    """Router {id} has no interface on subnet {subnet_id}"""


class RouterInterfaceInUseByFloatingIP(errors.Conflict):
    """Router interface for subnet {subnet_id} on router {id} cannot be deleted, as it is required by one or more floating IPs."""


class RouterInterfaceInUseByRoute(errors.Conflict):
    """Router interface for subnet {subnet_id} on router {id} cannot be deleted, as it is required by one or more routes."""


class RouterExternalGatewayInUseByFloatingIp(errors.Conflict):
    """Gateway cannot be updated for router {id}, since a gateway to external network {network_id} is required by one or more floating IPs."""


class SubnetMismatchForPort(errors.BadRequest):
    """Subnet on port {port_id} does not match the requested subnet {subnet_id}."""


class InvalidRoutes(errors.BadRequest):
    """Invalid input for operation: Invalid format for routes: {routes}, {why}."""


class RoutesExhausted(errors.BadRequest):
    """Unable to complete operation for {id}. The number of routes exceeds the maximum {limit}."""


class BadResource(errors.BadRequest):
    """Bad {resource} request: {why}."""

    code = "BadRequest"


class ExternalGatewayForFloatingIPNotFound(errors.NotFound):
    """External network {network_id} is not reachable from subnet {subnet_id}.  Therefore, cannot associate Port {port_id} with a Floating IP."""


class FloatingIPPortAlreadyAssociated(errors.Conflict):
    """Cannot associate floating IP {ip} ({id}) with port {port_id} using fixed IP {fixed_ip}, as that fixed IP already has a floating IP on external network {network_id}."""


class RbacPolicyOnOthers(errors.BadRequest):
    """Invalid input for operation: Only admins can manipulate policies on objects they do not own."""

    code = "InvalidInput"


class DuplicateRbacPolicy(errors.Conflict):
    """An RBAC policy already exists with those values."""


class TrunkNotFound(errors.NotFound):
    """Trunk {id} could not be found."""


class SubPortNotFound(errors.NotFound):
    """SubPort {id} on trunk {trunk_id} could not be found."""


class TrunkPortInUse(errors.Conflict):
    """Port {id} is in use by another trunk."""


class ParentPortInUse(errors.Conflict):
    """Port {id} is currently in use and is not eligible for use as a parent port."""


class DuplicateSubPort(errors.Conflict):
    """segmentation_type {kind} and segmentation_id {number} already in use on trunk {trunk_id}."""


class SubPortMtuGreaterThanTrunkPortMtu(errors.Conflict):
    """MTU {mtu} of subport {id} cannot be greater than MTU {trunk_mtu} of trunk {trunk_id}."""


class PortInUseAsTrunkParent(errors.Conflict):
    """Port {id} is currently a parent port for trunk {trunk_id}."""


class PortInUseAsSubPort(errors.Conflict):
    """Port {id} is currently a subport for trunk {trunk_id}."""


class TrunkDisabled(errors.Conflict):
    """Trunk {id} is currently disabled."""


class RbacPolicyInUse(errors.Conflict):
    """RBAC policy on object {object_id} cannot be removed because other objects depend on it."""


class QuotaResourceUnknown(errors.NotFound):
    """Unknown quota resources ['{name}']."""


class QuotaBelowUsage(errors.BadRequest):
    """Bad quota request: the limits of {unders} would be below what is used; without check_limit they are set."""

    code = "BadRequest"


class ProjectQuotaNotFound(errors.NotFound):
    """Quota for project {id} could not be found."""


class RevisionNumberConstraintFailed(errors.PreconditionFailed):
    """Constrained to {wanted}, but current revision is {current}"""


class DeviceIDNotOwnedByProject(errors.Conflict):
    """The following device_id {device_id} is not owned by your project or matches another project router."""


NAMES = {
    "BadRequest": "HTTPBadRequest",
    "NotFound": "HTTPNotFound",
    "NoRoute": "HTTPNotFound",
    "Conflict": "HTTPConflict",
    "PolicyForbids": "PolicyNotAuthorized",
    "Forbidden": "HTTPForbidden",
    "MethodNotAllowed": "HTTPMethodNotAllowed",
    "QuotaExceeded": "OverQuota",
    "Unauthorized": "HTTPUnauthorized",
    "Fault": "HTTPInternalServerError",
}


def render(fault: Fault, request_id: str) -> Any:
    """{"NeutronError": {type, message, detail}}."""
    facts = fault.facts
    message = str(fault)
    if facts.get("unknown"):
        message = "Unrecognized attribute(s) '" + ", ".join(map(str, facts["unknown"])) + "'"  # type: ignore[call-overload]
    elif facts.get("missing"):
        message = f"Failed to parse request. Required attribute '{facts['missing']}' not specified"
    elif "reason" in facts and "field" in facts:
        message = f"Invalid input for {facts['field']}. Reason: '{facts.get('value')}': {facts['reason']}."
    elif "rule" in facts:
        message = f"(rule:{facts['rule']}) is disallowed by policy"
    name = str(facts.get("type_name") or fault.code or NAMES.get(type(fault).__name__, type(fault).__name__))
    return {"NeutronError": {"type": name, "message": re.sub(r"\.\.$", ".", message), "detail": ""}}
