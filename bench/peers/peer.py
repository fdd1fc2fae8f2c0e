"""Installs, starts and stops real OpenStack beside ours, so that both can be measured in one run (as root, Debian).

python bench/peers/peer.py install|start|stop|status [--dir DIR] [--port N]
Services from PyPI behind Apache and uWSGI with two workers each, MariaDB, RabbitMQ, memcached; compute with its fake
hypervisor, network with a mechanism driver that does nothing, volume with its fake driver. DIR/clouds.yaml is what a
client needs (cloud "peer").
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from settings import APIS, DATABASES, ENDPOINTS, FILES, NO_OP_DRIVER, NO_OP_SETUP, PASSWORD, Layout, apache

VERSIONS = [
    *("keystone==30.0.0", "glance==33.0.0", "openstack-placement==16.0.0", "nova==34.0.0", "neutron==29.0.0"),
    *("cinder==29.0.0", "uwsgi", "pymysql", "pymemcache", "python-memcached", "python-openstackclient"),
]
PACKAGES = ["mariadb-server", "rabbitmq-server", "memcached", "apache2-bin", "python3-venv", "gcc", "python3-dev"]
WORKERS = {  # what runs beside the APIs
    "nova-conductor": ["nova"],
    "nova-scheduler": ["nova"],
    "nova-compute": ["nova"],
    "neutron-rpc-server": ["neutron"],
    "neutron-periodic-workers": ["neutron"],
    "cinder-scheduler": ["cinder"],
    "cinder-volume": ["cinder"],
}


def run(*command: str | Path, **rest: object) -> str:
    """Its output; raises with its words when it fails."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **rest)  # type: ignore[call-overload]
    if done.returncode:
        raise SystemExit(
            f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
        )
    return str(done.stdout)


def said(what: str, began: float) -> None:
    print(f"  {what}: {time.monotonic() - began:.1f} s", flush=True)


def install(at: Layout) -> None:
    began = time.monotonic()
    missing = [p for p in PACKAGES if subprocess.run(["dpkg", "-s", p], capture_output=True).returncode]
    if missing:
        env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "install", "-y", "-q", "--no-install-recommends", *missing, env=env)
        said(f"packages {' '.join(missing)}", began)
    began = time.monotonic()
    if not (at.venv / "bin/pip").exists():
        run(sys.executable, "-m", "venv", at.venv)
    run(at.venv / "bin/pip", "install", "-q", "--disable-pip-version-check", *VERSIONS)
    driver = at.root / "driver"
    driver.mkdir(exist_ok=True)
    (driver / "peer_noop.py").write_text(NO_OP_DRIVER)
    (driver / "setup.py").write_text(NO_OP_SETUP)
    run(at.venv / "bin/pip", "install", "-q", "--disable-pip-version-check", driver)
    said("services from PyPI", began)


def configure(at: Layout) -> None:
    for directory in (
        at.etc,
        at.log,
        at.state / "locks",
        at.state / "images",
        at.state / "staging",
        at.state / "tasks",
    ):
        directory.mkdir(parents=True, exist_ok=True)
    for name, text in FILES.items():
        (at.etc / f"{name}.conf").write_text(text(at))
    for name in ("neutron", "cinder"):
        shutil.copy(at.venv / "etc" / name / "api-paste.ini", at.etc / f"{name}-api-paste.ini")
    shutil.copy(at.venv / "etc/glance/glance-api-paste.ini", at.etc / "glance-api-paste.ini")
    shutil.copy(at.venv / "etc/nova/api-paste.ini", at.etc / "api-paste.ini")
    (at.etc / "apache.httpd").write_text(apache(at))
    cloud = f"""clouds:
  peer:
    auth:
      auth_url: {at.url}/identity
      username: admin
      password: {PASSWORD}
      project_name: admin
      user_domain_name: Default
      project_domain_name: Default
    region_name: RegionOne
"""
    (at.root / "clouds.yaml").write_text(cloud)


def environment(at: Layout) -> dict[str, str]:
    """Where each service finds its configuration."""
    paths = {"PATH": f"{at.venv}/bin:{os.environ['PATH']}", "HOME": str(at.state), "LC_ALL": "C.UTF-8"}
    paths |= {"OS_KEYSTONE_CONFIG_DIR": str(at.etc), "OS_PLACEMENT_CONFIG_DIR": str(at.etc)}
    paths |= {"OS_GLANCE_CONFIG_DIR": str(at.etc)}
    paths |= {"OS_NOVA_CONFIG_DIR": str(at.etc), "OS_NEUTRON_CONFIG_DIR": str(at.etc)}
    paths |= {"OS_NEUTRON_CONFIG_FILES": "neutron.conf"}
    return os.environ | paths


