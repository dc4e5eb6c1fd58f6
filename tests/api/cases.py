"""FineTuneJobs that must be accepted or refused, by pydantic and by a real API server alike.

A case changes one thing in a minimal job: a dotted path and the value to put there (REMOVE takes
the field away). What is refused also says which words the message must hold.
"""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

REMOVE = object()
MINIMAL: dict[str, Any] = {
    "apiVersion": "embedtune.dev/v1alpha1",
    "kind": "FineTuneJob",
    "metadata": {"name": "case", "namespace": "default"},
    "spec": {
        "model": {"backbone": "s3://bases/minilm"},
        "data": {"train": {"uri": "s3://datasets/train.csv"}},
        "output": {"uri": "s3://models/tuned"},
    },
}


@dataclass(frozen=True)
class Case:
    """One change to MINIMAL."""

    base: ClassVar[dict[str, Any]] = MINIMAL

    path: str
    value: Any
    says: str = ""
    """Words of the refusal; empty for a case that is accepted."""
    cluster_only: bool = False
    """Refused in a cluster only, since `embedtune run` can do it."""

    def __str__(self) -> str:
        value = "removed" if self.value is REMOVE else repr(self.value)[:40]
        return f"{self.path}={value}"

    def job(self) -> dict[str, Any]:
        job = copy.deepcopy(self.base)
        *parents, last = self.path.split(".")
        node = job
        for key in parents:
            node = node.setdefault(key, {})
        if self.value is REMOVE:
            del node[last]
        else:
            node[last] = self.value
        return job


MODEL, DATA, TRAIN = "spec.model", "spec.data", "spec.training"
EVAL, CSV, OBJ = "spec.data.evaluation", "spec.data.train.csv", "spec.objective"

TOWER = {"backbone": "s3://bases/minilm", "projection": {"dim": 128}, "freeze": ["backbone"]}
ONNX = {"uri": "s3://models/tuned", "formats": ["safetensors", "onnx"]}
THAWED = {"backbone": "s3://bases/minilm", "freezeAllBut": ["encoder.layer.5"]}
PAIR = {"text": TOWER, "image": TOWER | {"backbone": "torchvision://mobilenet_v2"}}
BACKBONES = (
    "hf://sentence-transformers/all-MiniLM-L6-v2",
    "hf://gpt2@607a30d",
    "torchvision://resnet50",
    "timm://vit_base_patch16_224.augreg_in21k",
    "mlp://384",
    "pvc://models/bert",
)
BOTH = {"backbone": "s3://bases/minilm", "freeze": ["a"], "freezeAllBut": ["b"]}
ONE, TWO = ({"uri": f"s3://datasets/{name}.csv"} for name in ("one", "two"))
MIXED = {"mix": [ONE | {"weight": 3}, TWO | {"weight": 0.5, "layout": "pairs"}]}
DATA_URIS = ("pvc://data/train.csv", "hf://datasets/sst2", "hf://datasets/o/n@v1/data/a.parquet")

PATHS, CLIMBING = ("output", "data.train"), ("../other", "ours/../theirs", "..")

