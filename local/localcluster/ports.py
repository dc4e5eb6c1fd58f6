"""Ports that collide with nobody, and stay the same for as long as a state folder lives."""

import json
import socket
from pathlib import Path


def free_port(address: str, preferred: int = 0) -> int:
    """The preferred port if nothing listens on it, or else one that the kernel picks."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError(f"no port is free on {address}")


class Ports:
    """The ports of one state folder."""

    def __init__(self, path: Path, address: str) -> None:
        self._path = path
        self._address = address

    def get(self, name: str, preferred: int = 0, address: str | None = None) -> int:
        """The port of that name, chosen at the first call and remembered."""
        known = self._read()
        if name not in known:
            known[name] = free_port(address or self._address, preferred)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(known))
        return known[name]

    def forget(self) -> None:
        """Lets every port be chosen again."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> dict[str, int]:
        try:
            return {
                str(name): int(port) for name, port in json.loads(self._path.read_text()).items()
            }
        except (OSError, ValueError, AttributeError):
            return {}
