"""A checkpoint as a folder: tensors, the JSON that holds them together, and a manifest.

checkpoint.json is written last and has the sha256 and size of the others: a folder without it is
none, and one that differs from it is damaged.
"""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from embedtune_api.base import ApiModel
from embedtune_trainer.artifact import ManifestFile, canonical_json, file_sha256
from embedtune_trainer.checkpoints.identity import Identity
from embedtune_trainer.checkpoints.tree import Node, flatten, unflatten
from embedtune_trainer.processes import Processes

TENSORS: Final = "state.safetensors"
STATE: Final = "state.json"
MANIFEST: Final = "checkpoint.json"


class Damaged(Exception):
    """A folder is not the checkpoint that was written; the message says why."""


class Manifest(ApiModel):
    """checkpoint.json."""

    version: Literal[1] = 1
    step: int
    """Optimizer steps done."""
    identity: Identity
    hardware: str
    """What computed it: bit for bit is a promise for the same only."""
    found: dict[str, int | None]
    """What was found for the fields of spec.training that say auto."""
    files: dict[str, ManifestFile] = Field(min_length=2)


@dataclass(frozen=True)
class Snapshot:
    """A state at rest.

    Attributes:
        step: optimizer steps done.
        node: see tree.
        tensors: on the CPU, no part of the training any more.
        identity: whose it is.
        hardware: see hardware().
        found: see Manifest.
    """

    step: int
    node: Node
    tensors: dict[str, Tensor]
    identity: Identity
    hardware: str
    found: dict[str, int | None]

    @classmethod
    def take(
        cls,
        step: int,
        state: object,
        identity: Identity,
        device: torch.device,
        found: Mapping[str, int | None],
    ) -> "Snapshot":
        """Copy a state; waits for the device."""
        return cls(step, *flatten(state), identity, hardware(device), dict(found))


def hardware(device: torch.device) -> str:
    """What decides the order of sums and what is drawn: device, threads of a CPU, processes."""
    on_cpu = f"{platform.machine()} {torch.get_num_threads()} threads"
    found = torch.cuda.get_device_name(device) if device.type == "cuda" else on_cpu
    processes = Processes.of_environment().size
    return found if processes == 1 else f"{found}, {processes} processes"


def write(snapshot: Snapshot, folder: Path) -> None:
    """Write one into an empty folder, which is made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(snapshot.tensors, folder / TENSORS)
    (folder / STATE).write_bytes(json.dumps(snapshot.node, allow_nan=False).encode())
    files = {
        name: ManifestFile(sha256=file_sha256(path), size=path.stat().st_size)
        for name, path in ((name, folder / name) for name in (TENSORS, STATE))
    }
    manifest = Manifest(
        step=snapshot.step,
        identity=snapshot.identity,
        hardware=snapshot.hardware,
        found=snapshot.found,
        files=files,
    )
    (folder / MANIFEST).write_bytes(canonical_json(manifest.to_dict()))


def verified(folder: Path) -> Manifest:
    """The manifest, after every file has been compared with it.

    Raises:
        Damaged: a file is missing or changed, or the manifest is none.
    """
    manifest = read_manifest(folder / MANIFEST)
    try:
        for name, file in manifest.files.items():
            path = folder / name
            if path.stat().st_size != file.size:
                raise Damaged(f"{name} has {path.stat().st_size} bytes, not {file.size}")
            if file_sha256(path) != file.sha256:
                raise Damaged(f"{name} is not what {MANIFEST} says")
    except OSError as error:
        raise Damaged(f"{error.filename} cannot be read: {error.strerror}") from None
    return manifest


def read_manifest(path: Path) -> Manifest:
    """A manifest alone.

    Raises:
        Damaged: it is none.
    """
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise Damaged(f"{error.filename} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        raise Damaged(f"{MANIFEST} is not a checkpoint's: {error.errors()[0]['msg']}") from None


def load(folder: Path) -> dict[str, Any]:
    """The state of a verified folder, its tensors on the CPU.

    Raises:
        Damaged: it cannot be put together.
    """
    try:
        state = unflatten(json.loads((folder / STATE).read_bytes()), load_file(folder / TENSORS))
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise Damaged(f"the state cannot be read: {error}") from None
    if not isinstance(state, dict):
        raise Damaged(f"{STATE} holds no state")
    return state
