"""The memory of what stays on the host for each running container."""

import os
import shutil
import time

import contenders
import timing
from workshop import BenchError, run


def pss_of(pid):
    """Bytes: private pages, and this process's share of the shared ones."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    raise BenchError(f"no Pss in /proc/{pid}/smaps_rollup")


def parent_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("PPid:"))




def processes_of(name):
    """Pids whose command line names the path or word `name`."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    if name.encode() in file.read():
                        found.append(int(entry))
            except OSError:
                continue  # it ended meanwhile
    return found


def report(figures, key, title, monitors):
    mean = sum(pss_of(pid) for pid in monitors) / len(monitors) / 1048576
    figures[key] = mean
    print(f"  {title}: {len(monitors)} monitors, PSS of each {mean:.2f} MiB")


def measure_holm(shop, count, figures):
    if not shop.holm:
        return
    names = [f"idle{number}" for number in range(1, count + 1)]
    # A payload that no other process of the host has: a monitor is the parent of one.
    seconds = str(100000 + os.getpid())
    configs = [contenders.holm_config(shop, name, contenders.NAT_NETWORK, f'["/bin/sleep", "{seconds}"]') for name in names]
    start = time.perf_counter()
    for config in configs:
        shop.run_holm("start", config)
    print(f"  holm: {count} started in {time.perf_counter() - start:.2f} s")
    payloads = processes_of(f"sleep\0{seconds}\0")
    if len(payloads) != count:
        raise BenchError(f"{len(payloads)} of Holm's {count} containers run")
    report(figures, "memory.holm", "holm (NAT)", {parent_of(pid) for pid in payloads})
    listing = timing.alternate([timing.Candidate("list", lambda number: [shop.holm, "list"], env=shop.environment)], 20)
    if "list" in listing:
        figures["time.list"] = listing["list"][0]
        print(f"  holm list of {count} containers: {listing['list'][0]:.2f} ms")
    shop.run_holm("destroy", "--force", *names)


def measure_lxc(shop, count, figures):
    if not shutil.which("lxc-start"):
        print("  lxc is left out: it is not installed (scripts/setup --bench)")
        return
    lxc = shop.path("lxc")
    names = [f"benchidle{os.getpid()}-{number}" for number in range(1, count + 1)]
    shop.undo.append(lambda: [run("lxc-stop", "-P", lxc, "-k", "-n", name, check=False) for name in names])
    start = time.perf_counter()
    for name in names:
        config = contenders.lxc_config(shop, name, "lxc.net.0.type = empty\n")
        # lxc-start runs an init; here it is a sleep.
        run("lxc-start", "-P", lxc, "-n", name, "-f", config, "-d", "--", "/bin/sleep", "100000")
    print(f"  lxc: {count} started in {time.perf_counter() - start:.2f} s")
    inits = [int(run("lxc-info", "-P", lxc, "-n", name, "-p", "-H").strip()) for name in names]
    report(figures, "memory.lxc", "lxc", {parent_of(pid) for pid in inits})
