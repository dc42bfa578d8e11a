"""What goes wrong with hosts and networks, on purpose."""

import re
import shlex

from . import LabError

SEGMENT = "eth1"
FILL_FILE = ".lab-fill"


def shape(lab, number, delay=None, loss=None, rate=None):
    """What the host sends into the segment waits, is lost, or is held to a rate; tc-netem(8)'s words and units."""
    words = " ".join(f"{name} {shlex.quote(value)}" for name, value in (("delay", delay), ("loss", loss), ("rate", rate)) if value)
    if not words:
        raise LabError("say at least one of --delay, --loss and --rate, or --off")
    # Many packets wait where a link is long and wide.
    lab.output(number, f"tc qdisc replace dev {SEGMENT} root netem {words} limit 20000")


def unshape(lab, number):
    lab.output(number, f"tc qdisc del dev {SEGMENT} root 2>/dev/null || true")


def fill_disk(lab, number, directory, leave="0"):
    """Leaves `leave` bytes (K, M and G as in fallocate(1)) of the file system free."""
    if not re.fullmatch(r"\d+[KMG]?", leave):
        raise LabError(f"'{leave}' is no number of bytes")
    path = shlex.quote(f"{directory}/{FILL_FILE}")
    lab.output(number, f"""
      set -e
      left=$(numfmt --from=iec {leave})
      free=$(($(stat -f -c '%a * %S' {shlex.quote(directory)})))
      [ "$free" -le "$left" ] || fallocate -l $((free - left)) {path} 2>/dev/null || [ -e {path} ]
      # What fallocate could not take: some file systems keep blocks back for their own tables, or know no fallocate.
      if [ "$left" -eq 0 ]; then
        for size in 1M 4K; do dd if=/dev/zero of={path} bs=$size oflag=append conv=notrunc status=none 2>/dev/null || true; done
      fi
      sync""")


def free_disk(lab, number, directory):
    lab.output(number, f"rm -f {shlex.quote(f'{directory}/{FILL_FILE}')}; sync")


def set_clock(lab, number, seconds):
    """Sets the host's wall clock by that many seconds, forward or back; the monotonic clock goes on."""
    lab.output(number, f"date -s @$(($(date +%s) + ({seconds}))) >/dev/null")
