"""Stands in for the API process where only its starting and ending is tested: answers /healthz, writes credentials."""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from nutshell.cli.warm import hear


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()


ready = int(sys.argv[2])
cloud = json.loads(hear(int(sys.argv[1])))["overrides"]["cloud"]
if cloud.get("region") == "broken":
    print("cannot start, for this is a test", flush=True)
    sys.exit(7)
credentials = Path(cloud["state"]) / "credentials.json"
if not credentials.exists():
    people = {name: {"username": name, "password": f"{name}-secret", "project": name} for name in ("admin", "demo")}
    credentials.write_text(json.dumps(people))
server = HTTPServer((cloud.get("host", "127.0.0.1"), cloud["port"]), Health)
os.write(ready, b"ready\n")
server.serve_forever()
