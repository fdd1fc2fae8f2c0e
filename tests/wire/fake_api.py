"""Stands in for the API process where only its starting and ending is tested: answers /healthz, writes credentials."""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()


options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
with os.fdopen(int(options["--settings-json"])) as given:
    cloud = json.load(given)["overrides"]["cloud"]
ready = int(options["--ready-fd"])
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
