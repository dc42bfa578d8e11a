"""Runs the system tests, the same program as on the machine at hand, in a lab host of a kind."""

import os
import re
import shlex
import subprocess
import tempfile
from pathlib import Path

from . import LabError, client, image, qemu

# What each kind truly lacks: "skipped: needs ..." of anything else is a failure.
ALL_LACK = {"a host without CAP_SYS_RESOURCE", "promtool", "the devices controller of cgroup v1",
            "Debian's packages of programs"}
LACKS = {
    "v2": ALL_LACK | {"root, systemd as process 1"},
    "systemd": ALL_LACK | {"root, a cgroup v2 hierarchy that nobody manages"},
    "6.1": ALL_LACK | {"root, systemd as process 1"},
}
# In so many parts long lists of like cases are divided in an emulated host; each kind takes another.
PARTS = 12
# Long tests of what the kernel does alike in all kinds: an emulated host of this kind alone runs them.
ONE_KIND = {"checkpoint_pre": "v2", "checkpoint_objects": "v2", "checkpoint_failure": "v2", "checkpoint_interrupted": "v2",
            "checkpoint_systems": "v2", "checkpoint_hostile": "6.1", "checkpoint_damaged": "6.1",
            "checkpoint_archive": "6.1"}
# Where the tests keep the Debian template that takes them a minute to build, and a network.
CACHE = Path(os.environ.get("HOLM_TEST_CACHE", "/var/cache/holm-test"))
PROGRAMS = ["cli/holm", "cli/holm-unpack", "tests/system/system_tests", "tests/system/container_probe",
            "tests/system/container_load", "tests/system/container_queues", "tests/system/checkpoint_probe",
            "tests/system/fake_loader"]
# What a test that failed left behind.
SHOW_LOGS = r"""
for log in $(find /run/holm* /tmp/holm-* -name '*.log' -size +0 2>/dev/null | head -n 40); do
  echo "--- $log"; tail -n 30 "$log"
done
dmesg | tail -n 40
"""


def pack(build, target):
    """One archive with all that the tests need; hosts see it as a disk, which costs nothing to copy."""
    programs = [name for name in PROGRAMS if (build / name).exists()]
    if "cli/holm" not in programs or "tests/system/system_tests" not in programs:
        raise LabError(f"'{build}' holds no built Holm with its system tests; --build says where it is")
    with tempfile.TemporaryDirectory() as stripped:
        for name in programs:
            copy = Path(stripped) / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["strip", "-o", str(copy), str(build / name)], check=True)
        words = ["tar", "-C", stripped, "-cf", str(target), *programs, "-C", str(image.TREE), "examples"]
        archives = sorted(CACHE.glob("debian-services-*.tar"))
        if not archives:
            raise LabError(f"'{CACHE}' holds no Debian template for the tests; ctest -R system/checkpoint_systems makes it")
        words += ["--transform", "s|^|cache/|;s|^cache/\\(cli\\|tests\\|examples\\)|\\1|", "-C", str(CACHE),
                  *(path.name for path in archives)]
        subprocess.run(words, check=True)


def run(options):
    # The machine's own system tests, which may run at the same time, look at clocks. Under systemd there is a third more to
    # do: more of the CPU for it, and all kinds end at about the same time.
    os.nice(8 if options.kind == "systemd" else 10)
    program = str(Path(__file__).resolve().parent.parent / "lab")
    build = Path(options.build or os.environ.get("HOLM_BUILD_DIR") or image.TREE / "build").absolute()
    with tempfile.NamedTemporaryFile(prefix="holm-lab-disk.") as disk:
        pack(build, disk.name)
        host = {"kind": options.kind, "memory": 1536, "cpus": 1, "append": "", "disk": disk.name, "slow_disk": True}
        lab = client.up(program, [host], owner=os.getpid())
        try:
            return run_in(lab, options)
        finally:
            lab.down()


def environment(lab, kind):
    """For the tests (tests/support/slow_host.h): what they need of the host, and what an emulated one is spared."""
    variables = {"HOLM_PROGRAM": "/holm/cli/holm", "HOLM_EXAMPLES": "/holm/examples", "HOLM_TEST_CACHE": "/holm/cache",
                 "HOLM_TEST_OWN_HOST": "1"}
    if lab.hosts()[0]["accelerator"] == "tcg":
        kinds = list(qemu.KINDS)
        variables["HOLM_TEST_PATIENCE"] = "6"
        variables["HOLM_TEST_PART"] = os.environ.get("HOLM_TEST_PART", f"{kinds.index(kind) + 1}/{PARTS}")
    return variables


def spared(lab, kind):
    """Words for the test program: what others run in the place of this host."""
    others = [f"*/{name}_test.cpp" for name, only in ONE_KIND.items() if only != kind]
    return ["--source-file-exclude=" + ",".join(others)] if lab.hosts()[0]["accelerator"] == "tcg" else []


class Report:
    """Of doctest's output: what is more than a test's name, its time and that it was skipped, then the tests that took longest."""
    RULE = re.compile(r"=+$")
    SKIPPED = re.compile(r"\S+: MESSAGE: skipped: needs (.*)")
    QUIET = re.compile(rf"=+$|$|\S+_test\.cpp:\d+:$|TEST CASE: |[\d.]+ s: |{SKIPPED.pattern}")

    def __init__(self):
        self.block, self.times, self.skips = [], [], set()

    def add(self, line):
        if self.RULE.match(line):
            self.flush()
        self.block.append(line)
        timed = re.match(r"([\d.]+) s: (.*)", line)
        if timed:
            self.times.append((float(timed[1]), timed[2]))
        skipped = self.SKIPPED.match(line)
        if skipped:
            self.skips.add(skipped[1].strip())

    def flush(self):
        if not all(self.QUIET.match(line) for line in self.block):
            print("\n".join(self.block), flush=True)
        self.block = []

    def end(self):
        self.flush()
        for seconds, name in sorted(self.times, reverse=True)[:5]:
            print(f"{seconds:7.1f} s: {name}")
        if self.skips:
            print(f"skipped what needs {', '.join(sorted(self.skips))}")


def run_in(lab, options):
    lab.output(1, "mkdir -p /holm && tar -x -f /dev/vdb -C /holm")
    settings = [f"{name}={value}" for name, value in environment(lab, options.kind).items()]
    command = "cd /root && exec " + shlex.join(
        ["env", *settings, "/holm/tests/system/system_tests", "--duration=true", "--no-colors=true",
         *(options.words or spared(lab, options.kind))])
    report = Report()
    tests = subprocess.Popen([*lab.ssh_command(1), "--", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, errors="replace")
    for line in tests.stdout:
        report.add(line.rstrip("\n"))
    status = tests.wait()
    report.end()
    unexpected = report.skips - LACKS[options.kind]
    if unexpected:
        print(f"lab: a '{options.kind}' host has what these tests said they miss: {', '.join(sorted(unexpected))}")
    if status != 0:
        print(f"lab: the tests exit with {status}; the end of the host's console:\n{lab.console_end(1)}")
        if lab.hosts()[0]["running"]:
            lab.run(1, SHOW_LOGS, stdin=subprocess.DEVNULL)
    return 1 if status != 0 or unexpected else 0
