"""`embedtune pull`: the model of a job on a cluster, brought to this machine and checked.

The job is asked for by kubectl, with the user's own kubeconfig; the model comes from the storage,
with the credentials of this environment.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, Final

from pydantic import ValidationError

from embedtune_api.contract import ENV_ENDPOINT, MANIFEST, ExitCode
from embedtune_api.spec import Storage
from embedtune_api.status import ModelRef
from embedtune_trainer.errors import (
    BadSpec,
    SourceNotFound,
    StorageUnavailable,
    UnsupportedModel,
)

RESOURCE: Final = "finetunejobs.embedtune.dev"
TIMEOUT_S: Final = 60
DESCRIPTION: Final = """\
Download the model of a FineTuneJob that is Complete, check every file against
its manifest and the manifest against the job's status, and say how to load it.

kubectl asks for the job, with its kubeconfig and context. For S3 set
AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL where the
service has another address from here than within the cluster."""


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`pull` among the commands."""
    pull = commands.add_parser(
        "pull",
        help="download the model of a job on a cluster",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pull.add_argument("job", metavar="JOB", help="name of a FineTuneJob")
    pull.add_argument("-n", "--namespace", metavar="NS", help="its namespace (kubectl's own)")
    pull.add_argument("--context", metavar="NAME", help="of the kubeconfig (the current one)")
    pull.add_argument("--to", type=Path, metavar="DIR", help="the folder to make (default: ./JOB)")
    pull.set_defaults(action=_pull)


def _pull(arguments: argparse.Namespace) -> int:
    from embedtune_trainer.artifact import verify
    from embedtune_trainer.console import load_hint
    from embedtune_trainer.sources.storage import RetryPolicy, open_storage
    from embedtune_trainer.usage import kind_of

    target = (arguments.to or Path(arguments.job)).absolute()
    if target.exists():
        raise BadSpec(f"--to: {target} is there already; name a folder that is not")
    job = job_on_cluster(arguments.job, arguments.namespace, arguments.context)
    model = model_of(job)
    store = open_storage(_storage(job), Event(), RetryPolicy())
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".embedtune-", dir=target.parent) as name:
        folder = store.fetch_folder(model.uri, Path(name) / "model")
        verify(folder)
        check_digest(folder, model)
        if folder.is_relative_to(name):
            folder.rename(target)
        else:
            shutil.copytree(folder, target)
    hint = load_hint(target.as_uri(), kind_of(target))
    sys.stdout.write(
        f"{target}: {model.embedding_dim} dimensions, {model.size_bytes / 1e6:.1f} MB,"
        f" {model.digest}\n\nLoad it:\n{hint}\n"
    )
    return ExitCode.DONE


def job_on_cluster(name: str, namespace: str | None, context: str | None) -> dict[str, Any]:
    """A FineTuneJob as the API server has it.

    Raises:
        BadSpec: kubectl is not installed, or the name is none.
        SourceNotFound: there is no such job.
        StorageUnavailable: kubectl cannot say.
    """
    if not name or name.startswith("-"):
        raise BadSpec(f"JOB: {name!r} is no name of a FineTuneJob")
    program = shutil.which("kubectl")
    if program is None:
        raise BadSpec(
            "kubectl is not on the PATH; install it, or copy the model from status.model.uri"
        )
    command = [program, "get", RESOURCE, name, "--output=json"]
    command += [f"--namespace={namespace}"] if namespace else []
    command += [f"--context={context}"] if context else []
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise StorageUnavailable(f"kubectl did not answer in {TIMEOUT_S} s") from None
    if done.returncode:
        said = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        kind = SourceNotFound if "(NotFound)" in said else StorageUnavailable
        raise kind(f"kubectl get {RESOURCE} {name}: {said}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def model_of(job: dict[str, Any]) -> ModelRef:
    """What the job's status says of its model.

    Raises:
        BadSpec: the job is not Complete.
        UnsupportedModel: the status is of another version.
    """
    status = job.get("status") or {}
    name = job["metadata"]["name"]
    state, given = status.get("state") or "Pending", status.get("model")
    if given is None:
        raise BadSpec(
            f"FineTuneJob {name} has no model: it is {state}"
            + (f" ({status['reason']})" if status.get("reason") else "")
            + f"; see kubectl describe {RESOURCE} {name}"
        )
    if state != "Complete":
        sys.stderr.write(
            f"embedtune: FineTuneJob {name} is {state} ({status.get('reason')}); its model is"
            " there all the same\n"
        )
    try:
        return ModelRef.model_validate_json(json.dumps(given))
    except ValidationError as error:
        raise UnsupportedModel(
            f"FineTuneJob {name}: status.model cannot be read: {error}"
        ) from None


def check_digest(folder: Path, model: ModelRef) -> None:
    """Compare the manifest with the job's status.

    Raises:
        UnsupportedModel: it is another one.
    """
    found = "sha256:" + hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    if found != model.digest:
        raise UnsupportedModel(
            f"{model.uri}: {MANIFEST} is {found}, but the job's status says {model.digest}: the"
            " model was replaced or changed after the job"
        )


def _storage(job: dict[str, Any]) -> Storage:
    """Region as the job has it; endpoint, too, where this environment has none."""
    given = job["spec"].get("storage") or {}
    found = {key: given[key] for key in ("region", "endpoint") if key in given}
    if os.environ.get(ENV_ENDPOINT):
        found.pop("endpoint", None)
    return Storage.parse(found)
