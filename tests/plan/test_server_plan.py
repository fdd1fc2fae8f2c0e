"""How a server's state is worded, and what is done next for its operation: as tables."""

import pytest

from nutshell.compute.capability import Power
from nutshell.compute.servers.noun import Server
from nutshell.compute.servers.plan import OPERATIONS, Step, plan
from nutshell.compute.servers.status import TASKS, Want, Words, power_state, words


@pytest.mark.parametrize(
    ("want", "was", "built", "failed", "task", "step", "found"),
    [
        ("running", "running", False, False, "create", "", ("BUILD", "building", "scheduling")),
        ("running", "running", False, False, "create", "placed", ("BUILD", "building", "spawning")),
        ("running", "running", True, False, "", "", ("ACTIVE", "active", None)),
        ("running", "running", False, True, "", "", ("ERROR", "error", None)),
        ("stopped", "running", True, False, "stop", "", ("ACTIVE", "active", "powering-off")),
        ("stopped", "running", True, False, "", "", ("SHUTOFF", "stopped", None)),
        ("running", "stopped", True, False, "start", "", ("SHUTOFF", "stopped", "powering-on")),
        ("running", "running", True, False, "reboot", "", ("REBOOT", "active", "rebooting")),
        ("running", "running", True, False, "reboot-hard", "", ("HARD_REBOOT", "active", "rebooting_hard")),
        ("running", "stopped", True, False, "reboot-hard", "", ("SHUTOFF", "stopped", "rebooting_hard")),
        ("paused", "running", True, False, "", "", ("PAUSED", "paused", None)),
        ("suspended", "running", True, False, "", "", ("SUSPENDED", "suspended", None)),
        ("running", "running", True, False, "rebuild", "wiped", ("REBUILD", "active", "rebuild_spawning")),
        ("running", "running", True, True, "rebuild", "", ("REBUILD", "error", "rebuilding")),
        ("resized", "stopped", True, False, "resize", "claimed", ("RESIZE", "stopped", "resize_migrating")),
        ("resized", "running", True, False, "", "", ("VERIFY_RESIZE", "resized", None)),
        ("running", "resized", True, False, "revertResize", "", ("REVERT_RESIZE", "resized", "resize_reverting")),
        ("rescued", "running", True, False, "", "", ("RESCUE", "rescued", None)),
        ("offloaded", "running", True, False, "", "", ("SHELVED_OFFLOADED", "shelved_offloaded", None)),
        (
            "running",
            "offloaded",
            True,
            False,
            "unshelve",
            "placed",
            ("SHELVED_OFFLOADED", "shelved_offloaded", "spawning"),
        ),
        ("running", "running", True, False, "createImage", "", ("ACTIVE", "active", "image_snapshot")),
        ("gone", "running", True, False, "delete", "", ("ACTIVE", "active", "deleting")),
        ("gone", "running", True, False, "", "", ("DELETED", "deleted", None)),
    ],
)
def test_words(
    want: str, was: str, built: bool, failed: bool, task: str, step: str, found: tuple[str, str, str | None]
) -> None:
    assert words(Want(want), Want(was), built, failed, task, step) == Words(*found)


def test_every_operation_has_a_task_state_and_every_power_a_number() -> None:
    assert {kind for kind, _ in TASKS} >= OPERATIONS
    assert [power_state(p) for p in Power] == [1, 3, 4, 4, 4, 0]
    assert power_state(None) == 0


def server(task: str, **more: object) -> Server:
    return Server(id="s", project_id="p", name="n", task=task, **{"local": {"root": True}, **more})  # type: ignore[arg-type]


RUN = [Step.VOLUMES, Step.REALISE, Step.START]
OLD = {"want": "running", "flavor": {}, "claim": "c"}


@pytest.mark.parametrize(
    ("row", "steps"),
    [
        (server("create"), [Step.PLACE, *RUN]),
        (server("create", host="h", step="placed"), RUN),
        (server("stop"), [Step.STOP]),
        (server("reboot-hard"), [Step.END, *RUN]),
        (server("rebuild"), [Step.WIPE, *RUN]),
        (server("rebuild", step="wiped"), RUN),
        (server("rebuild", step="wiped", want=Want.STOPPED), [Step.DISKS]),
        (server("resize"), [Step.CLAIM, Step.STOP, Step.GROW, *RUN]),
        (server("resize", was=Want.STOPPED), [Step.CLAIM, Step.STOP, Step.GROW]),
        (server("resize", step="claimed", resized_from=OLD), [Step.STOP, Step.GROW, *RUN]),
        (server("resize", step="grown", resized_from=OLD), RUN),
        (server("revertResize"), [Step.STOP, Step.UNCLAIM, *RUN]),
        (server("revertResize", step="reverted", want=Want.STOPPED), []),
        (server("shelve", want=Want.OFFLOADED), [Step.STOP, Step.SNAPSHOT, Step.UPLOAD, Step.OFFLOAD]),
        (server("shelve", want=Want.OFFLOADED, step="imaged"), [Step.STOP, Step.OFFLOAD]),
        (server("shelve", want=Want.OFFLOADED, local={"root": False}), [Step.STOP, Step.OFFLOAD]),
        (server("unshelve"), [Step.PLACE, *RUN]),
        (server("createImage"), [Step.SNAPSHOT, Step.UPLOAD]),
        (server("createImage", step="written"), [Step.UPLOAD]),
        (server("delete"), [Step.DESTROY]),
    ],
)
def test_the_plan_goes_on_where_it_was(row: Server, steps: list[Step]) -> None:
    assert list(plan(row)) == [*steps, Step.FINISH]
