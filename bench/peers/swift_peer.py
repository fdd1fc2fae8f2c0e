"""Installs, starts and stops real Swift (one node, one replica, TempAuth) and nginx, to be measured beside ours (root).

python bench/peers/swift_peer.py install|start|stop [--dir DIR] [--port N]
Swift flushes every object's file and logs its index updates to SQLite, as it is shipped; nginx serves files.
"""

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from peer import processes, run, spawn, stop, wait_port
from settings import Layout

PACKAGES = ["nginx-light", "memcached", "python3-venv", "gcc", "python3-dev", "liberasurecode-dev"]
VERSIONS = ["swift==2.38.0"]
SERVERS = {"account": 1, "container": 2, "object": 3}  # name: port after the public one
NGINX = 10

PROXY = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 2
user = root
swift_dir = {etc}
log_level = ERROR
[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats tempauth copy slo dlo versioned_writes proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached}
""" + "".join(
    f"[filter:{name}]\nuse = egg:swift#{name}\n"
    for name in ("catch_errors", "gatekeeper", "listing_formats", "copy", "slo", "dlo", "versioned_writes")
)
STORAGE = """[DEFAULT]
devices = {devices}
mount_check = false
bind_ip = 127.0.0.1
bind_port = {port}
workers = 2
user = root
swift_dir = {etc}
log_level = ERROR
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""
NGINX_CONF = """worker_processes 1;
pid {state}/nginx.own;
error_log {log}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  keepalive_requests 1000000;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


def configure(at: Layout) -> None:
    for directory in (at.etc, at.log, at.state / "devices/d1", at.state / "www"):
        directory.mkdir(parents=True, exist_ok=True)
    (at.etc / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = peer\nswift_hash_path_prefix = peer\n")
    facts = {"etc": at.etc, "devices": at.state / "devices", "memcached": at.memcached}
    (at.etc / "proxy-server.conf").write_text(PROXY.format(port=at.port, **facts))
    for name, offset in SERVERS.items():
        text = STORAGE.format(name=name, port=at.port + offset, **facts)
        (at.etc / f"{name}-server.conf").write_text(text)
        builder = at.etc / f"{name}.builder"
        if not builder.exists():
            ring = at.venv / "bin/swift-ring-builder"
            run(ring, builder, "create", "8", "1", "1")
            run(ring, builder, "add", f"r1z1-127.0.0.1:{at.port + offset}/d1", "1")
            run(ring, builder, "rebalance")
    nginx = NGINX_CONF.format(state=at.state, log=at.log, root=at.state / "www", port=at.port + NGINX)
    (at.etc / "nginx.conf").write_text(nginx)


def install(at: Layout) -> None:
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "install", "-y", "-q", "--no-install-recommends", *PACKAGES, env=env)
    if not (at.venv / "bin/pip").exists():
        run(sys.executable, "-m", "venv", at.venv)
    run(at.venv / "bin/pip", "install", "-q", "--disable-pip-version-check", *VERSIONS)


def start(at: Layout) -> None:
    configure(at)
    more = {"SWIFT_DIR": str(at.etc)}
    spawn(at, "memcached", ["memcached", "-u", "nobody", "-l", "127.0.0.1", "-p", str(at.memcached)])
    for name in (*SERVERS, "proxy"):
        command: list[str | Path] = [at.venv / f"bin/swift-{name}-server", at.etc / f"{name}-server.conf"]
        spawn(at, name, command, **more)
    spawn(at, "nginx", ["/usr/sbin/nginx", "-c", at.etc / "nginx.conf", "-g", "daemon off;"])
    for offset in (0, *SERVERS.values(), NGINX):
        wait_port(at.port + offset, "swift or nginx")
    time.sleep(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["install", "start", "stop"])
    parser.add_argument("--dir", default="/var/tmp/swift-peer")
    parser.add_argument("--port", type=int, default=17200)
    given = parser.parse_args()
    at = Layout(Path(given.dir).resolve(), given.port)
    at.root.mkdir(parents=True, exist_ok=True)
    {"install": install, "start": start, "stop": stop}[given.what](at)
    print(f"{len(processes(at))} processes")


if __name__ == "__main__":
    main()
