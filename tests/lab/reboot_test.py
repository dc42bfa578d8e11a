#!/usr/bin/env python3
"""Containers outlive their host: suspended or saved, they go on after a power cut, a reboot and a day."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from holm_lab import image, system_tests  # noqa: E402

LAB = str(HERE / "lab")
BUILD = Path(os.environ.get("HOLM_BUILD_DIR") or image.TREE / "build").absolute()
HOLM = "/holm/cli/holm"
# Counts into a file, and has the number in memory alone: there is no gap where both belong together.
CONTAINER = """template = "busybox"
command = ["/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo $i >> /root/count; sleep 0.1; done"]
[memory]
limit = "64M"
[pids]
limit = 20
"""


class RebootedHost(unittest.TestCase):
    def setUp(self):
        self.name = f"reboot-{os.getpid()}"
        disk = tempfile.NamedTemporaryFile(prefix="holm-lab-disk.")
        self.addCleanup(disk.close)
        system_tests.pack(BUILD, disk.name)
        self.lab("up", "1", "--kind", "v2", "--disk", disk.name, "--owner", str(os.getpid()))
        self.addCleanup(self.lab, "down")
        self.host("mkdir -p /holm && tar -x -f /dev/vdb -C /holm")

    def lab(self, verb, *words):
        name = ["--name", self.name] if verb == "up" else []
        command = [LAB, *([] if name else ["--lab", self.name]), verb, *words, *name]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        self.assertEqual(done.returncode, 0, f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def host(self, command):
        return self.lab("run", "host1", command)

    def state(self, name):
        return self.host(f"{HOLM} list -a | awk '$1 == \"{name}\" {{ print $2 }}'").strip()

    def init_of(self, name):
        return int(self.host(f"{HOLM} list | awk '$1 == \"{name}\" {{ print $3 }}'"))

    def count_of(self, name):
        """The last number, where each follows the one before."""
        numbers = self.host(f"cat /var/lib/holm/containers/{name}/upper/root/count").split()
        self.assertEqual([int(number) for number in numbers], list(range(1, len(numbers) + 1)))
        return len(numbers)

    def counts_beyond(self, name, number):
        self.host(f"for i in $(seq 100); do [ $(wc -l < /var/lib/holm/containers/{name}/upper/root/count) -gt {number} ] "
                  "&& exit 0; sleep 0.1; done; exit 1")

    def test_containers_go_on_after_a_reboot_and_a_day(self):
        self.host(f"{HOLM} template build busybox")
        for name in ["suspended", "saved"]:
            self.host(f"cat > /root/{name}.toml <<'END'\n{CONTAINER}END\n{HOLM} start /root/{name}.toml")
            self.counts_beyond(name, 5)
        inits = [self.init_of(name) for name in ["suspended", "saved"]]
        self.host(f"{HOLM} stop --checkpoint suspended && {HOLM} save saved /root/saved.holm && {HOLM} destroy saved && sync")
        before = self.count_of("suspended")
        self.lab("kill", "host1")
        self.lab("boot", "host1")
        self.lab("clock", "host1", "86400")
        self.host("echo 20000 > /proc/sys/kernel/ns_last_pid")

        self.assertEqual(self.state("suspended"), "suspended")
        self.assertEqual(self.count_of("suspended"), before)
        self.host(f"{HOLM} start suspended && {HOLM} restore /root/saved.holm")
        for name in ["suspended", "saved"]:
            self.assertEqual(self.state(name), "running")
            self.assertGreater(self.init_of(name), max(inits) + 10000)
            self.counts_beyond(name, before)
            self.count_of(name)
        # The day is no part of their time.
        uptime = self.host(f"{HOLM} exec suspended cut -d. -f1 /proc/uptime")
        self.assertLess(int(uptime), 3600)
        self.host(f"{HOLM} destroy --force suspended && {HOLM} destroy --force saved && {HOLM} gc")


if __name__ == "__main__":
    unittest.main(verbosity=2)
