"""A program for the crash tests: starts the driver on a world given by arguments, says "ready", and builds it."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from tests.contract.linux_world import World

if __name__ == "__main__":
    directory, number, base = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    world = World(directory, number, cast(Any, SimpleNamespace(base=base)), cloud=sys.argv[4])
    print("ready", flush=True)
    world.build()
    print("built", flush=True)
    world.driver.close()
