"""What an S3 service's failures mean: which are final and why, and which may pass."""

from dataclasses import dataclass

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3 import exceptions as http

from embedtune_api import contract
from embedtune_trainer.errors import AccessDenied, BadSpec, SourceNotFound, TrainerError

_DENIED = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
_OTHER_REGION = {
    "PermanentRedirect",
    "TemporaryRedirect",
    "Redirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
}
_PASSING = {408, 425, 429}


@dataclass(frozen=True)
class Service:
    """What messages say about an S3 service."""

    endpoint: str
    """Its URL."""
    endpoint_from: str
    """Where that URL is set."""
    region: str
    anonymous: bool
    """Whether requests are not signed."""


def passing_reason(error: MinioException | http.HTTPError, uri: str, service: Service) -> str:
    """Why it failed, if that may pass.

    Raises:
        SourceNotFound: there is no such bucket or object.
        AccessDenied: the service refuses the credentials, or what they ask for.
        BadSpec: the region or the endpoint is wrong, or the request is refused for another reason.
    """
    if isinstance(error, http.HTTPError):
        return _no_answer(error, uri, service)
    if isinstance(error, S3Error):
        status, code, text = error.response.status, error.code or "", error.message or ""
    elif isinstance(error, ServerError):
        status, code, text = error.status_code, "", ""
    elif isinstance(error, InvalidResponseError):
        status, code, text = error._code, "", "and not in S3's words"
    else:
        return f"{service.endpoint}: {error}"
    answer = " ".join(filter(None, (f"HTTP {status}", code, text.rstrip("."))))
    if status >= 500 or status in _PASSING:
        return f"{service.endpoint} answers {answer}"
    raise _final(status, code, answer, uri, service) from None


def _final(status: int, code: str, answer: str, uri: str, service: Service) -> TrainerError:
    if code in _OTHER_REGION:
        return BadSpec(
            f"{uri}: the bucket is not in region {service.region} ({answer}):"
            " set spec.storage.region"
        )
    if code == "NoSuchBucket":
        return SourceNotFound(
            f"{uri}: {service.endpoint} has no such bucket; check its name, or create it"
        )
    if code == "NoSuchKey":
        return SourceNotFound(f"{uri}: {service.endpoint} has no such object; check its name")
    if code in _DENIED or status in (401, 403):
        advice = (
            "no credentials are set: name a Secret in spec.storage.secretRef"
            f" (embedtune run: set {contract.ENV_ACCESS_KEY} and {contract.ENV_SECRET_KEY})"
            if service.anonymous
            else "check the keys in the Secret of spec.storage.secretRef (embedtune run: in the"
            " environment), and what they are allowed to do here"
        )
        return AccessDenied(f"{uri}: {service.endpoint} refuses access ({answer}); {advice}")
    return not_s3(uri, service, answer)


def not_s3(uri: str, service: Service, answer: str) -> BadSpec:
    """The service says something that makes no sense."""
    return BadSpec(
        f"{uri}: {service.endpoint} (from {service.endpoint_from}) cannot do this ({answer});"
        " is it an S3 service, and is this a name that it takes?"
    )


def _no_answer(error: http.HTTPError, uri: str, service: Service) -> str:
    name = f"{service.endpoint} (from {service.endpoint_from})"
    if isinstance(error, http.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        raise BadSpec(
            f"{uri}: the TLS certificate of {name} is not trusted by this system: {error};"
            " add its authority to the image's, or name a bundle in SSL_CERT_FILE"
        ) from None
    if isinstance(error, http.NameResolutionError):
        what = "its name cannot be resolved"
    elif isinstance(error, http.NewConnectionError):
        what = "no connection can be made"
    elif isinstance(error, http.ConnectTimeoutError):
        what = "connecting takes too long"
    elif isinstance(error, http.TimeoutError):
        what = "it says nothing"
    else:
        what = f"the connection broke: {error}"
    return f"{name} does not answer: {what}; check the endpoint, and whether the service runs"
