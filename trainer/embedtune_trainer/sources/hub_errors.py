"""What the Hugging Face hub's failures mean: which are final and why, and which may pass."""

from collections.abc import Iterator

import httpx
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from embedtune_trainer.errors import AccessDenied, BadSpec, SourceNotFound, TrainerError

TOKEN = "HF_TOKEN"  # noqa: S105  the name of a variable
_PASSING = {408, 425, 429}


def passing_reason(error: Exception, uri: str, endpoint: str, *, signed: bool) -> str:
    """Why it failed, if that may pass.

    Args:
        error: what huggingface_hub raised; what it wraps is looked at, too.
        uri: what was asked for.
        endpoint: the hub's URL.
        signed: whether a token was sent.

    Raises:
        SourceNotFound: no such repository, revision or file.
        AccessDenied: private, gated, or a bad token.
        BadSpec: no name of a repository, or a request that the hub refuses for another reason.
        Exception: the error itself, if it is none of the hub's.
    """
    for cause in _causes(error):
        if isinstance(cause, HFValidationError):
            raise BadSpec(f"{uri}: {str(cause).splitlines()[0]}") from None
        if isinstance(cause, HfHubHTTPError):
            status = cause.response.status_code
            if status >= 500 or status in _PASSING:
                return f"{endpoint} answers HTTP {status}"
            raise _final(cause, status, uri, endpoint, signed=signed) from None
        if isinstance(cause, httpx.TransportError):
            return f"{endpoint} does not answer: {cause or type(cause).__name__}"
    raise error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _final(
    error: HfHubHTTPError, status: int, uri: str, endpoint: str, *, signed: bool
) -> TrainerError:
    advice = (
        f"check what the token in {TOKEN} may read"
        if signed
        else "no token is set: name a Secret in spec.storage.hfTokenSecretRef (embedtune run: set"
        f" {TOKEN})"
    )
    if isinstance(error, GatedRepoError):
        return AccessDenied(
            f"{uri}: the repository is gated (HTTP {status}): accept its conditions on {endpoint},"
            f" and use that account's token; {advice}"
        )
    if isinstance(error, RevisionNotFoundError):
        return SourceNotFound(f"{uri}: {endpoint} has no such revision; check what stands after @")
    if status in (401, 403):
        missing = ", or there is no such repository" if status == 401 else ""
        return AccessDenied(f"{uri}: {endpoint} refuses access (HTTP {status}){missing}; {advice}")
    if isinstance(error, RepositoryNotFoundError):
        return SourceNotFound(f"{uri}: {endpoint} has no such repository; check its name")
    if status == 404:
        return SourceNotFound(f"{uri}: {endpoint} has no such file (HTTP 404)")
    return BadSpec(f"{uri}: {endpoint} cannot do this (HTTP {status}); is it a hub?")
