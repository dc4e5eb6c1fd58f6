"""What the platform's administrator decides, from environment variables that the chart sets."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from embedtune_api.quantity import parse_quantity

T = TypeVar("T")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


class BadSettings(ValueError):
    """An environment variable has a value that cannot be used; the message names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The operator's configuration, each field with its environment variable."""

    trainer_image: str
    """Image of the training pods. EMBEDTUNE_TRAINER_IMAGE, required."""
    trainer_pull_policy: str
    """Always, IfNotPresent or Never. EMBEDTUNE_TRAINER_PULL_POLICY, default IfNotPresent."""
    trainer_pull_secrets: tuple[str, ...]
    """Names of image pull Secrets in the jobs' namespaces. EMBEDTUNE_TRAINER_PULL_SECRETS."""
    trainer_private_addresses: bool
    """Whether images may come from private addresses, such as the cluster's own services.
    EMBEDTUNE_TRAINER_PRIVATE_ADDRESSES, default false."""
    s3_endpoint: str | None
    """S3 service of jobs that name none. EMBEDTUNE_S3_ENDPOINT; without it, AWS."""
    s3_region: str | None
    """S3 region of jobs that name none. EMBEDTUNE_S3_REGION; without it, us-east-1."""
    default_cpu: str
    """CPU cores of jobs that name none. EMBEDTUNE_DEFAULT_CPU, default 1."""
    default_memory: str
    """Memory of jobs that name none. EMBEDTUNE_DEFAULT_MEMORY, default 4Gi."""
    default_gpus: int
    """GPUs of jobs that name none. EMBEDTUNE_DEFAULT_GPUS, default 0."""
    sizing: bool
    """Whether a pod finds out what a job needs that leaves it out; otherwise it gets the defaults.
    EMBEDTUNE_SIZING, default true."""
    sizing_max_cpu: str
    """Most CPU cores that a job gets which names none. EMBEDTUNE_SIZING_MAX_CPU, default 8."""
    sizing_max_memory: str
    """Memory above which a job that names none fails rather than gets it.
    EMBEDTUNE_SIZING_MAX_MEMORY, default 64Gi."""
    scratch_size: str
    """Limit of a pod's work folder. EMBEDTUNE_SCRATCH_SIZE, default 20Gi."""
    namespaces: tuple[str, ...]
    """Namespaces that are served; empty for all of them. EMBEDTUNE_NAMESPACES."""
    lease: tuple[str, str] | None
    """Namespace and name of the Lease by which replicas elect the one that works.
    EMBEDTUNE_LEASE, as namespace/name; without it, there is one replica."""
    metrics_port: int
    """Port of /metrics, /healthz and /readyz. EMBEDTUNE_METRICS_PORT, default 8080."""
    scrape_interval_s: float
    """Seconds between looks at a trainer's progress. EMBEDTUNE_SCRAPE_INTERVAL_S, default 5."""
    watch_timeout_s: int
    """Seconds after which a watch is renewed; /healthz fails when none was renewed for two and a
    half times as long. EMBEDTUNE_WATCH_TIMEOUT_S, default 20."""
    resync_interval_s: float
    """Seconds between listings of everything, which mend what watches lost unnoticed.
    EMBEDTUNE_RESYNC_INTERVAL_S, default 600."""
    log_format: str
    """json or text. EMBEDTUNE_LOG_FORMAT, default json."""

    @property
    def watch_dead_after_s(self) -> float:
        """Seconds without a renewed watch after which it counts as dead."""
        return 2.5 * self.watch_timeout_s

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Read and check every variable.

        Raises:
            BadSettings: naming the first variable that is missing or wrong.
        """
        read = _Reader(env)
        return cls(
            trainer_image=read("TRAINER_IMAGE", _image),
            trainer_pull_policy=read(
                "TRAINER_PULL_POLICY", _one_of("IfNotPresent", "Always", "Never"), "IfNotPresent"
            ),
            trainer_pull_secrets=read("TRAINER_PULL_SECRETS", _names, ""),
            trainer_private_addresses=read(
                "TRAINER_PRIVATE_ADDRESSES", _one_of("false", "true"), "false"
            )
            == "true",
            s3_endpoint=read("S3_ENDPOINT", _url, ""),
            s3_region=read("S3_REGION", lambda value: value or None, ""),
            default_cpu=read("DEFAULT_CPU", _quantity, "1"),
            default_memory=read("DEFAULT_MEMORY", _quantity, "4Gi"),
            default_gpus=read("DEFAULT_GPUS", _integer(0, 64), "0"),
            sizing=read("SIZING", _one_of("true", "false"), "true") == "true",
            sizing_max_cpu=read("SIZING_MAX_CPU", _quantity, "8"),
            sizing_max_memory=read("SIZING_MAX_MEMORY", _quantity, "64Gi"),
            scratch_size=read("SCRATCH_SIZE", _quantity, "20Gi"),
            namespaces=read("NAMESPACES", _names, ""),
            lease=read("LEASE", _lease, ""),
            metrics_port=read("METRICS_PORT", _integer(1, 65535), "8080"),
            scrape_interval_s=read("SCRAPE_INTERVAL_S", _seconds, "5"),
            watch_timeout_s=read("WATCH_TIMEOUT_S", _integer(2, 600), "20"),
            resync_interval_s=read("RESYNC_INTERVAL_S", _seconds, "600"),
            log_format=read("LOG_FORMAT", _one_of("json", "text"), "json"),
        )


@dataclass(frozen=True, slots=True)
class _Reader:
    env: Mapping[str, str]

    def __call__(self, name: str, parse: Callable[[str], T], default: str | None = None) -> T:
        variable = f"EMBEDTUNE_{name}"
        value = self.env.get(variable, "").strip() or default
        if value is None:
            raise BadSettings(f"{variable} must be set")
        try:
            return parse(value)
        except ValueError as error:
            raise BadSettings(f"{variable} is {value!r}: {error}") from None


def _image(value: str) -> str:
    if re.search(r"\s", value):
        raise ValueError("an image reference has no blanks")
    return value


def _names(value: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a Kubernetes name; give names with commas between")
    return names


def _lease(value: str) -> tuple[str, str] | None:
    if not value:
        return None
    namespace, _, name = value.partition("/")
    if not (_NAME.fullmatch(namespace) and _NAME.fullmatch(name)):
        raise ValueError("give namespace/name")
    return namespace, name


def _url(value: str) -> str | None:
    if value and not re.fullmatch(r"https?://[^\s/]+/?", value):
        raise ValueError("not a URL such as http://minio.minio.svc:9000")
    return value or None


def _quantity(value: str) -> str:
    parse_quantity(value)
    return value


def _one_of(*values: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in values:
            raise ValueError(f"must be one of {', '.join(values)}")
        return value

    return parse


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", value) or not low <= int(value) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(value)

    return parse


def _seconds(value: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", value) or float(value) <= 0:
        raise ValueError("must be a number of seconds above 0")
    return float(value)