def spawn(at: Layout, name: str, command: list[str | Path], **more: str) -> None:
    """A process in a session of its own, which outlives this command; its group is in state/NAME.pid."""
    with (at.log / f"{name}.out").open("ab") as log:
        process = subprocess.Popen(
            [str(c) for c in command],
            env=environment(at) | more,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=at.state,
        )
    (at.state / f"{name}.pid").write_text(str(process.pid))


def wait_port(port: int, what: str, timeout_s: float = 120) -> None:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise SystemExit(f"{what} does not listen on {port}: see the log directory")


def start_engines(at: Layout) -> None:
    data = at.state / "mariadb"
    if not data.exists():
        run("mariadb-install-db", f"--datadir={data}", "--auth-root-authentication-method=normal", "--user=root")
    options = [f"--datadir={data}", f"--port={at.mariadb}", "--bind-address=127.0.0.1", "--user=root"]
    options += [f"--socket={at.state}/mariadb.sock", "--max-connections=500", f"--pid-file={at.state}/mariadb.own"]
    spawn(at, "mariadb", ["mariadbd", "--no-defaults", *options])
    rabbit = {"RABBITMQ_NODE_PORT": str(at.rabbit), "RABBITMQ_NODENAME": f"peer{at.port}@localhost"}
    rabbit |= {"RABBITMQ_MNESIA_BASE": f"{at.state}/rabbit", "RABBITMQ_LOG_BASE": str(at.log)}
    rabbit |= {"RABBITMQ_DIST_PORT": str(at.port + 23), "ERL_EPMD_PORT": str(at.port + 24)}
    spawn(at, "rabbit", ["/usr/lib/rabbitmq/bin/rabbitmq-server"], **rabbit)
    spawn(at, "memcached", ["memcached", "-u", "nobody", "-l", "127.0.0.1", "-p", str(at.memcached), "-m", "64"])
    for port, what in ((at.mariadb, "mariadb"), (at.memcached, "memcached"), (at.rabbit, "rabbitmq")):
        wait_port(port, what)


def sql(at: Layout, words: str) -> None:
    run("mariadb", "--no-defaults", f"--socket={at.state}/mariadb.sock", "-uroot", "-e", words)


def prepare(at: Layout) -> None:
    """Databases, keys, the first users: once a directory."""
    began = time.monotonic()
    bin_, env, etc = at.venv / "bin", environment(at), at.etc
    sql(at, "; ".join(f"DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name}" for name in DATABASES))
    run(bin_ / "keystone-manage", "--config-file", etc / "keystone.conf", "db_sync", env=env)
    keys = ("--keystone-user", "root", "--keystone-group", "root")
    for repository in ("fernet_setup", "credential_setup"):
        run(bin_ / "keystone-manage", "--config-file", etc / "keystone.conf", repository, *keys, env=env)
    url = f"{at.url}/identity"
    boot = ["--bootstrap-password", PASSWORD, "--bootstrap-region-id", "RegionOne", "--bootstrap-public-url", url]
    boot += ["--bootstrap-internal-url", url, "--bootstrap-admin-url", url]
    run(bin_ / "keystone-manage", "--config-file", etc / "keystone.conf", "bootstrap", *boot, env=env)
    run(bin_ / "glance-manage", "--config-file", etc / "glance-api.conf", "db_sync", env=env)
    run(bin_ / "placement-manage", "--config-file", etc / "placement.conf", "db", "sync", env=env)
    nova = (bin_ / "nova-manage", "--config-file", etc / "nova.conf")
    run(*nova, "api_db", "sync", env=env)
    run(*nova, "cell_v2", "map_cell0", "--database_connection", at.database("nova_cell0"), env=env)
    run(*nova, "cell_v2", "create_cell", "--name", "cell1", env=env)
    run(*nova, "db", "sync", env=env)
    run(bin_ / "neutron-db-manage", "--config-file", etc / "neutron.conf", "upgrade", "heads", env=env)
    run(bin_ / "cinder-manage", "--config-file", etc / "cinder.conf", "db", "sync", env=env)
    said("databases and first users", began)


def register(at: Layout) -> None:
    """The services' users and endpoints."""
    began = time.monotonic()
    script = f"""
import openstack
c = openstack.connect(cloud="peer")
i = c.identity
project = i.find_project("service") or i.create_project(name="service", domain_id="default")
admin, service = i.find_role("admin"), i.find_role("service") or i.create_role(name="service")
for name, (_, _, path, kind) in {APIS!r}.items():
    if name == "keystone":
        continue
    user = i.create_user(name=name, password={PASSWORD!r}, domain_id="default")
    for role in (admin, service):
        i.assign_project_role_to_user(project, user, role)
    kind = {{"volume": "block-storage"}}.get(kind, kind)
    made = i.create_service(name=name, type=kind)
    url = {at.url!r} + {ENDPOINTS!r}.get(name, path)
    for interface in ("public", "internal", "admin"):
        i.create_endpoint(service_id=made.id, interface=interface, url=url, region_id="RegionOne")
"""
    env = environment(at) | {"OS_CLIENT_CONFIG_FILE": str(at.root / "clouds.yaml")}
    run(at.venv / "bin/python", "-c", script, env=env, cwd=at.state)
    said("services registered", began)


