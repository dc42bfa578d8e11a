"""The lab: QEMU machines with kernels of their own, joined by an Ethernet segment. See docs/lab.md."""


class LabError(Exception):
    """What a person reads when the lab cannot do what was asked: what failed, on what, why."""
