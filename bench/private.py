"""Private clouds of the pytest plugin, and saving and forking a cloud: how long they take, what they weigh."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from cloud import admin, cloud, free_port, nutshell, wait

Row = tuple[str, str, str]
PROBE = """
import json, os, statistics, sys, time
began = time.perf_counter()
import nutshell.testing
def pss():
    return int(next(l for l in open("/proc/self/smaps_rollup") if l.startswith("Pss:")).split()[1]) / 1024
first = nutshell.testing.cloud()
found = {"first": time.perf_counter() - began, "first_cpu": time.process_time()}
first.settle()
taken, closing, cpu = [], [], []
for _ in range(int(sys.argv[1])):
    began, worked = time.perf_counter(), time.process_time()
    one = nutshell.testing.cloud()
    taken.append(time.perf_counter() - began)
    cpu.append(time.process_time() - worked)
    began = time.perf_counter()
    one.close()
    closing.append(time.perf_counter() - began)
before = pss()
many = [nutshell.testing.cloud() for _ in range(30)]
for one in many:
    one.settle()
found["mib"] = (pss() - before) / 30
for one in many:
    one.close()
forks = []
for _ in range(20):
    began = time.perf_counter()
    one = first.fork()
    forks.append(time.perf_counter() - began)
    one.close()
found["fork"] = statistics.median(forks)
try:
    first.connection("admin").authorize()
    began = time.perf_counter()
    with nutshell.testing.cloud() as one:
        one.connection().authorize()
        found["signed"] = time.perf_counter() - began
except ImportError:
    pass
first.close()
found |= {"next": statistics.median(taken), "worst": max(taken)}
found |= {"cpu": statistics.median(cpu), "closing": statistics.median(closing)}
print(json.dumps(found))
"""


def private_clouds(quick: bool) -> Iterator[Row]:
    runs = []
    for _ in range(1 if quick else 3):
        command = [sys.executable, "-c", PROBE, "20" if quick else "50"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        runs.append(json.loads(done.stdout))
    said = {name: statistics.median(run[name] for run in runs if name in run) for name in runs[0]}
    first, each = (
        f"{said['first'] * 1000:.0f} ms",
        f"{said['next'] * 1000:.1f} ms (worst {said['worst'] * 1000:.0f} ms)",
    )
    yield "private cloud for a test, first of a process, with imports", first, ""
    yield "  of that processor time", f"{said['first_cpu'] * 1000:.0f} ms", ""
    yield "private cloud, each further, median of 50", each, "50 ms"
    yield "  of that processor time", f"{said['cpu'] * 1000:.1f} ms", ""
    if "signed" in said:
        yield "private cloud and a signed-in openstacksdk connection", f"{said['signed'] * 1000:.0f} ms", "50 ms"
    yield "private cloud, a fork of one", f"{said['fork'] * 1000:.1f} ms", ""
    yield "private cloud, closing", f"{said['closing'] * 1000:.1f} ms", ""
    yield "private cloud, memory of each (PSS)", f"{said['mib']:.1f} MiB", ""


def saving(quick: bool) -> Iterator[Row]:
    """A simulated cloud with 100 servers, running."""
    with cloud() as (base, state):
        client = admin(base, state, "admin")
        project = client.project_id
        client.call(
            "PUT", f"/compute/v2.1/os-quota-sets/{project}", {"quota_set": {"instances": -1, "cores": -1, "ram": -1}}
        )
        image = client.get("/image/v2/images")["images"][0]["id"]
        body = {"server": {"name": "s", "flavorRef": "1", "imageRef": image, "networks": "none"}}
        for _ in range(100):
            client.call("POST", "/compute/v2.1/servers", body, {"OpenStack-API-Version": "compute 2.90"})
        wait(lambda: len(client.get("/compute/v2.1/servers?status=ACTIVE&limit=1000")["servers"]) == 100)
        saves, copies, starts = [], [], []
        for n in range(3 if quick else 7):
            saves.append(_ms(nutshell("save", f"s{n}", "--state", str(state)).stdout))
            fork = state.with_name(f"{state.name}-fork{n}")
            began = time.perf_counter()
            port = free_port()
            said = nutshell("fork", f"s{n}", "--state", str(state), "--into", str(fork), "--port", str(port)).stdout
            admin(f"http://127.0.0.1:{port}", fork)
            starts.append((time.perf_counter() - began) * 1000)
            copies.append(_ms(said))
            nutshell("reset", "--yes", "--state", str(fork))
            nutshell("saves", "--state", str(state), "delete", f"s{n}")
        yield "save a running cloud of 100 servers", f"{statistics.median(saves):.0f} ms", ""
        yield "fork it: the copy", f"{statistics.median(copies):.0f} ms", ""
        yield "fork it: nutshell fork executed → first valid token", f"{statistics.median(starts):.0f} ms", "1 s"


def _ms(said: str) -> float:
    line = next(line for line in said.splitlines() if line.endswith(" ms"))
    return float(line.split()[-2])