def start_apis(at: Layout) -> None:
    for name, (offset, module, _, _) in APIS.items():
        options = "--master --processes 2 --threads 1 --enable-threads --lazy-apps --die-on-term --need-app"
        more = [
            "--buffer-size",
            "65535",
            "--socket",
            f"127.0.0.1:{at.port + offset}",
            "--logto",
            str(at.log / f"{name}.uwsgi"),
        ]
        if name == "cinder":  # reads its command line
            more += ["--pyargv", f"--config-file={at.etc}/cinder.conf"]
        if name == "glance":  # chunked uploads
            more += ["--http-chunked-input"]
        spawn(at, name, [at.venv / "bin/uwsgi", *options.split(), "--module", module, "--disable-logging", *more])
    spawn(at, "apache", ["/usr/sbin/apache2", "-DFOREGROUND", "-f", at.etc / "apache.httpd"])
    wait_port(at.port, "apache")


def start(at: Layout) -> None:
    if alive(at):
        raise SystemExit(f"it runs already: {at.url}")
    began = time.monotonic()
    first = not (at.state / "prepared").exists()
    configure(at)
    start_engines(at)
    if first:
        prepare(at)
    start_apis(at)
    answer(at, "keystone")
    if first:
        register(at)
    host = f"host-{time.time():.0f}"  # Nova's fake driver has another identity at each start, as only another host may
    for worker, files in WORKERS.items():
        configuration = [x for name in files for x in ("--config-file", at.etc / f"{name}.conf")]
        named = {"OS_DEFAULT__HOST": host} if worker == "nova-compute" else {}
        spawn(at, worker, [at.venv / "bin" / worker, *configuration], **named)
    for name in APIS:
        answer(at, name)
    discover(at, host)
    (at.state / "prepared").touch()
    said(f"all APIs answer at {at.url}", began)


def answer(at: Layout, name: str, timeout_s: float = 240) -> None:
    """Until the service's discovery document comes."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        done = subprocess.run(
            ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"{at.url}{APIS[name][2]}/"],
            capture_output=True,
            text=True,
        )
        if done.stdout in {"200", "300"}:
            return
        time.sleep(0.3)
    raise SystemExit(f"{name} does not answer: see {at.log}")


def discover(at: Layout, host: str) -> None:
    """The compute host into its cell, once its worker has registered."""
    nova = (at.venv / "bin/nova-manage", "--config-file", at.etc / "nova.conf")
    for _ in range(60):
        run(*nova, "cell_v2", "discover_hosts", env=environment(at))
        if host in run(*nova, "cell_v2", "list_hosts", env=environment(at)):
            return
        time.sleep(2)
    raise SystemExit("the compute host did not register")


def groups(at: Layout) -> dict[str, int]:
    return {path.stem: int(path.read_text()) for path in at.state.glob("*.pid") if path.stem != "apache.own"}


def processes(at: Layout) -> list[int]:
    """Every live process of the peer: those of the sessions it began."""
    sessions, found = set(groups(at).values()), []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) in sessions and fields[0] != "Z":
            found.append(int(entry.name))
    return found


def alive(at: Layout) -> bool:
    return bool(processes(at))


def stop(at: Layout) -> None:
    for sig, patience_s in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
        for pid in processes(at):
            try:
                os.kill(pid, sig)
            except ProcessLookupError:
                continue
        end = time.monotonic() + patience_s
        while alive(at) and time.monotonic() < end:
            time.sleep(0.2)
    for path in at.state.glob("*.pid"):
        path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["install", "start", "stop", "status"])
    parser.add_argument(
        "--dir", default="/var/tmp/openstack-peer", help="everything of the peer lies here (not below a home)"
    )
    parser.add_argument("--port", type=int, default=17100, help="the public port; 24 more after it are used")
    given = parser.parse_args()
    if os.geteuid():
        raise SystemExit("needs root: MariaDB, RabbitMQ and Apache are started as their own packages would")
    at = Layout(Path(given.dir).resolve(), given.port)
    at.root.mkdir(parents=True, exist_ok=True)
    if given.what == "status":
        found = processes(at)
        print(f"{len(found)} processes" + (f" at {at.url}" if found else ""))
        raise SystemExit(0 if found else 3)
    {"install": install, "start": start, "stop": stop}[given.what](at)


if __name__ == "__main__":
    main()