ACCEPTED = [
    Case("spec.model.backbone", "s3://bases/minilm"),
    *(Case("spec.model.backbone", v) for v in BACKBONES),
    Case("spec.model", PAIR),
    Case("spec.model", {"text": THAWED, "image": THAWED}),
    Case("spec.model", PAIR | {"task": "text-to-image"}),
    *(Case(f"{MODEL}.pooling", v) for v in ("auto", "mean", "cls", "max", "last", "gem", "none")),
    Case(f"{MODEL}.poolingOptions", {"p": 3, "eps": 1e-6, "learnable": True}),
    Case(f"{MODEL}.weights", "s3://bases/resnet50.pth"),
    Case(f"{MODEL}.cut", "layer4.1.relu"),
    Case(f"{MODEL}.projection", {"dim": 128}),
    Case(f"{MODEL}.projection", {"dim": 8, "hidden": [64], "activation": "gelu", "norm": "batch"}),
    Case(f"{MODEL}.freezeAllBut", ["encoder.layer.5"]),
    Case(f"{MODEL}.lora", {}),
    Case(f"{MODEL}.lora", {"rank": 4, "alpha": 8.5, "targets": ["*.query"]}),
    Case(f"{MODEL}.imageSize", 64),
    *(Case("spec.data.train.uri", v) for v in DATA_URIS),
    *(Case("spec.data.train.format", v) for v in ("jsonl", "parquet", "documents", "images")),
    *(Case("spec.data.train.layout", v) for v in ("labelled", "pairs", "scored", "text-image")),
    Case("spec.data.train.columns", {"anchor": "q", "positive": "a", "negatives": ["n1", "n2"]}),
    Case("spec.data.train.onBadRow", "skip"),
    Case("spec.data.train.limit", 1000),
    Case("spec.data", {"mix": [ONE, TWO]}),
    Case("spec.data", MIXED),
    Case("spec.data", {"mix": [ONE] * 16}),
    Case(f"{OBJ}.hardNegatives", {}),
    Case(f"{OBJ}.hardNegatives", {"perRow": 8, "among": 8, "margin": 0}),
    Case(f"{OBJ}.matryoshka", {"dims": [8, 4]}),
    Case(f"{OBJ}.matryoshka", {"dims": [8, 4], "weights": [1, 0.5]}),
    Case(f"{OBJ}.also", [{"loss": "SupConLoss", "weight": 0.5, "miner": "auto"}]),
    Case(EVAL, {"metric": "spearman"}),
    Case(EVAL, {"metric": "image_to_text_recall_at_5"}),
    *(Case(f"{OBJ}.loss", v) for v in ("auto", "CLIPLoss", "MultipleNegativesRankingLoss")),
    Case(f"{TRAIN}.augmentation", "none"),
    Case("spec.storage", {"hfTokenSecretRef": {"name": "hub"}}),
    Case("spec.loggers", {"wandb": {"project": "search", "secretRef": {"name": "wandb"}}}),
    Case("spec.loggers", {"mlflow": {"trackingUri": "http://mlflow.mlops.svc:5000/a"}}),
    Case(f"{MODEL}.freeze", ["embeddings", "encoder.layer.[0-3]"]),
    Case(f"{MODEL}.freeze", ["backbone"]),
    Case(f"{MODEL}.normalize", False),
    Case(f"{MODEL}.maxSeqLength", 128),
    Case("spec.data.train.columns", {"item": "question", "label": "class"}),
    Case(f"{CSV}.delimiter", ";"),
    Case(f"{CSV}.delimiter", "\t"),
    Case(f"{CSV}.encoding", "latin-1"),
    Case(EVAL, {"split": 0.25}),
    Case(EVAL, {"every": {"steps": 100}}),
    Case(EVAL, {"uri": "s3://datasets/test.csv"}),
    Case(EVAL, {"queries": {"uri": "s3://d-s/q.csv"}, "index": {"uri": "s3://d-s/i.csv"}}),
    Case(EVAL, {"metric": "map"}),
    Case(EVAL, {"metric": "precision_at_1"}),
    Case(EVAL, {"cutoffs": [3], "metric": "hit_at_3"}),
    Case(f"{OBJ}.lossOptions", {"margin": 0.3, "distance": "euclidean", "soft": True}),
    Case(f"{OBJ}.minerOptions", {"typeOfTriplets": "hard"}),
    Case(f"{OBJ}.itemsPerClass", 2),
    Case(f"{TRAIN}.learningRate", 5e-5),
    Case(f"{TRAIN}.learningRate", 1),
    Case(f"{TRAIN}.warmupRatio", 0),
    Case(f"{TRAIN}.seed", 2**31 - 1),
    Case("spec.storage", {"endpoint": "http://minio.minio.svc:9000", "region": "eu-1"}),
    Case("spec.storage", {"secretRef": {"name": "s3-credentials"}}),
    Case("spec.resources", {"gpus": 0, "cpu": 4, "memory": "16Gi"}),
    Case("spec.resources", {"cpu": "1500m", "memory": "1.5Gi"}),
    Case("spec.runPolicy", {"backoffLimit": 0, "ttlSecondsAfterFinished": 0}),
    Case("spec.runPolicy", {"pendingDeadlineSeconds": 900, "onOutOfMemory": "moreMemory"}),
    Case("spec.runPolicy", {"ttlSecondsAfterFinished": 0, "ttlPolicy": "job"}),
    Case("spec.suspend", True),
    Case("spec.parallelism", {"nodes": 4, "processesPerNode": 8}),
    Case("spec.parallelism", {"nodes": 4, "minNodes": 2}),
    Case(
        "spec",
        {**MINIMAL["spec"], "parallelism": {"nodes": 100}, "training": {"batchSize": "auto"}},
    ),
    Case("spec.output", REMOVE),
    Case("spec.output.uri", REMOVE),
    Case("spec.output", {"retain": False, "formats": ["safetensors", "onnx"]}),
    Case("spec.runtime", {"name": "gpu"}),
    Case("spec.runtime", {"name": "gpu", "kind": "ClusterFineTuneRuntime"}),
    Case("spec.resources", {"className": "large", "memory": "64Gi"}),
    Case("spec.output.retain", False),
    Case("spec.output.uri", "s3://models/a..b/..c/d../.e"),
    Case("spec.output", ONNX | {"onnx": {"precision": ["float32", "float16", "int8"]}}),
    Case("metadata.name", "a" * 52),
    Case(TRAIN, {"batchSize": "auto", "microBatch": "auto", "accumulate": 2}),
    Case(TRAIN, {"microBatch": 1, "optimizer": "SGD", "optimizerOptions": {"momentum": 0.9}}),
    Case(TRAIN, {"rates": [{"modules": ["encoder.*"], "factor": 0.1}], "layerDecay": 0.9}),
    Case(TRAIN, {"ema": {}, "scheduler": "cosine", "maxGradientNorm": 0, "compile": True}),
]

