"""Unmounts what killed containers and kubelets leave mounted below a folder."""

import subprocess
from pathlib import Path

from localcluster.host import which


def mounted_below(directory: Path) -> list[Path]:
    """The mount points below a folder, deepest first."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = Path(line.split()[4].encode().decode("unicode_escape"))
        if directory in point.parents:
            points.append(point)
    return points[::-1]  # later mounts lie on earlier ones


def unmount_below(directory: Path) -> None:
    """Unmounts everything below a folder, lazily where something still holds on to it."""
    for point in mounted_below(directory):
        umount = which("umount") or "umount"
        if subprocess.run([umount, point], check=False, capture_output=True).returncode:
            subprocess.run([umount, "--lazy", point], check=False, capture_output=True)
