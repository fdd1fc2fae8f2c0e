"""A process that writes objects as fast as it can and says each that was acknowledged; it is there to be killed.

`python writer.py DIRECTORY SEED`: lines "put NAME MD5" and "del NAME" on standard output, unbuffered.
"""

import asyncio
import os
import random
import sys
from pathlib import Path

from tests.objects.engine_rig import ACCOUNT, make_container, make_engine, put

SIZES = (0, 10, 4096, 60_000, 70_000, 1_500_000)


async def main(directory: Path, seed: int) -> None:
    engine = make_engine(directory)
    account = engine.read(lambda i: i.account(ACCOUNT))
    known = engine.read(lambda i: i.container(account.id, "c")) if account is not None else None
    container = known or make_container(engine)
    draw = random.Random(seed)

    async def work(me: int) -> None:
        for n in range(10_000):
            name = f"w{me}-{n % 20}"
            if draw.random() < 0.2:

                def drop(index: object, name: str = name) -> bool:
                    row = index.object(container.id, name)  # type: ignore[attr-defined]
                    if row is not None:
                        index.drop_object(row)  # type: ignore[attr-defined]
                    return row is not None

                os.write(1, f"try {name}\n".encode())
                if await engine.change(drop):
                    os.write(1, f"del {name}\n".encode())
                continue
            data = os.urandom(draw.choice(SIZES))
            os.write(1, f"try {name}\n".encode())
            row = await put(engine, container, name, [data[i : i + 65536] for i in range(0, len(data), 65536)])
            os.write(1, f"put {name} {row.etag}\n".encode())

    await asyncio.gather(*(work(n) for n in range(8)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
