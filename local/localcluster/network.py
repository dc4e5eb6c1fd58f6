"""The pods' network: one bridge, its CNI configuration, and the firewall rules that are ours."""

import json
import re
import subprocess
from pathlib import Path

from localcluster.config import Config
from localcluster.host import which

NAME = "embedtune"  # of the CNI network

_COMMENT = "embedtune-local"
_OURS = re.compile(rf'-A .*--comment "?{_COMMENT}"?( |$)')
_KUBE_CHAIN = re.compile(r"^:(KUBE-\S+) ")
_KUBE_RULE = re.compile(r"^-A .*-j KUBE-\S+|^-A KUBE-\S+ ")


def up(config: Config) -> None:
    """Makes the bridge with the node's address, and lets pods out through it."""
    prefix = config.pod_cidr.split("/")[1]
    if not Path(f"/sys/class/net/{config.bridge}").exists():
        _run("ip", "link", "add", config.bridge, "type", "bridge")
    _run("ip", "address", "replace", f"{config.node_ip}/{prefix}", "dev", config.bridge)
    _run("ip", "link", "set", config.bridge, "up")
    for rule in _rules(config):
        table, chain, *match = rule
        comment = ("-m", "comment", "--comment", _COMMENT)
        if _run("iptables", "-w", "-t", table, "-C", chain, *match, *comment, check=False):
            _run("iptables", "-w", "-t", table, "-I", chain, *match, *comment)


def down(config: Config) -> None:
    """Removes the bridge, our rules, and the chains of kube-proxy and the kubelet."""
    if Path(f"/sys/class/net/{config.bridge}").exists():
        _run("ip", "link", "delete", config.bridge)
    save = which("iptables-save")
    if save is None:
        return
    saved = subprocess.run([save], check=True, capture_output=True, text=True).stdout
    script = removal(saved)
    if script:
        subprocess.run(
            [which("iptables-restore") or "iptables-restore", "-w", "--noflush"],
            check=True,
            input=script,
            text=True,
        )


def removal(saved: str) -> str:
    """The iptables-restore script that takes out what is ours in an iptables-save dump."""
    script: list[str] = []
    for table in re.split(r"^(?=\*)", saved, flags=re.MULTILINE):
        lines = table.splitlines()
        chains = [found[1] for line in lines if (found := _KUBE_CHAIN.match(line))]
        rules = [
            line
            for line in lines
            if _OURS.match(line) or (_KUBE_RULE.match(line) and not line.startswith("-A KUBE-"))
        ]
        if not chains and not rules:
            continue
        script.append(lines[0])
        script += [f":{chain} - [0:0]" for chain in chains]  # flushes it under --noflush
        script += [line.replace("-A ", "-D ", 1) for line in rules]
        script += [f"-X {chain}" for chain in chains]
        script.append("COMMIT")
    return "\n".join(script) + "\n" if script else ""


def cni_configuration(config: Config) -> str:
    """The conflist that containerd reads: a bridge, addresses from a file store, no hostPorts.

    Masquerading is one rule of `up` instead of the plugin's chain per pod, so that a killed run
    leaves nothing per pod behind.
    """
    bridge = {
        "type": "bridge",
        "bridge": config.bridge,
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(config.node_dir / "ipam"),
            "ranges": [[{"subnet": config.pod_cidr, "gateway": config.node_ip}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    return json.dumps({"cniVersion": "0.4.0", "name": NAME, "plugins": [bridge]}, indent=1)


def _rules(config: Config) -> tuple[tuple[str, ...], ...]:
    pods = config.pod_cidr
    return (
        ("nat", "POSTROUTING", "-s", pods, "!", "-d", pods, "-j", "MASQUERADE"),
        ("filter", "FORWARD", "-i", config.bridge, "-j", "ACCEPT"),
        ("filter", "FORWARD", "-o", config.bridge, "-j", "ACCEPT"),
    )


def _run(command: str, *arguments: str, check: bool = True) -> int:
    done = subprocess.run(
        [which(command) or command, *arguments], check=False, capture_output=True, text=True
    )
    if check and done.returncode:
        raise RuntimeError(f"{command} {' '.join(arguments)}: {done.stderr.strip()}")
    return done.returncode
