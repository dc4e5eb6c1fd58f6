"""The cluster's certificates, made with the openssl command and kept for as long as they fit.

There are two authorities: one for Kubernetes and one for etcd, because whoever may write to etcd
may do anything, and no Kubernetes client has a reason to.
"""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from localcluster.say import Lacking

_VALID_DAYS = "3650"
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Certificate:
    """A certificate to be made.

    Attributes:
        name: of its files, NAME.crt and NAME.key.
        common_name: who it is for; a Kubernetes user name.
        organization: a Kubernetes group, or "".
        alt_names: subjectAltName entries like "IP:127.0.0.1", for servers.
        authority: the name of the signing CA.
    """

    name: str
    common_name: str
    organization: str = ""
    alt_names: tuple[str, ...] = ()
    authority: str = "ca"


class Pki:
    """A folder of keys and certificates."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def certificate(self, name: str) -> Path:
        """The path of a certificate in PEM."""
        return self.directory / f"{name}.crt"

    def key(self, name: str) -> Path:
        """The path of a private key in PEM."""
        return self.directory / f"{name}.key"

    def ensure(self, certificates: Sequence[Certificate]) -> bool:
        """Makes what is missing: the authorities, the service-account keys, the certificates.

        A certificate whose description has changed is issued anew; the authorities stay, so that
        running pods go on trusting the API server.

        Returns:
            Whether a certificate was issued; whoever serves with the old one must be restarted.
        """
        if shutil.which("openssl") is None:
            raise Lacking("openssl is missing; on Debian: apt-get install openssl")
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("ca", "etcd-ca"):
            if not self.certificate(name).exists():
                _authority(self.directory, name)
        if not (self.directory / "service-account.pub").exists():
            _service_account_keys(self.directory)
        issued = False
        for certificate in certificates:
            described = json.dumps(vars(certificate))
            record = self.directory / f"{certificate.name}.json"
            if not record.exists() or record.read_text() != described:
                _issue(self.directory, certificate)
                record.write_text(described)
                issued = True
        return issued


def _authority(directory: Path, name: str) -> None:
    _openssl(
        directory,
        *("req", "-x509", *_NEW_KEY, "-days", _VALID_DAYS, "-subj", f"/CN=embedtune-local-{name}"),
        *("-addext", "keyUsage=critical,digitalSignature,keyCertSign,cRLSign"),
        *("-keyout", f"{name}.key", "-out", f"{name}.crt"),
    )


def _issue(directory: Path, certificate: Certificate) -> None:
    organization = f"/O={certificate.organization}" if certificate.organization else ""
    extensions = [
        "basicConstraints=critical,CA:FALSE",
        "keyUsage=critical,digitalSignature",
        "extendedKeyUsage=serverAuth,clientAuth",
    ]
    if certificate.alt_names:
        extensions.append(f"subjectAltName={','.join(certificate.alt_names)}")
    _openssl(
        directory,
        *("req", "-x509", *_NEW_KEY, "-days", _VALID_DAYS),
        *("-CA", f"{certificate.authority}.crt", "-CAkey", f"{certificate.authority}.key"),
        *("-subj", f"{organization}/CN={certificate.common_name}"),
        *(part for extension in extensions for part in ("-addext", extension)),
        *("-keyout", f"{certificate.name}.key", "-out", f"{certificate.name}.crt"),
    )


def _service_account_keys(directory: Path) -> None:
    _openssl(
        directory,
        *("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-out", "service-account.key"),
    )
    _openssl(
        directory,
        *("pkey", "-in", "service-account.key", "-pubout", "-out", "service-account.pub"),
    )


def _openssl(directory: Path, *arguments: str) -> None:
    done = subprocess.run(
        ["openssl", *arguments],
        check=False,
        cwd=directory,
        capture_output=True,
        text=True,
        umask=0o077,
    )
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
