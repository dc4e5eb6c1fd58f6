"""`embedtune remove`: everything that one job has put under its prefix.

It is what a pod of the operator runs after the deletion of a FineTuneJob with output.retain false,
and does the same by hand. No other prefix than a single job's is taken.
"""

import argparse
import re
import sys
from threading import Event
from typing import Final

from embedtune_api.contract import MANIFEST, ExitCode
from embedtune_api.spec import Storage
from embedtune_trainer.errors import BadSpec, SourceNotFound

DESCRIPTION: Final = """\
Remove the model of a FineTuneJob, its reports and its checkpoints: all that
lies under the job's own prefix.

For S3 set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL
unless it is AWS."""
_OF_ONE_JOB: Final = re.compile(
    r"(s3://[^/]+|file://)/(.+/)?[a-z0-9-]+/[a-z0-9-]+"  # output.uri, namespace, name
    r"/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/?"  # uid
)


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`remove` among the commands."""
    remove = commands.add_parser(
        "remove",
        help="remove the model of a job from the storage",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    remove.add_argument("uri", metavar="URI", help="as in status.model.uri")
    remove.set_defaults(action=_remove)


def _remove(arguments: argparse.Namespace) -> int:
    from embedtune_trainer.sources.storage import RetryPolicy, open_storage

    uri: str = arguments.uri
    check_prefix(uri)
    store = open_storage(Storage(), Event(), RetryPolicy())
    try:
        files = len(store.sizes(uri))
        store.remove_folder(uri, first=MANIFEST)
    except SourceNotFound:  # not even the bucket is there any more
        files = 0
    sys.stdout.write(f"{uri}: {files} files removed\n")
    return ExitCode.DONE


def check_prefix(uri: str) -> None:
    """Refuse what may hold more than one job's files.

    Raises:
        BadSpec: it does not end as the prefix of a job on a cluster does.
    """
    if not _OF_ONE_JOB.fullmatch(uri) or ".." in uri.split("/"):
        raise BadSpec(
            f"URI: {uri} is not the prefix of one job, OUTPUT/NAMESPACE/NAME/UID/ as"
            " status.model.uri has it; nothing was removed"
        )