REFUSED = [
    Case("spec.loggers", {"wandb": {"entity": "us"}}, "project"),
    Case("spec.loggers", {"wandb": {"project": "a/b"}}, "project"),
    Case("spec.loggers", {"mlflow": {"trackingUri": "mlflow:5000"}}, "trackingUri"),
    Case("spec.model", REMOVE, "spec.model"),
    Case("spec.data", REMOVE, "spec.data"),
    Case("spec.runtime", {}, "spec.runtime.name"),
    Case("spec.runtime", {"name": "Gpu"}, "spec.runtime.name"),
    Case("spec.runtime", {"name": "gpu", "kind": "Runtime"}, "spec.runtime.kind"),
    Case("spec.runtime", {"name": "gpu", "namespace": "other"}, "spec.runtime.namespace"),
    Case("spec.resources", {"className": ""}, "spec.resources.className"),
    Case("spec.resources", {"className": "a.b"}, "spec.resources.className"),
    Case("spec.moodel", {}, "spec.moodel"),
    Case(f"{MODEL}.backbone", REMOVE, "give backbone, or text and image"),
    Case("spec.model", {"text": TOWER}, "text and image go together"),
    Case("spec.model", PAIR | {"backbone": "s3://bases/clip"}, "give backbone, or text and image"),
    Case("spec.model", PAIR | {"projection": {"dim": 8}}, "say cut, pooling, projection"),
    Case("spec.model", PAIR | {"freeze": ["backbone"]}, "say cut, pooling, projection"),
    Case("spec.model", PAIR | {"image": {}}, "spec.model.image.backbone"),
    Case(f"{MODEL}.backbone", "hf://a/b/c", "spec.model.backbone"),
    Case(f"{MODEL}.backbone", "mlp://", "spec.model.backbone"),
    Case(f"{MODEL}.backbone", "torchvision://", "spec.model.backbone"),
    Case(f"{MODEL}.cut", "", "spec.model.cut"),
    Case(f"{MODEL}.task", "audio", "spec.model.task"),
    Case(f"{MODEL}.lora", {"rank": 0}, "spec.model.lora.rank"),
    Case(f"{MODEL}.projection", {"dim": 8, "norm": "group"}, "spec.model.projection.norm"),
    Case(f"{MODEL}.projection", {"dim": 8, "dropout": 1}, "spec.model.projection.dropout"),
    Case(f"{MODEL}.imageSize", 4, "spec.model.imageSize"),
    Case(f"{MODEL}.backbone", 7, "spec.model.backbone"),
    Case(f"{MODEL}.backbone", "all-MiniLM-L6-v2", "spec.model.backbone"),
    Case(f"{MODEL}.backbone", "s3://UPPER/x", "spec.model.backbone"),
    Case(f"{MODEL}.backbone", "s3://bases/" + "x" * 1024, "spec.model.backbone"),
    Case(f"{MODEL}.backbone", "file:///m", "embedtune run", cluster_only=True),
    Case(f"{MODEL}.pooling", "average", "spec.model.pooling"),
    Case(f"{MODEL}.projection", {}, "spec.model.projection.dim"),
    Case(f"{MODEL}.projection", {"dim": 0}, "spec.model.projection.dim"),
    Case(f"{MODEL}.projection", {"dim": "128"}, "spec.model.projection.dim"),
    Case(f"{MODEL}.freeze", [""], "spec.model.freeze"),
    Case(f"{MODEL}.freeze", ["a b"], "spec.model.freeze"),
    Case(f"{MODEL}.freeze", "backbone", "spec.model.freeze"),
    Case(f"{MODEL}.normalize", "yes", "spec.model.normalize"),
    Case(f"{MODEL}.maxSeqLength", 1, "spec.model.maxSeqLength"),
    Case("spec.data.train", REMOVE, "give train, or mix for several"),
    Case("spec.data.mix", [ONE, TWO], "give train, or mix for several"),
    Case("spec.data", {"mix": [ONE]}, "spec.data.mix"),
    Case("spec.data", {"mix": [ONE] * 17}, "spec.data.mix"),
    Case("spec.data", {"mix": [ONE, TWO | {"weight": 0}]}, "spec.data.mix[1].weight"),
    Case("spec.data", {"mix": [ONE, TWO | {"weight": 2}]}, "a weight for each entry of mix"),
    Case("spec.data", {"mix": [ONE, {"weight": 2}]}, "spec.data.mix[1].uri"),
    Case("spec.data.train.weight", 1, "spec.data.train.weight"),
    Case("spec.data", {"mix": [ONE, {"uri": "file:///d.csv"}]}, "embedtune run", cluster_only=True),
    Case(f"{OBJ}.hardNegatives", {"perRow": 9}, "spec.objective.hardNegatives.perRow"),
    Case(f"{OBJ}.hardNegatives", {"margin": 1}, "spec.objective.hardNegatives.margin"),
    Case(f"{OBJ}.hardNegatives", {"perRow": 4, "among": 3}, "among must be at least perRow"),
    Case(f"{OBJ}.matryoshka", {"dims": []}, "spec.objective.matryoshka.dims"),
    Case(f"{OBJ}.matryoshka", {"dims": [8, 8]}, "dims must each be given once"),
    Case(f"{OBJ}.matryoshka", {"dims": [8, 4], "weights": [1]}, "one for each of dims"),
    Case(f"{OBJ}.also", [{"loss": "auto"}], "spec.objective.also[0].loss"),
    Case(f"{OBJ}.also", [{"loss": "NTXentLoss", "weight": 0}], "spec.objective.also[0].weight"),
    Case("spec.data.train.uri", "s3://d-s/a b.csv", "spec.data.train.uri"),
    Case("spec.data.train.format", "xlsx", "spec.data.train.format"),
    Case(f"{CSV}.header", "yes", "spec.data.train.csv.header"),
    Case(f"{CSV}.delimiter", ",,", "spec.data.train.csv.delimiter"),
    Case("spec.data.train.columns", {"itme": "x"}, "spec.data.train.columns.itme"),
    Case("spec.data.train.columns", {"item": ""}, "spec.data.train.columns.item"),
    Case("spec.data.train.layout", "triplets", "spec.data.train.layout"),
    Case("spec.data.train.onBadRow", "drop", "spec.data.train.onBadRow"),
    Case("spec.data.train.limit", 0, "spec.data.train.limit"),
    Case("spec.data.train.uri", "https://example.com/t.csv", "spec.data.train.uri"),
    Case(f"{CSV}.encoding", "utf 8", "spec.data.train.csv.encoding"),
    Case(EVAL, {"split": 0}, "spec.data.evaluation.split"),
    Case(EVAL, {"split": 1}, "spec.data.evaluation.split"),
    Case(EVAL, {"split": "0.1"}, "spec.data.evaluation.split"),
    Case(EVAL, {"split": 0.1, "uri": "s3://d-s/t.csv"}, "at most one of split"),
    Case(EVAL, {"queries": {"uri": "s3://d-s/t.csv"}}, "queries and index go together"),
    Case(EVAL, {"cutoffs": []}, "spec.data.evaluation.cutoffs"),
    Case(EVAL, {"cutoffs": [0]}, "spec.data.evaluation.cutoffs"),
    Case(EVAL, {"metric": "accuracy"}, "spec.data.evaluation.metric"),
    Case(EVAL, {"metric": "ndcg_at_7"}, "cutoffs"),
    Case(f"{OBJ}.loss", "TripletLoss", "spec.objective.loss"),
    Case(f"{OBJ}.itemsPerClass", 1, "spec.objective.itemsPerClass"),
    Case(f"{OBJ}.itemsPerClass", 33, "at least twice objective.itemsPerClass"),
    Case(f"{OBJ}.lossOptions", [0.2], "spec.objective.lossOptions"),
    Case(f"{TRAIN}.epochs", 0, "spec.training.epochs"),
    Case(f"{TRAIN}.epochs", 1.5, "spec.training.epochs"),
    Case(f"{TRAIN}.epochs", True, "spec.training.epochs"),
    Case(f"{TRAIN}.batchSize", 3, "spec.training.batchSize"),
    Case(f"{TRAIN}.batchSize", "largest", "spec.training.batchSize"),
    Case(f"{TRAIN}.microBatch", 0, "spec.training.microBatch"),
    Case(f"{TRAIN}.microBatch", 1.5, "spec.training.microBatch"),
    Case(f"{TRAIN}.accumulate", 0, "spec.training.accumulate"),
    Case(f"{TRAIN}.optimizer", "LBFGS", "spec.training.optimizer"),
    Case(f"{TRAIN}.scheduler", "step", "spec.training.scheduler"),
    Case(f"{TRAIN}.layerDecay", 0, "spec.training.layerDecay"),
    Case(f"{TRAIN}.rates", [{"modules": []}], "spec.training.rates[0]"),
    Case(f"{TRAIN}.rates", [{"modules": ["a"], "factor": 0}], "spec.training.rates[0].factor"),
    Case(f"{TRAIN}.maxGradientNorm", -1, "spec.training.maxGradientNorm"),
    Case(f"{TRAIN}.ema", {"decay": 1}, "spec.training.ema.decay"),
    Case(f"{TRAIN}.precision", "float16", "spec.training.precision"),
    Case(f"{TRAIN}.learningRate", 0, "spec.training.learningRate"),
    Case(f"{TRAIN}.learningRate", 1.1, "spec.training.learningRate"),
    Case(f"{TRAIN}.learningRate", "5e-5", "spec.training.learningRate"),
    Case(f"{TRAIN}.warmupRatio", -0.1, "spec.training.warmupRatio"),
    Case(f"{TRAIN}.seed", -1, "spec.training.seed"),
    Case(f"{TRAIN}.seed", 2**31, "spec.training.seed"),
    Case("spec.output.uri", "/models", "spec.output.uri"),
    *(Case(f"spec.{path}.uri", f"s3://b-b/{way}", "/../") for path in PATHS for way in CLIMBING),
    Case(f"{MODEL}.backbone", "pvc://models/../../etc/passwd", "/../"),
    Case("spec.output.formats", ["onnx"], "formats always has safetensors"),
    Case("spec.output.formats", [], "spec.output.formats"),
    Case("spec.output.onnx", {}, "onnx needs formats: [safetensors, onnx]"),
    Case("spec.output", ONNX | {"onnx": {"precision": ["int4"]}}, "spec.output.onnx.precision[0]"),
    Case("spec.storage", {"endpoint": "minio:9000"}, "spec.storage.endpoint"),
    Case("spec.storage", {"secretRef": {}}, "spec.storage.secretRef.name"),
    Case("spec.storage", {"secretRef": {"name": "Big_Name"}}, "spec.storage.secretRef.name"),
    Case(f"{MODEL}.freezeAllBut", [""], "spec.model.freezeAllBut"),
    Case(MODEL, BOTH, "give freeze or freezeAllBut, not both"),
    Case("spec.resources", {"gpus": -1}, "spec.resources.gpus"),
    Case("spec.resources", {"memory": "16 GB"}, "spec.resources.memory"),
    Case("spec.resources", {"cpu": "0"}, "spec.resources.cpu"),
    Case("spec.resources", {"cpu": 0}, "spec.resources.cpu"),
    Case("spec.resources", {"cpu": "0.0m"}, "spec.resources.cpu"),
    Case("spec.resources", {"memory": -1}, "spec.resources.memory"),
    Case("spec.resources", {"memory": True}, "spec.resources.memory"),
    Case("spec.runPolicy", {"backoffLimit": -1}, "spec.runPolicy.backoffLimit"),
    Case("spec.runPolicy", {"activeDeadlineSeconds": 0}, "spec.runPolicy.activeDeadlineSeconds"),
    Case("spec.runPolicy", {"pendingDeadlineSeconds": 0}, "spec.runPolicy.pendingDeadlineSeconds"),
    Case("spec.runPolicy", {"onOutOfMemory": "retry"}, "spec.runPolicy.onOutOfMemory"),
    Case("spec.runPolicy", {"ttlPolicy": "all"}, "spec.runPolicy.ttlPolicy"),
    Case("spec.suspend", "yes", "spec.suspend"),
    Case("spec.parallelism", {"nodes": 0}, "spec.parallelism.nodes"),
    Case("spec.parallelism", {"nodes": 101}, "spec.parallelism.nodes"),
    Case("spec.parallelism", {"processesPerNode": 0}, "spec.parallelism.processesPerNode"),
    Case("spec.parallelism", {"minNodes": 0}, "spec.parallelism.minNodes"),
    Case("spec.parallelism", {"nodes": 2, "minNodes": 3}, "at most parallelism.nodes"),
    Case("spec.parallelism", {"nodes": 65}, "so that each process has a row"),
    Case("spec.parallelism", {"nodes": 9, "processesPerNode": 8}, "so that each process has a row"),
    Case("spec.output.retain", "no", "spec.output.retain"),
    Case("metadata.name", "a" * 53, "metadata.name"),
    Case("metadata.name", "a.b", "metadata.name"),
]
