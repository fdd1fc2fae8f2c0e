"""Why a volume is in its state."""

from typing import Any

from nutshell.core.explain import Explained, Explains
from nutshell.core.service import Ask
from nutshell.volume.states import Seen, Want
from nutshell.volume.tables import Volume, VolumeAttachment


def explain(ask: Ask[Any], volume: Volume) -> Explained:
    links = ask.tx.find(VolumeAttachment, volume_id=volume.id)
    there = "is there" if volume.seen == Seen.PRESENT else "is not there yet"
    because = [f"It is {volume.status}: it is wanted {volume.want} and its drive {there}."]
    if volume.override:
        because.append(f"An administrator set its status to {volume.override}.")
    if volume.failed:
        because.append(f"What was asked of it failed ({volume.failed}): {volume.fault}")
    doing = _doing(volume)
    if doing and not volume.failed:
        left = volume.deadline - ask.now
        because.append(f"It is {doing}" + (f"; that fails in {left:.0f} s if it is not done." if left > 0 else "."))
    if volume.hold:
        because.append(f"Something else has it: {volume.hold}.")
    because += [f"Server {link.instance or '(none)'} has it: {link.status}." for link in links]
    facts = {
        "want": volume.want,
        "seen": volume.seen or None,
        "task": volume.task or None,
        "hold": volume.hold or None,
        "failed": volume.failed or None,
        "fault": volume.fault or None,
        "due": volume.due_at is not None,
        "deadline": volume.deadline or None,
        "attachments": [{"id": a.id, "server_id": a.instance, "status": a.status} for a in links],
    }
    hosts = {"host": volume.host or None, "attached_hosts": sorted({a.host for a in links if a.host})}
    return Explained(volume.status, because, facts, volume.request_id, hosts)


def _doing(volume: Volume) -> str:
    if volume.want == Want.ABSENT:
        return "being deleted"
    return "being made" if volume.seen == Seen.NOTHING else str(volume.task)


EXPLAINS = {"volume": Explains(Volume, explain)}
