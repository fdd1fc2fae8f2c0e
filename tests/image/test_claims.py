"""One at a time has an image's data in hand, in whichever process."""

import subprocess
import sys
from pathlib import Path

from nutshell.image.claims import Claims

CHILD = """
import sys
from pathlib import Path
from nutshell.image.claims import Claims
claims = Claims(Path(sys.argv[1]))
for line in sys.stdin:
    print(claims.take(line.strip()), flush=True)
"""


def test_a_claim_holds_in_every_process_and_ends_with_its_own(tmp_path: Path) -> None:
    mine = Claims(tmp_path / "claims")
    command = [sys.executable, "-c", CHILD, str(tmp_path / "claims")]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None

    def asked(image_id: str) -> str:
        assert child.stdin is not None
        assert child.stdout is not None
        print(image_id, file=child.stdin, flush=True)
        return child.stdout.readline().strip()

    try:
        assert mine.take("a")
        assert not mine.take("a")
        assert asked("a") == "False"
        assert asked("b") == "True"
        assert not mine.take("b")
        mine.give_back("b")  # which is not ours to give
        assert not mine.take("b")
        mine.give_back("a")
        assert asked("a") == "True"
    finally:
        child.kill()
        child.communicate()
    with mine.held("a"), mine.held("b"):
        assert mine.mine == {"a", "b"}
    assert mine.mine == set()


def test_without_a_directory_the_process_is_alone() -> None:
    alone = Claims()
    assert alone.take("a")
    assert not alone.take("a")
    alone.give_back("a")
    assert alone.take("a")
