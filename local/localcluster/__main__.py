"""The command line: python -m localcluster build|up|down|status|env|load|kubectl."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from localcluster import tools
from localcluster.cluster import Cluster, ComponentStatus
from localcluster.say import Lacking, say, timed


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; gives the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (Lacking, RuntimeError, ValueError) as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="localcluster", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    build = commands.add_parser("build", help="compile the programs of the cluster, once")
    build.add_argument("names", nargs="*", help="such as kubectl or kwok; all but kwok if left out")
    build.set_defaults(run=_build)

    up = commands.add_parser("up", help="start the cluster, or what of it isn't running")
    up.set_defaults(run=_up)

    down = commands.add_parser("down", help="stop every process and container of the cluster")
    down.add_argument("--purge", action="store_true", help="remove its data and images too")
    down.set_defaults(run=_down)

    status = commands.add_parser("status", help="show each component; exit 1 unless all are well")
    status.set_defaults(run=_status)

    env = commands.add_parser("env", help='print shell variables: eval "$(... env)"')
    env.set_defaults(run=_env)

    load = commands.add_parser("load", help="import an image into the node")
    load.add_argument("image", type=Path, help="a docker-archive, or an OCI layout folder")
    load.set_defaults(run=_load)
    return parser


def _build(options: argparse.Namespace) -> int:
    for name, path in tools.build(options.names).items():
        print(f"{name} {path}")
    return 0


def _up(options: argparse.Namespace) -> int:
    del options
    Cluster().up()
    return _status(argparse.Namespace())


def _down(options: argparse.Namespace) -> int:
    with timed("stopping the cluster"):
        Cluster().down(purge=options.purge)
    return 0


def _status(options: argparse.Namespace) -> int:
    del options
    cluster = Cluster()
    components = cluster.status()
    width = max(len(component.name) for component in components)
    for component in components:
        print(_line(component, width))
    print(f"kubeconfig  {cluster.plane.kubeconfig}")
    print(f"S3 (MinIO)  {cluster.config.s3_url_host}, in pods {cluster.config.s3_url_cluster}")
    return 0 if all(component.healthy for component in components) else 1


def _line(component: ComponentStatus, width: int) -> str:
    state = "healthy" if component.healthy else "DOWN   "
    pid = f"pid {component.pid}" if component.pid else ""
    return f"{component.name:{width}}  {state}  {pid:12}  {component.log}".rstrip()


def _env(options: argparse.Namespace) -> int:
    del options
    info = Cluster().info
    for name, value in (
        ("KUBECONFIG", str(info.kubeconfig)),
        ("EMBEDTUNE_S3_URL", info.s3_url_host),
        ("EMBEDTUNE_S3_URL_CLUSTER", info.s3_url_cluster),
        ("AWS_ACCESS_KEY_ID", info.access_key),
        ("AWS_SECRET_ACCESS_KEY", info.secret_key),
    ):
        print(f"export {name}={shlex.quote(value)}")
    print(f"export PATH={shlex.quote(str(tools.owner('kubectl').built('kubectl').parent))}:$PATH")
    return 0


def _load(options: argparse.Namespace) -> int:
    with timed(f"importing {options.image}"):
        names = Cluster().node.containerd.import_image(options.image)
    for name in names:
        print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
