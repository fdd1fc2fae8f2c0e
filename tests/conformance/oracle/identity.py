"""The same requests to a real Keystone and to ours: status, headers and the shape of bodies compared.

make oracle-identity, or: python tests/conformance/oracle/identity.py [--venv DIR] [--port N] [--show REGEX]
Prints every difference that `EXPLAINED` (explained.py) has no reason for; exit code 1 when there is one.
"""

import argparse
import asyncio
import json
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[3] / "src"))
import keystone
from explained import EXPLAINED
from requests_identity import Step, steps

HEADERS = ("content-type", "vary", "www-authenticate", "x-subject-token", "openstack-auth-receipt", "allow", "location")


@dataclass
class Side:
    """One of the two services: its own ids and tokens under the names that the steps use."""

    name: str
    client: httpx.AsyncClient
    root: str
    known: dict[str, str] = field(default_factory=dict)

    async def send(self, step: Step) -> httpx.Response:
        text = None if step.body is None else step.body if isinstance(step.body, str) else json.dumps(step.body)
        headers = {"Content-Type": "application/json", **self._filled_headers(step)}
        token = self.known.get(step.token, step.token)
        if token:
            headers["X-Auth-Token"] = token
        content = None if text is None else self._filled(text)
        path = self._filled(step.path)
        answer = await self.client.request(step.method, self.root + path, content=content, headers=headers, timeout=60)
        for name, where in step.keep.items():
            self.known[name] = self._found(answer, where)
        return answer

    def _filled_headers(self, step: Step) -> dict[str, str]:
        return {k: self._filled(v) for k, v in step.headers.items()}

    def _filled(self, text: str) -> str:
        return re.sub(r"<(\w+)>", lambda m: self.known.get(m[1], m[0]), text)

    def _found(self, answer: httpx.Response, where: str) -> str:
        if where.startswith("header:"):
            return answer.headers.get(where[7:], "missing")
        try:
            value: Any = answer.json()
            for part in where.split("."):
                value = value[int(part) if part.isdigit() else part]
        except (KeyError, IndexError, ValueError, TypeError):
            return "missing"
        return str(value)


def shape(value: Any) -> Any:
    """Names and types; of a list the union of its members' shapes."""
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    if isinstance(value, list):
        return [shape(v) for v in value[:1]]
    return {bool: "bool", int: "number", float: "number", str: "text", type(None): "null"}[type(value)]


def body_of(answer: httpx.Response) -> Any:
    if not answer.content:
        return "nothing"
    try:
        return shape(answer.json())
    except ValueError:
        return "not JSON"


def differences(step: Step, theirs: httpx.Response, ours: httpx.Response) -> Iterator[tuple[str, str]]:
    """(what, "theirs → ours") of everything that differs."""
    if theirs.status_code != ours.status_code:
        yield "status", f"{theirs.status_code} → {ours.status_code}"
        return
    for name in HEADERS:
        has = (name in theirs.headers, name in ours.headers)
        if name == "content-type" and all(has):
            kinds = [a.headers[name].split(";")[0] for a in (theirs, ours)]
            if kinds[0] != kinds[1]:
                yield "header", f"{name}: {kinds[0]} → {kinds[1]}"
        elif has[0] != has[1] and not (name == "content-type" and not theirs.content and not ours.content):
            yield "header", f"{name}: {'there' if has[0] else 'absent'} → {'there' if has[1] else 'absent'}"
    if step.method != "HEAD":
        yield from _unequal("", body_of(theirs), body_of(ours))


def _unequal(at: str, theirs: Any, ours: Any) -> Iterator[tuple[str, str]]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in sorted(set(theirs) | set(ours)):
            if name not in ours or name not in theirs:
                yield (
                    "body",
                    f"{at}.{name}: {'there' if name in theirs else 'absent'} → {'there' if name in ours else 'absent'}",
                )
            else:
                yield from _unequal(f"{at}.{name}", theirs[name], ours[name])
    elif isinstance(theirs, list) and isinstance(ours, list):
        if theirs and ours:
            yield from _unequal(f"{at}[]", theirs[0], ours[0])
    elif theirs != ours:
        yield "body", f"{at}: {_brief(theirs)} → {_brief(ours)}"


def _brief(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)[:60]


def our_cloud(folder: Path) -> Any:
    from nutshell import app
    from nutshell.core.config import CloudConfig, load_settings
    from nutshell.identity import wiring

    part = app.Part(wiring.service, wiring.config, wiring.quotas, wiring.wire, wiring.loops, wiring.seed)
    values = {"state": folder, "simulate": True, "admin_password": keystone.PASSWORD}
    rules = {wiring.config: {"login_failures_free": 0}, CloudConfig: values}
    return app.build(load_settings(app.tables([part]), None, {}, rules), of=[part])


async def compare(port: int, running: Any, show: str) -> int:
    transport = httpx.ASGITransport(app=running.app)
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as one,
        httpx.AsyncClient(base_url="http://cloud.example", transport=transport) as two,
    ):
        sides = (Side("keystone", one, "/v3"), Side("ours", two, "/identity/v3"))
        counts: Counter[str] = Counter()
        for step in steps():
            if "header:X-Subject-Token" in step.keep.values():
                await asyncio.sleep(1.1)  # Keystone's tokens know whole seconds: what ended others may end a newer one
            answers = [await side.send(step) for side in sides]
            counts["requests"] += 1
            said = f"{step.method} {step.path} {step.about}"
            if show and re.search(show, said):
                lines = [
                    f"  {side.name}: {a.status_code} {a.text[:600]}" for side, a in zip(sides, answers, strict=True)
                ]
                print(said, *lines, sep="\n")
            found = list(differences(step, *answers))
            if not found:
                counts["equal"] += 1
            for what, text in found:
                line = f"{what} | {said} | {text}"
                reason = next((r for pattern, r in EXPLAINED if re.search(pattern, line)), "")
                counts["explained" if reason else "open"] += 1
                counts[reason] += 1
                if not reason:
                    print(line)
    print(", ".join(f"{n} {counts[n]}" for n in ("requests", "equal", "explained", "open")))
    for _, reason in EXPLAINED:
        print(f"  {counts[reason]:5} {reason}")
    return 1 if counts["open"] else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, default=Path(".venv-keystone"))
    parser.add_argument("--port", type=int, default=5350)
    parser.add_argument("--show", default="", help="print both answers to the requests that match")
    options = parser.parse_args()
    keystone.install(options.venv)
    folder = Path(tempfile.mkdtemp(prefix="oracle-identity-"))
    server = keystone.start(options.venv, folder / "keystone", options.port)
    running = our_cloud(folder / "ours")
    try:
        return asyncio.run(compare(options.port, running, options.show))
    finally:
        server.terminate()
        running.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
