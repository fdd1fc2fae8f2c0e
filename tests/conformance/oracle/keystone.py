"""A real Keystone for comparisons: SQLite, one process, a few threads, gone when asked to.

python tests/conformance/oracle/keystone.py install|run [--venv DIR] [--dir DIR] [--port N]
`run` serves until interrupted. Source: Keystone's installation guide (docs.openstack.org).
"""

import argparse
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

VERSION = "keystone==30.0.0"
PASSWORD = "an admin's password"
CONFIG = """[DEFAULT]
log_file = {dir}/keystone.log
max_project_tree_depth = 5
[database]
connection = sqlite:///{dir}/keystone.db
[identity]
password_hash_algorithm = bcrypt
password_hash_rounds = 4
[auth]
methods = external,password,token,oauth1,mapped,application_credential,totp,ec2credential
[fernet_tokens]
key_repository = {dir}/fernet
[fernet_receipts]
key_repository = {dir}/receipts
[credential]
key_repository = {dir}/credential
[trust]
allow_redelegation = true
[cache]
enabled = true
backend = oslo_cache.dict
{more}
"""
SERVE = """
import socketserver, sys
from wsgiref import simple_server
port, sys.argv[1:] = int(sys.argv[1]), []
from keystone.wsgi.api import application
class Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True
class Quiet(simple_server.WSGIRequestHandler):
    def log_message(self, *_): pass
simple_server.make_server("127.0.0.1", port, application, Server, Quiet).serve_forever()
"""


def install(venv: Path) -> None:
    """An environment of its own; a second time it is there already."""
    if not (venv / "bin" / "keystone-manage").exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run([str(venv / "bin" / "pip"), "install", "-q", VERSION], check=True)


def start(venv: Path, folder: Path, port: int, more: str = "") -> subprocess.Popen[bytes]:
    """A Keystone with an administrator (`PASSWORD`), a project "demo" left to the caller; returns when it answers."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "keystone.conf"
    config.write_text(CONFIG.format(dir=folder, more=more))
    manage = [str(venv / "bin" / "keystone-manage"), "--config-file", str(config)]
    owner = ["--keystone-user", str(os.getuid()), "--keystone-group", str(os.getgid())]
    url = f"http://127.0.0.1:{port}/v3"
    for words in (
        ["db_sync"],
        ["fernet_setup", *owner],
        ["receipt_setup", *owner],
        ["credential_setup", *owner],
        ["bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-region-id", "RegionOne"]
        + [w for kind in ("public", "internal", "admin") for w in (f"--bootstrap-{kind}-url", url)],
    ):
        done = subprocess.run([*manage, *words], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"keystone-manage {words[0]}: {done.stderr[-2000:]}")
    environment = os.environ | {"OS_KEYSTONE_CONFIG_FILES": str(config), "OS_KEYSTONE_CONFIG_DIR": str(folder)}
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(
            [str(venv / "bin" / "python"), "-W", "ignore", "-c", SERVE, str(port)],
            env=environment,
            stdout=log,
            stderr=log,
        )
    for _ in range(600):
        try:
            with urllib.request.urlopen(url):
                return server
        except OSError:
            if server.poll() is not None:
                raise SystemExit(f"Keystone ended: {(folder / 'server.log').read_text()[-2000:]}") from None
            time.sleep(0.1)
    server.kill()
    raise SystemExit("Keystone does not answer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["install", "run"])
    parser.add_argument("--venv", type=Path, default=Path(".venv-keystone"))
    parser.add_argument("--dir", type=Path, default=Path("/tmp/keystone-oracle"))
    parser.add_argument("--port", type=int, default=5350)
    options = parser.parse_args()
    install(options.venv)
    if options.what == "run":
        server = start(options.venv, options.dir, options.port)
        print(f"http://127.0.0.1:{options.port}/v3  admin / {PASSWORD}", flush=True)
        try:
            server.wait()
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
