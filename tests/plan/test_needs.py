"""`doctor` and the refusal of `up`: what is missing is named with the commands that get it."""

import pytest

from nutshell.cli.needs import Machine, find_needs, mending, missing, refuse_if_missing
from nutshell.cli.says import Refusal


def machine(without: str = "", root: str = "this user") -> Machine:
    return Machine(
        which=lambda name: None if name == without else f"/bin/{name}",
        exists=lambda path: path != without,
        module=lambda name: name != without,
        root=lambda: root,
        network=lambda: [("root", False, "-"), ("dnsmasq", without != "dnsmasq", "apt install dnsmasq-base")],
    )


def test_a_whole_machine_lacks_nothing() -> None:
    assert missing(find_needs(machine())) == []
    refuse_if_missing(machine())


@pytest.mark.parametrize(
    ("lost", "command"),
    [
        ("qemu-img", "apt-get install -y qemu-utils"),
        ("dnsmasq", "apt-get install -y dnsmasq-base"),
    ],
)
def test_what_is_missing_is_named_with_its_command(lost: str, command: str) -> None:
    lacking = missing(find_needs(machine(lost)))
    assert [lost in need.name for need in lacking] == [True]
    assert command in mending(lacking)[0]
    with pytest.raises(Refusal) as caught:
        refuse_if_missing(machine(lost))
    assert caught.value.code == 2
    assert command in caught.value.why
    assert "--simulate" in caught.value.why


def test_no_root_and_no_sudo_is_a_need_too() -> None:
    assert [need.name for need in missing(find_needs(machine(root="")))] == ["root"]


def test_kvm_and_ssh_are_optional() -> None:
    assert missing(find_needs(machine("/dev/kvm"))) == []
    assert missing(find_needs(machine("ssh"))) == []


def test_packages_are_gathered_into_one_command() -> None:
    lost = [need for need in find_needs(machine()) if need.package]
    assert len(mending(lost)) == 1
