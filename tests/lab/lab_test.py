#!/usr/bin/env python3
"""The lab itself: hosts boot, are reached, fail on purpose, and nothing of them stays. As a user calls it."""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from holm_lab import client  # noqa: E402

LAB = str(HERE / "lab")


def lab(*words, name=None, check=True):
    """`lab WORDS`; fails the test unless it exits with 0. Its standard output."""
    command = [LAB, *(["--lab", name] if name else []), *words]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"lab {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout if check else done


def processes_of(name):
    """The pids of whatever has the lab's directory on its command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if f"holm-lab.{os.getuid()}/{name}" in words:
                found.append(int(entry.name))
    return found


def eventually(holds, seconds=30):
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


class TwoHosts(unittest.TestCase):
    """One lab of two kinds for all that does not end it."""

    @classmethod
    def setUpClass(cls):
        cls.name = f"test-{os.getpid()}"
        lab("up", "2", "--kind", "v2,systemd", "--name", cls.name, "--owner", str(os.getpid()))

    @classmethod
    def tearDownClass(cls):
        lab("down", name=cls.name)
        assert eventually(lambda: not processes_of(cls.name)), "processes of the lab are left"
        assert not (client.labs_directory() / cls.name).exists(), "files of the lab are left"

    def lab(self, *words, check=True):
        return lab(*words, name=self.name, check=check)

    def ping(self, wait=1):
        """Milliseconds to host2 and back; nothing where no answer comes."""
        done = self.lab("run", "host1", f"ping -4 -c 1 -W {wait} host2", check=False)
        return float(done.stdout.split("time=")[1].split()[0]) if done.returncode == 0 else None

    def test_hosts_have_kernels_and_inits_of_their_own(self):
        self.assertTrue(self.lab("run", "1", "uname -r").startswith("6.12"))
        self.assertEqual(self.lab("run", "host1", "cat /proc/1/comm"), "busybox\n")
        self.assertEqual(self.lab("run", "host2", "cat /proc/1/comm"), "systemd\n")
        for host in ("host1", "host2"):
            self.assertEqual(self.lab("run", host, "hostname"), f"{host}\n")
            self.assertEqual(self.lab("run", host, "stat -f -c %T /sys/fs/cgroup"), "cgroup2fs\n")
            controllers = self.lab("run", host, "cat /sys/fs/cgroup/cgroup.controllers").split()
            self.assertLessEqual({"cpu", "memory", "pids", "io", "cpuset"}, set(controllers))

    def test_run_passes_status_and_streams_on(self):
        done = self.lab("run", "host1", "echo out; echo err >&2; exit 7", check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (7, "out\n", "err\n"))

    def test_files_go_there_and_back(self):
        directory = client.labs_directory() / self.name / "files"
        directory.mkdir()
        (directory / "a").write_bytes(os.urandom(100_000))
        os.chmod(directory / "a", 0o751)
        self.lab("put", "host2", str(directory), "/root/there")
        self.assertEqual(self.lab("run", "host2", "stat -c %a /root/there/a"), "751\n")
        self.lab("get", "host2", "/root/there/a", str(directory / "back"))
        self.assertEqual((directory / "a").read_bytes(), (directory / "back").read_bytes())

    def test_hosts_reach_each_other_over_both_versions_of_ip_and_by_ssh(self):
        self.assertIsNotNone(self.ping(5))
        self.lab("run", "host1", "ping -6 -c 1 -W 5 host2")
        self.assertEqual(self.lab("run", "host1", "ssh root@host2 hostname"), "host2\n")

    def test_hosts_reach_nothing_outside(self):
        # The address at which QEMU's network leads to the machine itself, where it is not restricted.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            done = self.lab("run", "host1", f"timeout 5 bash -c 'exec 3<>/dev/tcp/10.0.2.2/{port}'", check=False)
            self.assertNotEqual(done.returncode, 0)
            listener.settimeout(0)
            self.assertRaises(BlockingIOError, listener.accept)

    def test_a_cut_link_carries_nothing_until_it_is_healed(self):
        self.lab("cut", "host2")
        self.assertIsNone(self.ping())
        self.assertEqual(self.lab("run", "host2", "cat /sys/class/net/eth1/carrier"), "0\n")
        self.lab("heal", "host2")
        self.assertTrue(eventually(lambda: self.ping() is not None))

    def test_a_link_is_made_late_lossy_and_slow(self):
        try:
            self.lab("slow", "host1", "--delay", "300ms")
            self.ping(5)  # asks for the address, too
            self.assertGreater(self.ping(5), 300)
            self.lab("slow", "host1", "--loss", "100%")
            self.assertIsNone(self.ping())
            self.lab("slow", "host1", "--rate", "800kbit")
            # 200 kB take 2 s.
            begun = time.monotonic()
            self.lab("run", "host1", "head -c 200000 /dev/zero | ssh root@host2 'cat >/dev/null'")
            self.assertGreater(time.monotonic() - begun, 1.9)
        finally:
            self.lab("slow", "host1", "--off")
        self.assertLess(self.ping(5), 300)

    def test_a_full_disk_refuses_and_takes_again(self):
        self.lab("fill", "host1", "/root")
        try:
            done = self.lab("run", "host1", "head -c 100000 /dev/zero >/root/more", check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("No space left", done.stderr)
        finally:
            self.lab("unfill", "host1", "/root")
        self.lab("run", "host1", "head -c 100000 /dev/zero >/root/more && rm /root/more")
        self.lab("fill", "host1", "/root", "--leave", "64M")
        left = int(self.lab("run", "host1", "echo $(($(stat -f -c '%a * %S' /root)))"))
        self.lab("unfill", "host1", "/root")
        self.assertAlmostEqual(left / 2**20, 64, delta=8)

    def test_a_clock_is_set_forward_and_back(self):
        before = int(self.lab("run", "host1", "date +%s"))
        self.lab("clock", "host1", "7200")
        self.assertGreaterEqual(int(self.lab("run", "host1", "date +%s")), before + 7200)
        self.lab("clock", "host1", "--", "-7200")
        self.assertLess(int(self.lab("run", "host1", "date +%s")), before + 600)

    def test_a_paused_host_stands_still_with_all_its_clocks(self):
        uptime = "cut -d' ' -f1 /proc/uptime"
        before = float(self.lab("run", "host1", uptime))
        begun = time.monotonic()
        self.lab("pause", "host1")
        time.sleep(4)
        self.lab("resume", "host1")
        after = float(self.lab("run", "host1", uptime))
        self.assertLess(after - before, time.monotonic() - begun - 3)

    def test_a_host_that_was_killed_boots_again_from_its_disk(self):
        self.lab("run", "host1", "echo kept >/root/kept; sync -f /root/kept")
        boot = self.lab("run", "host1", "cat /proc/sys/kernel/random/boot_id")
        self.lab("kill", "host1")
        done = self.lab("run", "host1", "true", check=False)
        self.assertEqual(done.returncode, 255)
        done = self.lab("cut", "host1", check=False)
        self.assertIn("host1 does not run", done.stderr)
        self.lab("boot", "host1")
        self.assertEqual(self.lab("run", "host1", "cat /root/kept"), "kept\n")
        self.assertNotEqual(self.lab("run", "host1", "cat /proc/sys/kernel/random/boot_id"), boot)
        self.assertTrue(eventually(lambda: self.ping() is not None))

    def test_the_console_tells_what_the_host_printed(self):
        self.lab("run", "host1", "echo hello of the test >/dev/ttyS0")
        self.assertTrue(eventually(lambda: "hello of the test" in self.lab("console", "host1")))

    def test_wrong_words_are_refused_with_what_there_is(self):
        self.assertIn("there is no host 'host3'; lab", self.lab("run", "host3", "true", check=False).stderr)
        self.assertIn("a lab has 1 to 9 hosts", lab("up", "0", check=False).stderr)
        self.assertIn("say at least one of", self.lab("slow", "host1", check=False).stderr)
        self.assertIn("there is no lab 'nosuch'", lab("run", "host1", "true", name="nosuch", check=False).stderr)
        self.assertIn("there is no kind of host 'v3'; there are v2,", lab("up", "--kind", "v3", check=False).stderr)
        self.assertIn(f"there is a lab '{self.name}' already", lab("up", "--name", self.name, check=False).stderr)


class TwoLabs(unittest.TestCase):
    def test_a_lab_beside_another_ends_with_its_owner_however_that_ends(self):
        name = f"owned-{os.getpid()}"
        with subprocess.Popen(["sleep", "600"]) as owner:
            try:
                lab("up", "1", "--name", name, "--owner", str(owner.pid))
                self.assertEqual(lab("run", "host1", "hostname", name=name), "host1\n")
                self.assertGreaterEqual(len(processes_of(name)), 3)  # keeper, segment, host
            finally:
                owner.send_signal(signal.SIGKILL)
                owner.wait()
        self.assertTrue(eventually(lambda: not processes_of(name)), processes_of(name))
        self.assertFalse((client.labs_directory() / name).exists())

    def test_a_keeper_that_is_killed_takes_its_hosts_along(self):
        name = f"killed-{os.getpid()}"
        lab("up", "1", "--name", name, "--owner", str(os.getpid()))
        directory = client.labs_directory() / name
        keeper = [pid for pid in processes_of(name) if b"\0keeper\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        self.assertEqual(len(keeper), 1)
        os.kill(keeper[0], signal.SIGKILL)
        self.assertTrue(eventually(lambda: not processes_of(name)), processes_of(name))
        os.utime(directory, (0, 0))
        lab("list")
        self.assertFalse(directory.exists())

    def test_a_lab_that_ends_while_it_is_listed_is_told_and_the_others_are_listed(self):
        name = f"ending-{os.getpid()}"
        directory = client.labs_directory() / name
        client.labs_directory().mkdir(mode=0o700, exist_ok=True)
        directory.mkdir(mode=0o700)
        try:
            with open(directory / "lock", "w", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                done = lab("list", check=False)
                self.assertEqual(done.returncode, 0)
                self.assertIn(f"lab '{name}' does not answer", done.stderr)
                self.assertNotIn(name, done.stdout)
        finally:
            shutil.rmtree(directory)


if __name__ == "__main__":
    unittest.main(verbosity=2)
