"""Several real sshd nodes on this machine: `with Lab.start(count=2) as lab: ...`."""

from tests.lab.lab import Lab, LabNode

__all__ = ["Lab", "LabNode"]
