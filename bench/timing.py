"""Times whole commands, from before fork to after wait."""

import ctypes
import os
import statistics
import subprocess
import time

CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE, MNT_DETACH = 0x4000, 1 << 18, 2
UNIFIED = "/sys/fs/cgroup/unified"


class Candidate:
    """One contender: a name and a function that gives the command of round n."""

    def __init__(self, name, command, env=None, hide_unified=False):
        self.name = name
        self.command = command
        self.env = env
        self.hide_unified = hide_unified and os.path.ismount(UNIFIED)


def time_command(command, env):
    """Milliseconds, or the error's text."""
    start = time.perf_counter()
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    elapsed = (time.perf_counter() - start) * 1000
    if done.returncode != 0:
        return f"ended with {done.returncode}: {done.stderr.decode(errors='replace').strip()}"
    return elapsed


class HiddenUnified:
    """A forked copy of this program in a mount namespace without the v2 hierarchy of a hybrid host, which crun does not
    take. It stands ready before the clock starts, so that its making is not counted."""

    def __init__(self):
        libc = ctypes.CDLL(None, use_errno=True)
        requests, self.requests = os.pipe()
        self.answers, answers = os.pipe()
        self.pid = os.fork()
        if self.pid != 0:
            os.close(requests)
            os.close(answers)
            return
        try:
            os.close(self.requests)
            os.close(self.answers)
            hidden = (
                libc.unshare(CLONE_NEWNS) == 0
                and libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0
                and libc.umount2(UNIFIED.encode(), MNT_DETACH) == 0
            )
            with os.fdopen(requests, "r") as source, os.fdopen(answers, "w") as sink:
                for line in source:
                    command = line.rstrip("\n").split("\0")
                    answer = time_command(command, None) if hidden else "cannot hide " + UNIFIED
                    sink.write(repr(answer).replace("\n", " ") + "\n")
                    sink.flush()
        finally:
            os._exit(0)

    def time(self, command):
        os.write(self.requests, ("\0".join(command) + "\n").encode())
        answer = b""
        while not answer.endswith(b"\n"):
            part = os.read(self.answers, 65536)
            if not part:
                return "the helper that hides " + UNIFIED + " is gone"
            answer += part
        text = answer.decode().strip()
        try:
            return float(text)
        except ValueError:
            return text

    def close(self):
        os.close(self.requests)
        os.close(self.answers)
        os.waitpid(self.pid, 0)


def alternate(candidates, rounds):
    """{name: (median, min, max)} in ms. One round more than asked for comes first and warms up; whoever fails once is
    named and left out."""
    times = {candidate.name: [] for candidate in candidates}
    helper = HiddenUnified() if any(candidate.hide_unified for candidate in candidates) else None
    try:
        for number in range(rounds + 1):
            for candidate in candidates:
                if candidate.name not in times:
                    continue
                command = candidate.command(number)
                result = helper.time(command) if candidate.hide_unified else time_command(command, candidate.env)
                if isinstance(result, str):
                    print(f"  {candidate.name} is left out: {' '.join(command)}: {result}")
                    del times[candidate.name]
                elif number > 0:
                    times[candidate.name].append(result)
    finally:
        if helper:
            helper.close()
    return {name: (statistics.median(values), min(values), max(values)) for name, values in times.items() if values}
