"""Schemathesis on every service's own document, in process: `python -m tests.fuzz.with_schemathesis [SEED] [CASES]`.

Needs `schemathesis`. The same is asked as in test_requests.py: no 5xx, and a refusal changes nothing.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from tests.fuzz.people import furnish
from tests.fuzz.test_requests import SERVICES, Field, curl, digest, said
from tests.fuzz.world import World

from nutshell.operator.openapi.document import document


def fuzz(ground: Field, name: str, number: int, cases: int) -> list[str]:
    """What went wrong in one service."""
    service = next(s for s in ground.world.cloud.services if s.name == name)
    schema = schemathesis.openapi.from_dict(document(service, ""))
    wrong: list[str] = []
    for found in schema.get_all_operations():
        operation: Any = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                strategy = operation.as_strategy(generation_mode=mode)
            except Exception:
                continue

            @seed(number)
            @settings(
                max_examples=cases, deadline=None, database=None, phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(case=strategy)
            def one(case: Any) -> None:
                wrong.extend(judge(ground, service.mount, case))

            try:
                one()
            except Exception as why:  # no example of this kind can be made
                if "Unsatisfiable" not in type(why).__name__ and "SkipTest" not in type(why).__name__:
                    print(f"{operation.label}: {type(why).__name__} {str(why)[:100]}")
    return wrong


def judge(ground: Field, mount: str, case: Any) -> list[str]:
    """Send one case, twice: as the project's manager and as the administrator."""
    try:
        made = case.as_transport_kwargs(base_url="http://cloud")
    except Exception:
        return []
    from urllib.parse import urlencode

    path = made["url"].removeprefix("http://cloud")
    if made.get("params"):
        path += "?" + urlencode([(k, v) for k, v in made["params"].items()], doseq=True)
    import json

    data = json.dumps(made["json"]).encode() if "json" in made else made.get("data")
    data = data if isinstance(data, bytes) or data is None else str(data).encode("utf-8", "surrogatepass")
    found = []
    for token in (ground.side.token, ground.world.admin):
        changes = ground.world._database.total_changes
        reply = ground.world.call(case.method, path, data, token=token)
        touched = ground.world._database.total_changes != changes
        why = ""
        if reply.status >= 500 and reply.status != 501:
            why = f"answered {reply.status}"
        elif reply.status >= 400 and touched and digest(ground.world) != ground.digest:
            why = f"refused ({reply.status}), and changed something"
        if touched and (reply.status < 400 or why):
            ground.reset()
        if why:
            found.append(f"{why}\n{curl(case.method, path, data, {})}\n  {said(reply)}")
    return found


def main(number: int, cases: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            side = furnish(world, "own")
            world.running.runner.stop()
            ground = Field(world, side, world.keep())
            ground.digest = digest(world)
            wrong: list[str] = []
            for name in SERVICES:
                found = fuzz(ground, name, number, cases)
                print(f"{name}: {len(found)} faults", flush=True)
                wrong += found
        finally:
            world.close()
    print("\n".join(dict.fromkeys(wrong)))
    return len(wrong) > 0


if __name__ == "__main__":
    words = sys.argv[1:]
    sys.exit(main(int(words[0]) if words else 1, max(1, round(float(words[1]))) if words[1:] else 10))
