# What the project can do; `make help` lists it. Every target makes .venv first if need be.
SHELL := /bin/bash
PY := .venv/bin/python
export PYTHONPATH := local
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help demo test test-fast test-kueue faults check generate lock images bench \
	cluster-up cluster-down cluster-status clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

.venv/.synced: requirements/dev.txt requirements/bootstrap.txt local/bootstrap.sh
	@local/bootstrap.sh

demo: .venv/.synced ## A real Kubernetes, the operator, one FineTuneJob to its end (EXAMPLE=..., KUBECONTEXT=... REGISTRY=... for yours)
	@$(PY) -m localdemo $(if $(EXAMPLE),--example $(EXAMPLE)) $(if $(KUBECONTEXT),--context $(KUBECONTEXT)) $(if $(REGISTRY),--registry $(REGISTRY))

# One begins with all that needs a cluster, and mostly waits.
WORKERS := --no-loadscope-reorder -n
test: .venv/.synced ## All tests but those with Kueue; as root on Debian with the single-node cluster, else without what needs it
	@$(PY) -m localcluster build
	@$(PY) -m pytest $(WORKERS) 2

test-fast: .venv/.synced ## The quick tests, which need no cluster, in 2 minutes
	@$(PY) -m pytest $(WORKERS) 2 -m "not cluster and not controlplane and not slow"

test-kueue: .venv/.synced ## The operator with Kueue itself, which is built first: in 2 minutes, the first time in 15
	@$(PY) -m localcluster build etcd kube-apiserver kube-controller-manager kubectl kueue
	@$(PY) -m pytest -m kueue tests/operator

faults: .venv/.synced ## Every fault at every write, all mutants of the CRD, outages of a minute: an hour at most
	@$(PY) -m localcluster build
	@$(PY) -m tests.faults; matrix=$$?; FAULTS=all $(PY) -m pytest tests/faults && exit $$matrix

check: .venv/.synced ## ruff, mypy strict, import contracts, generated files up to date
	ruff format --check .
	ruff check .
	mypy crds operator trainer local
	mypy --config-file bench/mypy.ini bench
	lint-imports
	$(PY) crds/generate.py --check
	$(PY) -m tests.trainer.hub.document --check
	$(PY) -m tests.trainer.losses_document --check

generate: .venv/.synced ## The CRD from the API types; the docs' tables of backbones, by running them
	$(PY) crds/generate.py
	$(PY) -m tests.trainer.hub.document
	$(PY) -m tests.trainer.losses_document
	$(PY) -m tests.trainer.embedder.backbones
	ruff format --quiet .

lock: .venv/.synced ## The lock files from pyproject.toml
	requirements/lock.sh

images: .venv/.synced ## Both images, with buildah
	@$(PY) -m localcluster.images build

BENCHES := operator_path sampler_setup reading images long_tables retrieval loss_memory sizing mnr_lengths \
	vision_triplet clip_step trec_triplet parts startup quality openclipart examples scale
bench: .venv/.synced ## The figures in bench/results, hours; BENCHES="quality reading" for some
	@$(PY) -m localcluster.images build
	@bad=; for name in $(BENCHES); do echo "== $$name"; $(PY) bench/$$name.py || bad="$$bad $$name"; done; \
	[ -z "$$bad" ] || { echo "failed, or a goal was missed:$$bad"; exit 1; }

cluster-up: .venv/.synced ## Start the single-node Kubernetes (root, Debian)
	@$(PY) -m localcluster up

cluster-down: .venv/.synced ## Stop it and leave nothing behind
	@$(PY) -m localcluster down

cluster-status: .venv/.synced ## What of it runs, and where its logs are
	@$(PY) -m localcluster status
