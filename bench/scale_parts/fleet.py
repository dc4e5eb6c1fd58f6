"""KWOK's side: nodes that are only objects, and pods that run and succeed by the clock.

A pod is Running as soon as KWOK sees it on its node, and Succeeded RUN_S to RUN_LONGEST_S later. A
trainer's container then leaves the TrainResult of its job as its termination message, so that the
operator finds a model; other systems' containers just end with 0.
"""

import json
from typing import Any

from embedtune_api import contract

JsonObject = dict[str, Any]

NODES = 100
RUN_S, RUN_LONGEST_S = 5, 10
"""How long a pod runs: a time between them, at random."""
POD_IP = "127.77.0.1"
"""Of all pods: where fake_trainer.py serves what a trainer would."""
OUTPUT = "s3://models/tuned"


def node(number: int) -> JsonObject:
    """A node that KWOK keeps alive."""
    name = f"kwok-{number:03}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"kubernetes.io/hostname": name},
        },
    }


def kwok_config() -> str:
    """The file for kwok --config: documents in JSON, which is YAML."""
    options = {
        "manageAllNodes": True,
        "nodeLeaseDurationSeconds": 40,
        "podPlayStageParallelism": 16,
        "serverAddress": "",
    }
    documents = [
        {
            "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
            "kind": "KwokConfiguration",
            "options": options,
        },
        _stage("run", _is("DoesNotExist", ".status.podIP"), _RUNNING, ()),
        _stage(
            "succeed",
            {"key": ".status.phase", "operator": "In", "values": ["Running"]},
            succeeded_template(),
            (RUN_S * 1000, RUN_LONGEST_S * 1000),
        ),
        _gone(),
    ]
    return "\n---\n".join(json.dumps(document, indent=1) for document in documents)


def succeeded_template() -> str:
    """The Go template of a pod's last status."""
    return _SUCCEEDED.replace("RESULT", json.dumps(_result()))


def _result() -> JsonObject:
    """A TrainResult with places for the pod's labels."""
    label = "{{ index $root.metadata.labels `embedtune.dev/job-%s` }}"
    job = f"{{{{ $root.metadata.namespace }}}}/{label % 'name'}/{label % 'uid'}"
    return {
        "version": 1,
        "model": {
            "uri": f"{OUTPUT}/{job}/",
            "digest": "sha256:" + "0" * 64,
            "sizeBytes": 90_000_000,
            "embeddingDim": 384,
            "baseModel": "s3://bases/minilm",
        },
        "metrics": {
            "headline": {"name": "ndcg_at_10", "before": "0.61", "after": "0.78"},
            "before": {"ndcg_at_10": "0.61"},
            "after": {"ndcg_at_10": "0.78"},
        },
    }


def _is(operator: str, key: str) -> JsonObject:
    return {"key": key, "operator": operator}


def _stage(name: str, when: JsonObject, template: str, delay_ms: tuple[int, ...]) -> JsonObject:
    spec: JsonObject = {
        "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
        "selector": {
            "matchExpressions": [_is("DoesNotExist", ".metadata.deletionTimestamp"), when]
        },
        "next": {"statusTemplate": template},
    }
    if delay_ms:
        spec["delay"] = {
            "durationMilliseconds": delay_ms[0],
            "jitterDurationMilliseconds": delay_ms[1],
        }
    return _document(name, spec)


def _gone() -> JsonObject:
    return _document(
        "gone",
        {
            "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
            "selector": {"matchExpressions": [_is("Exists", ".metadata.deletionTimestamp")]},
            "next": {"finalizers": {"empty": True}, "delete": True},
        },
    )


def _document(name: str, spec: JsonObject) -> JsonObject:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": f"bench-pod-{name}"},
        "spec": spec,
    }


_RUNNING = f"""
{{{{ $now := Now }}}}
conditions:
{{{{ range (list "Initialized" "Ready" "ContainersReady") }}}}
- {{lastTransitionTime: {{{{ $now | Quote }}}}, status: "True", type: {{{{ . }}}}}}
{{{{ end }}}}
containerStatuses:
{{{{ range .spec.containers }}}}
- image: {{{{ .image | Quote }}}}
  name: {{{{ .name | Quote }}}}
  ready: true
  restartCount: 0
  state: {{running: {{startedAt: {{{{ $now | Quote }}}}}}}}
{{{{ end }}}}
hostIP: {POD_IP}
podIP: {POD_IP}
podIPs: [{{ip: {POD_IP}}}]
phase: Running
startTime: {{{{ $now | Quote }}}}
"""

_SUCCEEDED = f"""
{{{{ $now := Now }}}}
{{{{ $root := . }}}}
containerStatuses:
{{{{ range .spec.containers }}}}
- image: {{{{ .image | Quote }}}}
  name: {{{{ .name | Quote }}}}
  ready: false
  restartCount: 0
  state:
    terminated:
      exitCode: 0
      reason: Completed
      startedAt: {{{{ $now | Quote }}}}
      finishedAt: {{{{ $now | Quote }}}}
      {{{{ if eq .name "{contract.CONTAINER}" }}}}
      message: 'RESULT'
      {{{{ end }}}}
{{{{ end }}}}
phase: Succeeded
"""
