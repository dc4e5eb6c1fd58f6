"""examples/gitops: both tools install the same operator, and the job is one that can be made."""

from typing import Any

import yaml

from embedtune_api.job import FineTuneJob
from tests.chart.test_chart import ROOT, one, render

GITOPS = ROOT / "examples/gitops"


def documents(path: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((GITOPS / path).read_text()))


def test_both_install_the_same_operator() -> None:
    application = one(documents("argocd/operator.yaml"), "Application")["spec"]
    release = one(documents("flux/operator.yaml"), "HelmRelease")["spec"]
    assert application["source"]["helm"]["valuesObject"] == release["values"]
    assert application["source"]["path"] == release["chart"]["spec"]["chart"] == "helm/embedtune"
    assert application["destination"]["namespace"] == release["targetNamespace"]
    deployment = one(render(release["values"]), "Deployment")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["image"].startswith("registry.example.com/ml/operator:")


def test_the_jobs_can_be_made() -> None:
    files = sorted((GITOPS / "jobs").glob("*.yaml"))
    assert files
    for file in files:
        (job,) = documents(str(file.relative_to(GITOPS)))
        FineTuneJob.parse(job | {"metadata": job["metadata"] | {"uid": "0"}})


def test_every_file_is_in_the_readme() -> None:
    readme = (GITOPS / "README.md").read_text()
    files = [p.relative_to(GITOPS) for p in GITOPS.glob("*/*.yaml") if p.parent.name != "jobs"]
    assert [str(path) for path in files if str(path) not in readme] == []
