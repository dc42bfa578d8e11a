"""The place that a benchmark works in: a temporary directory with a busybox root, and what undoes all that is made."""

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time

CGROUP = "/sys/fs/cgroup"
PR_SET_CHILD_SUBREAPER = 36


class BenchError(Exception):
    pass


def run(*command, env=None, check=True, timeout=120):
    """Runs a command whose output matters only when it fails."""
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout
    )
    if check and done.returncode != 0:
        raise BenchError(f"'{' '.join(command)}' ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def pivots_of_lxc():
    """LXC leaves a group `lxc.pivot` in each hierarchy of cgroup v1."""
    names = [os.path.join(CGROUP, hierarchy, "lxc.pivot") for hierarchy in os.listdir(CGROUP)] if os.path.isdir(CGROUP) else []
    return {name for name in names + [os.path.join(CGROUP, "lxc.pivot")] if os.path.isdir(name)}


def reap_all():
    """Waits for all children that have ended, or do within two seconds."""
    for _ in range(200):
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.01)
        except ChildProcessError:
            return


class Workshop:
    def __init__(self, holm):
        self.holm = os.path.abspath(holm) if os.access(holm, os.X_OK) else None
        if self.holm is None:
            print(f"holm is left out: '{holm}' is not built (scripts/demo and scripts/test build it)")
        self.undo = []

    def __enter__(self):
        # SIGTERM ends the program by way of the clean-up, as Ctrl-C does.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        # What the contenders leave to the host's init comes to this program: not every init reaps it.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.undo.append(reap_all)
        self.directory = tempfile.mkdtemp(prefix="holm-bench.")
        self.undo.append(lambda: shutil.rmtree(self.directory))
        os.chmod(self.directory, 0o755)  # containers with ids of their own pass through it
        try:
            self._make_run_directory(os.path.join(self.directory, "run"))
            self.root = self._make_root(os.path.join(self.directory, "root"))
            self.environment = dict(
                os.environ,
                HOLM_STATE_DIR=os.path.join(self.directory, "state"),
                HOLM_RUN_DIR=os.path.join(self.directory, "run"),
            )
            before = pivots_of_lxc()
            self.undo.append(lambda: [os.rmdir(group) for group in pivots_of_lxc() - before])
            if self.holm:
                self.undo.append(self._remove_holm)
                self.run_holm("template", "build", "busybox")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for undo in reversed(self.undo):
            try:
                undo()
            except (OSError, BenchError, subprocess.SubprocessError) as error:
                print(f"clean-up: {error}")

    def run_holm(self, *arguments, check=True):
        return run(self.holm, *arguments, env=self.environment, check=check)

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def write(self, name, text):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def _make_run_directory(self, directory):
        """A tmpfs, as /run is on every host whose init is systemd."""
        os.mkdir(directory, 0o700)
        run("mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", directory)
        self.undo.append(lambda: run("umount", "-l", directory))

    def _make_root(self, root):
        busybox = shutil.which("busybox")
        if busybox is None:
            raise BenchError("there is no busybox (scripts/setup --bench installs busybox-static)")
        for name in ["bin", "dev", "etc", "proc", "sys", "tmp", "usr", "var", "root", "run", "sbin"]:
            os.makedirs(os.path.join(root, name))
        shutil.copy(busybox, os.path.join(root, "bin", "busybox"))
        for name in ["true", "sh", "sleep"]:
            os.symlink("busybox", os.path.join(root, "bin", name))
        with open(os.path.join(root, "etc", "passwd"), "w", encoding="utf-8") as file:
            file.write("root:x:0:0:root:/root:/bin/sh\n")
        return root

    def _remove_holm(self):
        names = self.holm_containers()
        if names:
            self.run_holm("destroy", "--force", *names, check=False)
        self.run_holm("gc", check=False)
        with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
            if any(self.directory in line and f" {self.path('run')} " not in line for line in mounts):
                raise BenchError(f"holm left mounts below '{self.directory}'")

    def holm_containers(self):
        directory = self.path("state", "containers")
        return sorted(name for name in os.listdir(directory) if not name.startswith(".")) if os.path.isdir(directory) else []
