"""What starts `true` in a busybox root, as each system does it."""

import ipaddress
import json
import os
import shutil

from timing import Candidate
from workshop import run

NO_NETWORK = '[[network]]\nmode = "none"\n'
NAT_NETWORK = '[[network]]\nmode = "nat"\n'


def available(shop, *names):
    """Those that are there; says which are not."""
    for name in names:
        if shutil.which(name) is None:
            print(f"{name} is left out: it is not installed (scripts/setup --bench)")
    return [name for name in names if shutil.which(name)]


def holm_config(shop, name, network, command='["/bin/true"]'):
    return shop.write(f"configs/{name}.toml", f'name = "{name}"\ntemplate = "busybox"\ncommand = {command}\n\n{network}')


def holm(shop, name, network):
    if not shop.holm:
        return []
    config = holm_config(shop, name, network)
    return [Candidate("holm", lambda number: [shop.holm, "run", "--rm", config], env=shop.environment)]


def oci_bundle(shop):
    """A bundle with runc's own default configuration, but for the terminal and the command."""
    bundle = shop.path("bundle")
    os.makedirs(bundle, exist_ok=True)
    if not os.path.exists(os.path.join(bundle, "config.json")):
        run("runc", "spec", "--bundle", bundle)
        with open(os.path.join(bundle, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        config["process"]["terminal"] = False
        config["process"]["args"] = ["/bin/true"]
        config["root"] = {"path": shop.root, "readonly": False}
        shop.write("bundle/config.json", json.dumps(config))
    return bundle


def oci_runtime(shop, name):
    bundle = oci_bundle(shop)
    state = shop.path(f"{name}-state")
    return Candidate(
        name, lambda number: [name, "--root", state, "run", "--bundle", bundle, f"bench-{name}-{number}"], hide_unified=name == "crun"
    )


def lxc_config(shop, name, network):
    os.makedirs(shop.path("lxc"), exist_ok=True)
    text = f"lxc.rootfs.path = dir:{shop.root}\nlxc.uts.name = {name}\n{network}"
    if os.path.isdir("/sys/kernel/security/apparmor"):
        text += "lxc.apparmor.profile = unconfined\n"
    return shop.write(f"{name}.conf", text)


def lxc_execute(shop, title, name, network):
    config = lxc_config(shop, name, network)
    return Candidate(
        title, lambda number: ["lxc-execute", "-P", shop.path("lxc"), "-n", f"{name}-{number}", "-f", config, "--", "/bin/true"]
    )


def bubblewrap(shop):
    command = ["bwrap", "--unshare-all", "--bind", shop.root, "/", "--dev", "/dev", "--proc", "/proc", "/bin/true"]
    return Candidate("bubblewrap", lambda number: command)


def without_network(shop):
    candidates = holm(shop, "bench", NO_NETWORK)
    # runc's name is needed for both bundles, as it writes the default configuration.
    if available(shop, "runc"):
        candidates += [oci_runtime(shop, name) for name in ["runc", *available(shop, "crun")]]
    if available(shop, "lxc-execute"):
        candidates.append(lxc_execute(shop, "lxc-execute", "bench-lxc", "lxc.net.0.type = empty\n"))
    if available(shop, "bwrap"):
        candidates.append(bubblewrap(shop))
    return candidates


def unused_subnet():
    """A private /24 that no route of this host knows."""
    used = []
    for route in json.loads(run("ip", "-json", "-4", "route", "show", "table", "all") or "[]"):
        if route["dst"] != "default":
            used.append(ipaddress.ip_network(route["dst"], strict=False))
    for third in range(255, 0, -1):
        subnet = ipaddress.ip_network(f"10.254.{third}.0/24")
        if not any(subnet.overlaps(other) for other in used):
            return subnet
    raise RuntimeError("no subnet of 10.254.0.0/16 is free")


def with_network(shop):
    candidates = holm(shop, "bench-nat", NAT_NETWORK)
    if available(shop, "lxc-execute"):
        bridge = f"bnch{os.getpid() % 1000000}"
        subnet = unused_subnet()
        run("ip", "link", "add", bridge, "type", "bridge")
        shop.undo.append(lambda: run("ip", "link", "delete", bridge))
        run("ip", "address", "add", f"{subnet[1]}/24", "dev", bridge)
        run("ip", "link", "set", bridge, "up")
        network = (
            f"lxc.net.0.type = veth\nlxc.net.0.link = {bridge}\nlxc.net.0.flags = up\nlxc.net.0.name = eth0\n"
            f"lxc.net.0.ipv4.address = {subnet[10]}/24\nlxc.net.0.ipv4.gateway = {subnet[1]}\n"
        )
        candidates.append(lxc_execute(shop, "lxc-execute veth", "bench-lxc-veth", network))
    return candidates
