"""QEMU: what it is called with, and its monitor protocol (QMP)."""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from . import LabError

PROGRAM = "qemu-system-x86_64"
# kind of host -> kernel, and the first program of its root
KINDS = {
    "v2": ("6.12", "/sbin/lab-init"),
    "systemd": ("6.12", "/lib/systemd/systemd"),
    "6.1": ("6.1", "/sbin/lab-init"),
}
# Addresses stay the same from one execution to the next, so that emulated code is translated only once: three times faster.
EMULATED = "norandmaps mitigations=off"
# With cx16 QEMU 7.2 crashes Linux 6.12. The others cost an emulated CPU time: with erms, programs and the kernel copy
# by "rep movsb", which is emulated byte by byte.
CPU = "max,-cx16,-erms,-la57,-smap,-smep,-pku,-pks"


def prepare_child():
    """Between fork and exec: the machine is killed when its parent ends, however that ends, and is as nice as its parent.
    Where the kernel divides the CPU among sessions first (autogroup, see sched(7)), a process's own niceness counts only
    within its session, and the machine has one of its own."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    with contextlib.suppress(OSError):  # a kernel without autogroups
        Path("/proc/self/autogroup").write_text(str(os.nice(0)), encoding="ascii")


def spawn(arguments, log):
    with open(log, "ab") as output:
        return subprocess.Popen([PROGRAM, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                preexec_fn=prepare_child, start_new_session=True)


def kvm_works():
    """Whether a machine runs with KVM. The device may be there and still not serve, or hang: it is tried, for 5 s."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    # A boot sector that writes 0x31 to the port of isa-debug-exit: QEMU then exits with 0x31 * 2 + 1.
    sector = bytes([0xB0, 0x31, 0xE6, 0xF4, 0xF4]).ljust(510, b"\0") + b"\x55\xaa"
    with tempfile.NamedTemporaryFile() as disk:
        disk.write(sector)
        disk.flush()
        command = [PROGRAM, "-accel", "kvm", "-m", "16", "-display", "none", "-nodefaults", "-no-reboot",
                   "-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-drive", f"file={disk.name},format=raw,readonly=on"]
        try:
            done = subprocess.run(command, timeout=5, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == 0x31 * 2 + 1


def make_overlay(image, overlay):
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(image), str(overlay)], check=True)


def slow_disk_arguments(path):
    """An empty disk of which reads are short, and no CPU: the tests find it by its serial number."""
    with open(path, "wb") as disk:
        disk.truncate(256 << 20)
    return ["-drive", f"file={path},if=none,id=slow,format=raw,cache=unsafe,throttling.bps-read={8 << 20}",
            # Last on its bus: vda is the root, vdb what the tests are.
            "-device", "virtio-blk-pci,drive=slow,serial=slow,addr=0x1e"]


def segment_arguments(directory, hosts):
    """A QEMU without a machine is the hub that the hosts' cables lead to: it stands when a host falls."""
    arguments = ["-machine", "none", "-nodefaults", "-display", "none"]
    for number in range(1, hosts + 1):
        arguments += ["-netdev", f"stream,id=cable{number},server=on,addr.type=unix,addr.path={directory}/cable{number}",
                      "-netdev", f"hubport,id=port{number},hubid=0,netdev=cable{number}"]
    return arguments


def machine_arguments(directory, image, number, settings, port, accelerator):
    """One host; its files are directory/host<number>.*"""
    kernel, init = KINDS[settings["kind"]]
    emulated = accelerator == "tcg"
    base = f"{directory}/host{number}"
    mac = f"02:00:00:00:%02x:{number:02x}"
    command_line = (f"console=ttyS0 quiet panic=-1 net.ifnames=0 lab.host={number} lab.init={init} "
                    f"{EMULATED if emulated else ''} {settings.get('append', '')}")
    arguments = [
        "-name", f"holm-lab-host{number}", "-no-reboot", "-display", "none", "-nodefaults",
        "-accel", "tcg,tb-size=512" if emulated else accelerator, "-cpu", CPU if emulated else "host",
        "-m", str(settings["memory"]), "-smp", str(settings["cpus"]),
        "-kernel", f"{image}/vmlinuz-{kernel}", "-initrd", f"{image}/initrd-{kernel}.gz", "-append", command_line,
        # The disk is thrown away with the lab: what survives this machine's crash does not matter, what survives the
        # host's does, and that is kept.
        "-drive", f"file={base}.qcow2,if=virtio,format=qcow2,cache=unsafe",
        "-serial", f"file:{base}.console", "-qmp", f"unix:{base}.qmp,server=on,wait=off",
        "-device", "virtio-rng-pci",
        # restrict: the host reaches nothing through this one.
        "-netdev", f"user,id=driver,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22",
        "-device", f"virtio-net-pci,netdev=driver,mac={mac % 1}",
        "-netdev", f"stream,id=segment,addr.type=unix,addr.path={directory}/cable{number}",
        "-device", f"virtio-net-pci,id=nic,netdev=segment,mac={mac % 2}",
    ]
    if settings.get("disk"):
        arguments += ["-drive", f"file={settings['disk']},if=virtio,format=raw,readonly=on"]
    if settings.get("slow_disk"):
        arguments += slow_disk_arguments(f"{base}.slow")
    return arguments


def qmp(path: Path, command, **arguments):
    """One command over QMP; its answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        try:
            connection.connect(str(path))
            stream = connection.makefile("rw", encoding="utf-8")
            stream.readline()
            for name, values in (("qmp_capabilities", {}), (command, arguments)):
                stream.write(json.dumps({"execute": name, "arguments": values}) + "\n")
                stream.flush()
                answer = json.loads(stream.readline())
                while "event" in answer:
                    answer = json.loads(stream.readline())
        except (OSError, ValueError) as error:
            raise LabError(f"ask QEMU '{path.name}' to '{command}': {error}") from error
    if "error" in answer:
        raise LabError(f"ask QEMU '{path.name}' to '{command}': {answer['error']['desc']}")
    return answer["return"]
