"""What a system under test is to the bench: what it needs, its processes, its job, its children."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from localcluster.controlplane import ControlPlane
from scale_parts.sightings import POD

JsonObject = dict[str, Any]

NAMESPACE = "bench"
IMAGE = "trainer:bench"
"""Of all pods; nobody pulls it."""
RESOURCES = {"requests": {"cpu": "1", "memory": "4Gi"}, "limits": {"cpu": "1", "memory": "4Gi"}}
"""Of all pods."""


@dataclass(frozen=True)
class Kind:
    """A kind of object that the bench watches.

    Attributes:
        role: sightings.JOB, sightings.POD, or the kind of a child.
        api: the API's path, such as /apis/batch/v1.
        plural: its resource.
        label: the label that holds the name of the job that it belongs to; "" if it has the job's
            own name.
    """

    role: str
    api: str
    plural: str
    label: str = ""

    @property
    def path(self) -> str:
        """URL path of the objects."""
        return f"{self.api}/namespaces/{NAMESPACE}/{self.plural}"


@dataclass(frozen=True)
class Process:
    """A process of the system.

    Attributes:
        name: also of the user as whom it calls the API server.
        argv: the command line.
        env: beside this process's, and KUBECONFIG.
        ready: the URL that answers 200 once it works.
    """

    name: str
    argv: tuple[str, ...]
    ready: str
    env: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class System:
    """A system under test.

    Attributes:
        name: in the tables, with its settings.
        about: the settings, for the docs.
        users: names of its processes.
        tools: what is built for it.
        kinds: the job's kind, its children's in the order in which they come about, the pod's.
        manifests: files and objects to apply before it starts.
        processes: its processes, given the control plane and a folder for their files.
        job: the manifest of a job.
    """

    name: str
    about: str
    users: tuple[str, ...]
    tools: tuple[str, ...]
    kinds: tuple[Kind, ...]
    manifests: Callable[[], tuple[Path | JsonObject, ...]]
    processes: Callable[[ControlPlane, Path], tuple[Process, ...]]
    job: Callable[[str], JsonObject]
    pods: bool = True
    """Whether there are controllers, a scheduler and nodes, that make pods of its Jobs."""
    ends: bool = True
    """Whether a job's own status says that it has finished."""
    most: int = 0
    """Resident jobs to which it is brought at most, such that a run of all ends within an hour."""

    @property
    def jobs(self) -> Kind:
        """The kind that a user makes."""
        return self.kinds[0]

    def alone(self) -> Self:
        """The same where nothing is made of its children: only it and the API server work."""
        return replace(
            self,
            name=f"{self.name}, alone",
            about=f"{self.about}; no controllers, scheduler or nodes",
            kinds=tuple(kind for kind in self.kinds if kind.role != POD),
            pods=False,
            ends=False,
            most=0,
        )
