"""The peer's configuration files: real OpenStack with fake back ends, as its own installation guides lay it out.

Sources: the installation guides of Keystone, Glance, Placement, Nova, Neutron and Cinder (docs.openstack.org).
"""

from pathlib import Path

# name: (port of its uwsgi socket, WSGI module, path on the one public port, service type)
APIS = {
    "keystone": (1, "keystone.wsgi.api", "/identity", "identity"),
    "glance": (2, "glance.wsgi.api", "/image", "image"),
    "placement": (3, "placement.wsgi.api", "/placement", "placement"),
    "nova": (4, "nova.wsgi.osapi_compute", "/compute", "compute"),
    "neutron": (5, "neutron.wsgi.api", "/networking", "network"),
    "cinder": (6, "cinder.wsgi.api", "/volume", "volume"),
}
ENDPOINTS = {"nova": "/compute/v2.1", "cinder": "/volume/v3/%(project_id)s"}
DATABASES = ("keystone", "glance", "placement", "nova_api", "nova_cell0", "nova", "neutron", "cinder")
PASSWORD = "peer-secret"  # a cloud on the loopback that lives as long as the measurement
APACHE_MODULES = "mpm_event authz_core proxy proxy_uwsgi"

NO_OP_DRIVER = '''"""Binds every port and does nothing: the network's own cost, without an agent's."""
from neutron_lib.plugins.ml2 import api


class NoOp(api.MechanismDriver):
    def initialize(self):
        pass

    def bind_port(self, context):
        for segment in context.segments_to_bind:
            context.set_binding(segment[api.ID], "ovs", {"port_filter": True}, status="ACTIVE")
            return
'''
NO_OP_SETUP = """from setuptools import setup

setup(
    name="peer-noop",
    version="1",
    py_modules=["peer_noop"],
    entry_points={"neutron.ml2.mechanism_drivers": ["peer_noop = peer_noop:NoOp"]},
)
"""


class Layout:
    """Where everything of the peer lies, and its ports from `port` on."""

    def __init__(self, root: Path, port: int) -> None:
        self.root = root
        self.port = port  # public: Apache
        self.mariadb = port + 20
        self.rabbit = port + 21
        self.memcached = port + 22
        self.venv = root / "venv"
        self.etc = root / "etc"
        self.state = root / "state"
        self.log = root / "log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def database(self, name: str) -> str:
        return f"mysql+pymysql://root@127.0.0.1:{self.mariadb}/{name}?charset=utf8"

    def auth(self, service: str) -> str:
        """The section by which a service's middleware checks tokens, remembered in memcached as deployments do."""
        return f"""[keystone_authtoken]
www_authenticate_uri = {self.url}/identity
auth_url = {self.url}/identity
memcached_servers = 127.0.0.1:{self.memcached}
{self.login(service)}"""

    def login(self, service: str) -> str:
        return f"""auth_url = {self.url}/identity
auth_type = password
project_domain_name = Default
user_domain_name = Default
project_name = service
username = {service}
password = {PASSWORD}
region_name = RegionOne
"""

    def common(self) -> str:
        return f"""[DEFAULT]
transport_url = rabbit://guest:guest@127.0.0.1:{self.rabbit}/
state_path = {self.state}
log_dir = {self.log}
my_ip = 127.0.0.1
"""

    def oslo(self) -> str:
        return f"[oslo_concurrency]\nlock_path = {self.state}/locks\n"


def keystone(at: Layout) -> str:
    return f"""[DEFAULT]
log_dir = {at.log}
[database]
connection = {at.database("keystone")}
[cache]
enabled = true
backend = dogpile.cache.pymemcache
memcache_servers = 127.0.0.1:{at.memcached}
[token]
provider = fernet
[fernet_tokens]
key_repository = {at.state}/fernet
[credential]
key_repository = {at.state}/credential
"""


def glance(at: Layout) -> str:
    return f"""[DEFAULT]
log_dir = {at.log}
enabled_backends = files:file
worker_self_reference_url = {at.url}/image
[database]
connection = {at.database("glance")}
[glance_store]
default_backend = files
[files]
filesystem_store_datadir = {at.state}/images
[os_glance_staging_store]
filesystem_store_datadir = {at.state}/staging
[os_glance_tasks_store]
filesystem_store_datadir = {at.state}/tasks
[paste_deploy]
flavor = keystone
{at.auth("glance")}"""


def placement(at: Layout) -> str:
    return f"""[DEFAULT]
log_dir = {at.log}
[placement_database]
connection = {at.database("placement")}
[api]
auth_strategy = keystone
{at.auth("placement")}"""


def nova(at: Layout) -> str:
    return f"""{at.common()}compute_driver = fake.FakeDriver
vif_plugging_is_fatal = false
vif_plugging_timeout = 0
osapi_compute_workers = 2
[api_database]
connection = {at.database("nova_api")}
[database]
connection = {at.database("nova")}
[api]
auth_strategy = keystone
[conductor]
workers = 2
[scheduler]
workers = 2
discover_hosts_in_cells_interval = -1
[glance]
{at.login("glance")}[neutron]
{at.login("neutron")}[cinder]
{at.login("cinder")}os_region_name = RegionOne
[placement]
{at.login("placement")}[service_user]
send_service_user_token = true
{at.login("nova")}[vnc]
enabled = false
{at.oslo()}{at.auth("nova")}"""


def neutron(at: Layout) -> str:
    return f"""{at.common()}core_plugin = ml2
service_plugins = router
auth_strategy = keystone
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
api_paste_config = {at.etc}/neutron-api-paste.ini
rpc_workers = 1
[database]
connection = {at.database("neutron")}
[ml2]
type_drivers = flat,vlan,vxlan,local
tenant_network_types = vxlan
mechanism_drivers = peer_noop
extension_drivers = port_security
[ml2_type_vxlan]
vni_ranges = 1:100000
[nova]
{at.login("nova")}{at.oslo()}{at.auth("neutron")}"""


def cinder(at: Layout) -> str:
    return f"""{at.common()}auth_strategy = keystone
enabled_backends = fake
api_paste_config = {at.etc}/cinder-api-paste.ini
glance_api_servers = {at.url}/image
[database]
connection = {at.database("cinder")}
[fake]
volume_backend_name = fake
volume_driver = cinder.tests.fake_driver.FakeLoggingVolumeDriver
[nova]
{at.login("nova")}[service_user]
send_service_user_token = true
{at.login("cinder")}{at.oslo()}{at.auth("cinder")}"""


def apache(at: Layout) -> str:
    modules = "\n".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in APACHE_MODULES.split()
    )
    routes = "\n".join(
        f'ProxyPass "{path}" "uwsgi://127.0.0.1:{at.port + offset}" retry=0' for offset, _, path, _ in APIS.values()
    )
    return f"""ServerName 127.0.0.1
Listen 127.0.0.1:{at.port}
PidFile {at.state}/apache.pid
ErrorLog {at.log}/apache.log
User www-data
KeepAlive On
ProxyTimeout 1800
MaxKeepAliveRequests 0
{modules}
{routes}
"""


FILES = {"keystone": keystone, "glance-api": glance, "placement": placement, "nova": nova, "neutron": neutron}
FILES["cinder"] = cinder
