"""What commands do with a lab that runs: find it, ask its keeper, reach its hosts over ssh."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import LabError, image, keeper, qemu

BOOT_SECONDS = 240


def labs_directory():
    return Path(os.environ.get("HOLM_LAB_DIR", f"{tempfile.gettempdir()}/holm-lab.{os.getuid()}"))


def running_labs():
    """The directories of the labs that run; those of dead ones are removed on the way."""
    directory = labs_directory()
    if not directory.is_dir():
        return []
    for path in directory.iterdir():
        if is_dead(path):
            shutil.rmtree(path, ignore_errors=True)
    return sorted(path for path in directory.iterdir() if keeper.is_alive(path))


def is_dead(path):
    try:
        # A moment old and without a keeper: it is just being started.
        return not keeper.is_alive(path) and path.stat().st_mtime < time.time() - 60
    except FileNotFoundError:
        return False  # its keeper has just removed it


class Lab:
    def __init__(self, directory):
        self.directory = directory

    @property
    def name(self):
        return self.directory.name

    def ask(self, what, **values):
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self.directory / keeper.CONTROL))
                connection.sendall((json.dumps({"do": what, **values}) + "\n").encode())
                answer = json.loads(connection.makefile("r", encoding="utf-8").readline() or '{"error": "the keeper ended"}')
            except OSError as error:
                raise LabError(f"lab '{self.name}' does not answer: {error}") from error
        if "error" in answer:
            raise LabError(answer["error"])
        return answer["answer"]

    def hosts(self):
        return self.ask("list")

    def host(self, word):
        """The number of a host that a person calls 'host2' or '2'."""
        number = word.removeprefix("host")
        hosts = self.hosts()
        if not number.isdecimal() or not 1 <= int(number) <= len(hosts):
            raise LabError(f"there is no host '{word}'; lab '{self.name}' has {', '.join(host['host'] for host in hosts)}")
        return int(number)

    def ssh_command(self, number, *options):
        return ["ssh", "-F", str(self.directory / "ssh_config"), *options, f"host{number}"]

    def run(self, number, command, **options):
        """Runs a shell command on a host; subprocess' result. 255 is ssh's own failure."""
        return subprocess.run([*self.ssh_command(number), "--", command], check=False, **options)

    def output(self, number, command):
        """Standard output of a command that has to succeed."""
        done = self.run(number, command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            words = done.stderr.strip() or done.stdout.strip() or f"'{command}' says nothing"
            raise LabError(f"host{number}: {words} (exit status {done.returncode})")
        return done.stdout

    def copy(self, words):
        return subprocess.run(["scp", "-q", "-r", "-p", "-F", str(self.directory / "ssh_config"), *words], check=False).returncode

    def wait_until_up(self, number):
        """Until a command runs there: sshd answers after all else is set up."""
        end = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < end:
            done = self.run(number, "true", capture_output=True, stdin=subprocess.DEVNULL)
            if done.returncode == 0:
                return
            if not self.hosts()[number - 1]["running"]:
                raise LabError(f"host{number} ended while it booted:\n{self.console_end(number)}")
            time.sleep(0.2)
        raise LabError(f"host{number} does not answer after {BOOT_SECONDS} s:\n{self.console_end(number)}")

    def console(self, number):
        return self.directory / f"host{number}.console"

    def console_end(self, number, lines=40):
        text = self.console(number).read_text(encoding="utf-8", errors="replace")
        return "\n".join(f"host{number}| {line.rstrip()}" for line in text.splitlines()[-lines:])

    def down(self):
        self.ask("down")


def up(program, hosts, name=None, owner=None, seconds=4 * 3600):
    """Boots hosts, each described by {"kind", "memory" MiB, "cpus", "append", "disk", "slow_disk"}; returns when they answer."""
    for host in hosts:
        if host["kind"] not in qemu.KINDS:
            raise LabError(f"there is no kind of host '{host['kind']}'; there are {', '.join(qemu.KINDS)}")
    for tool in (qemu.PROGRAM, "qemu-img", "ssh", "mke2fs", "mmdebstrap"):
        if not shutil.which(tool):
            raise LabError(f"'{tool}' is not there: 'scripts/setup --test' installs it")
    directory = labs_directory() / (name or f"lab-{secrets.token_hex(3)}")
    if len(str(directory)) > 80:  # sockets in it have paths of 107 bytes at most
        raise LabError(f"the path '{directory}' is too long for sockets; set HOLM_LAB_DIR to a shorter one")
    running_labs()
    labs_directory().mkdir(mode=0o700, exist_ok=True)
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError as error:
        raise LabError(f"there is a lab '{directory.name}' already") from error
    try:
        settings = {"hosts": hosts, "owner": owner, "seconds": seconds, "image": str(image.find_or_build()),
                    "accelerator": "kvm" if qemu.kvm_works() else "tcg"}
        (directory / keeper.STATE).write_text(json.dumps(settings), encoding="utf-8")
        keeper.start(directory, program)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    lab = Lab(directory)
    try:
        for number in range(1, len(hosts) + 1):
            lab.wait_until_up(number)
    except BaseException:
        lab.down()
        raise
    return lab


def find(name=None):
    """The lab of that name, or the only one that runs."""
    labs = running_labs()
    name = name or os.environ.get("HOLM_LAB")
    if name:
        for path in labs:
            if path.name == name:
                return Lab(path)
        raise LabError(f"there is no lab '{name}'")
    if len(labs) == 1:
        return Lab(labs[0])
    if not labs:
        raise LabError("no lab runs; 'lab up' starts one")
    raise LabError(f"several labs run ({', '.join(path.name for path in labs)}): say which with --lab NAME or HOLM_LAB")


def say(text):
    print(text, file=sys.stderr, flush=True)
