"""The keeper: the one process of a lab that starts its machines and ends them.

It ends the lab when it is told so, when its owner ends, when its time is over or on a signal. The machines are its
children and die with it, whatever ends it. It serves one JSON object a line on the lab's control socket.
"""

import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from . import LabError, image, qemu

CONTROL = "control"
STATE = "lab.json"
LOCK = "lock"


class Machine:
    def __init__(self, lab, number, settings):
        self.lab, self.number, self.settings = lab, number, settings
        self.name = f"host{number}"
        self.process, self.port = None, None

    def path(self, suffix):
        return self.lab.directory / f"{self.name}.{suffix}"

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def boot(self):
        if self.is_running():
            raise LabError(f"{self.name} runs already")
        if not self.path("qcow2").exists():
            qemu.make_overlay(self.lab.image / "root.img", self.path("qcow2"))
        # Somebody may take the port between our look and QEMU's: then another is tried.
        for _ in range(5):
            self.port = free_port()
            self.path("qmp").unlink(missing_ok=True)
            self.process = qemu.spawn(qemu.machine_arguments(self.lab.directory, self.lab.image, self.number, self.settings,
                                                             self.port, self.lab.accelerator), self.path("qemu.log"))
            if self.answers():
                self.lab.write_ssh_config()
                return
        raise LabError(f"{self.name} does not start: {self.path('qemu.log').read_text(encoding='utf-8').strip()}")

    def answers(self):
        while self.is_running():
            if self.path("qmp").exists():
                try:
                    qemu.qmp(self.path("qmp"), "query-status")
                    return True
                except LabError:
                    pass
            time.sleep(0.02)
        return False

    def kill(self):
        if self.process:
            self.process.kill()  # our child and not reaped yet: the pid is its own
            self.process.wait()


class Lab:
    """The keeper's half of a lab."""

    def __init__(self, directory, settings):
        self.directory = directory
        self.image = Path(settings["image"])
        self.accelerator = settings["accelerator"]
        self.machines = [Machine(self, number, host) for number, host in enumerate(settings["hosts"], 1)]
        self.segment = None

    def start(self):
        self.segment = qemu.spawn(qemu.segment_arguments(self.directory, len(self.machines)), self.directory / "segment.log")
        for machine in self.machines:
            wait_for(self.directory / f"cable{machine.number}", self.segment)
        for machine in self.machines:
            machine.boot()

    def end(self):
        for machine in self.machines:
            machine.kill()
        if self.segment:
            self.segment.kill()
            self.segment.wait()

    def write_ssh_config(self):
        lines = ["Host *", "  User root", "  HostName 127.0.0.1", f"  IdentityFile {self.image}/key",
                 f"  UserKnownHostsFile {self.image}/known_hosts", "  HostKeyAlias lab", "  StrictHostKeyChecking yes",
                 "  IdentitiesOnly yes", "  BatchMode yes", "  LogLevel ERROR", "  ServerAliveInterval 15",
                 "  ServerAliveCountMax 8", "  ConnectTimeout 5", "  ControlMaster auto",
                 f"  ControlPath {self.directory}/ssh-%n", "  ControlPersist 60"]
        for machine in self.machines:
            if machine.port:
                lines += [f"Host {machine.name}", f"  Port {machine.port}"]
        new = self.directory / "ssh_config.new"
        new.write_text("\n".join(lines) + "\n", encoding="utf-8")
        new.rename(self.directory / "ssh_config")

    def answer(self, request):
        """One request of a client: {"do": ..., "host": number}."""
        if request["do"] == "list":
            return [{"host": machine.name, "kind": machine.settings["kind"], "running": machine.is_running(),
                     "pid": machine.process.pid if machine.is_running() else None, "ssh_port": machine.port,
                     "accelerator": self.accelerator} for machine in self.machines]
        machine = self.machines[request["host"] - 1]
        if request["do"] == "boot":
            return machine.boot()
        if request["do"] == "kill":
            return machine.kill()
        if not machine.is_running():
            raise LabError(f"{machine.name} does not run; 'lab boot {machine.name}' starts it again")
        if request["do"] == "link":
            return qemu.qmp(machine.path("qmp"), "set_link", name="nic", up=request["up"])
        if request["do"] in ("stop", "cont"):
            return qemu.qmp(machine.path("qmp"), request["do"])
        raise LabError(f"the keeper does not know '{request['do']}'")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(path, process):
    while not path.exists():
        if process.poll() is not None:
            raise LabError(f"the segment does not start; see {path.parent}/segment.log")
        time.sleep(0.02)


def serve(lab, listener, owner, deadline):
    """Until the lab is to end."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    if owner is not None:
        poll.register(owner, select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return
        for descriptor, _ in poll.poll(left * 1000):
            if descriptor == owner:
                return
            connection = listener.accept()[0]
            with connection:
                connection.settimeout(10)
                try:
                    request = json.loads(connection.makefile("r", encoding="utf-8").readline())
                    if request["do"] == "down":
                        lab.end()
                    answer = {"answer": None if request["do"] == "down" else lab.answer(request)}
                except (LabError, OSError, ValueError, KeyError, IndexError) as error:
                    request, answer = {"do": None}, {"error": str(error)}
                try:
                    connection.sendall((json.dumps(answer) + "\n").encode())
                except OSError:
                    pass  # who asked went away
                if request["do"] == "down":
                    return


def exit_by_signal(*_):
    sys.exit(1)


def run(directory):
    """The keeper's whole life; it says "ok" or the reason on standard output, which its starter reads."""
    # Held while this process lives: tells a lab that runs from a dead one.
    lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, exit_by_signal)
    settings = json.loads((directory / STATE).read_text(encoding="utf-8"))
    lab = Lab(directory, settings)
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            owner = os.pidfd_open(settings["owner"]) if settings["owner"] else None
            lab.start()
            listener.bind(str(directory / CONTROL))
            listener.listen(16)
            print("ok", flush=True)
            os.dup2(2, 1)  # the starter waits for the end of this stream
            serve(lab, listener, owner, time.monotonic() + settings["seconds"])
        except (LabError, OSError, subprocess.CalledProcessError) as error:
            print(error, flush=True)
        finally:
            lab.end()
            shutil.rmtree(directory, ignore_errors=True)


def start(directory, program):
    """Starts a keeper as a process of its own; returns when its machines run, or throws."""
    with open(directory / "keeper.log", "ab") as log:
        process = subprocess.Popen([sys.executable, "-B", program, "keeper", str(directory)], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=log, start_new_session=True, text=True)
    report = process.stdout.read().strip()
    if report != "ok":
        raise LabError(report or f"the lab's keeper ended without a word; its log is {directory}/keeper.log")


def is_alive(directory):
    try:
        with open(directory / LOCK, "r+", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared with others who ask at this moment
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
