# Regulo. `make help` lists the targets; ARGS="…" passes overrides, as in make train ARGS="seed=1 optim.lr=0.05".
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup train evaluate predict export dashboard runs sync claims ablate tune crossval doctor inspect report test test-long coverage audit lint format schema bench bench-loader bench-scale cost regimes docs lock new update clean
REGULO := .venv/bin/regulo
READY := .venv/.ready

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with the locked dependencies (TORCH_BACKEND=cpu: another build of torch)

ifneq ($(TORCH_BACKEND),)
ifneq ($(TORCH_BACKEND),$(shell cat $(READY) 2>/dev/null))
.PHONY: $(READY) # the user asks for another build of torch than the installed one
endif
endif
$(READY): scripts/setup.sh pyproject.toml locks/base.lock locks/torch.lock
	@sh scripts/setup.sh

train: $(READY) ## train, load the best weights, test: make train ARGS="optim.lr=0.05"
	@$(REGULO) train $(ARGS)

evaluate: $(READY) ## score a finished run again: make evaluate ARGS="runs/…"
	@$(REGULO) evaluate $(ARGS)

predict: $(READY) ## classify image files: make predict ARGS="runs/… photo.jpg folder/"
	@$(REGULO) predict $(ARGS)

export: $(READY) ## write the model of a run as one file, ONNX or pt2: make export ARGS="runs/…"
	@$(REGULO) export $(ARGS)

dashboard: $(READY) ## show all runs in the browser (in the terminal: ARGS=--terminal)
	@$(REGULO) dashboard $(ARGS)

runs: $(READY) ## list the runs: make runs ARGS="state=failed"
	@$(REGULO) runs $(ARGS)

sync: $(READY) ## upload offline W&B runs, each once: make sync ARGS="--dry-run"
	@$(REGULO) sync $(ARGS)

claims: $(READY) ## test the lesson's claims by experiment: make claims ARGS="--quick"
	@$(REGULO) claims $(ARGS)

ablate: $(READY) ## which technique helps? make ablate ARGS="study=lesson"
	@$(REGULO) ablate $(ARGS)

tune: $(READY) ## find the regularization of your data, and prove it: make tune ARGS="data=fashion_mnist_mini budget=2h"
	@$(REGULO) tune $(ARGS)

crossval: $(READY) ## train and test on each fold: make crossval ARGS="data=image_folder data.root=path/to/photos folds=5"
	@$(REGULO) crossval $(ARGS)

doctor: $(READY) ## find what is risky in a run, or what its curves show: make doctor ARGS="optim.lr=3"
	@$(REGULO) doctor $(ARGS)

inspect: $(READY) ## look into all images of a data set before training: make inspect ARGS="path/to/photos"
	@$(REGULO) inspect $(ARGS)

report: $(READY) ## write a page that explains a run: make report ARGS="runs/…"
	@$(REGULO) report $(ARGS)

test: $(READY) ## run the tests; they need no network
	@.venv/bin/python -m pytest -n logical --maxprocesses 8 --dist worksteal $(ARGS)

test-long: $(READY) ## run the long tests: exact resuming, several processes, faults, fuzzing
	@.venv/bin/python -m pytest -m long -n logical --maxprocesses 8 --dist worksteal $(ARGS)

coverage: $(READY) ## measure which lines and branches the tests reach (with the long tests: make coverage ARGS="-m ''")
	@rm -rf .coverage && mkdir .coverage
	@.venv/bin/python -m coverage run -m pytest -n logical --maxprocesses 8 --dist load $(ARGS)
	@.venv/bin/python -m coverage combine --quiet && .venv/bin/python -m coverage report

audit: $(READY) ## check the hashes of locked files, and packages for known vulnerabilities (needs the network)
	@.venv/bin/python scripts/audit.py $(ARGS)

lint: $(READY) ## check style, types and imports
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/lint-imports && .venv/bin/mypy

format: $(READY) ## fix style
	@.venv/bin/ruff check --fix . && .venv/bin/ruff format .

schema: $(READY) ## write .schema/, with which editors complete the YAML files
	@$(REGULO) schema $(ARGS)

bench: $(READY) ## measure images/s of Regulo beside a bare loop, a plain LightningModule and timm: make bench ARGS="turns=10"
	@.venv/bin/python scripts/bench.py $(ARGS)

bench-loader: $(READY) ## measure images/s of the loader beside timm's and torchvision's: make bench-loader ARGS="path/to/photos"
	@.venv/bin/python scripts/bench_loader.py $(ARGS)

bench-scale: $(READY) ## measure what a folder of 1.28 million images costs: make bench-scale ARGS="images=128000"
	@.venv/bin/python scripts/bench_scale.py $(ARGS)

cost: $(READY) ## measure the step time of each technique relative to none: docs/cost.md
	@.venv/bin/python scripts/cost.py $(ARGS)

regimes: $(READY) ## train the runs that validate the doctor's verdict: docs/doctor.md
	@.venv/bin/python scripts/regimes.py $(ARGS)

docs: $(READY) ## build the documentation site: docs/_build/index.html
	@.venv/bin/python -m sphinx -W --keep-going -q -b html -d docs/_build/.doctrees docs docs/_build
	@echo "open docs/_build/index.html"

lock: $(READY) ## renew the locked dependencies
	@.venv/bin/python scripts/lock.py $(ARGS)

new: ## make a project of your own: make new NAME="leaf disease" DIR=../leaf-disease [FORM=core] [AUTHOR=…]
	@$(or $(PYTHON),$(wildcard .venv/bin/python),python3) scripts/new.py --form "$${FORM:-full}" --techniques "$$TECHNIQUES" --author "$$AUTHOR" -- "$$NAME" "$$DIR"

update: $(READY) ## merge a later version of what this project was made from: make update [REF=…] [FROM=…]
	@.venv/bin/python scripts/update.py --from "$$FROM" --ref "$$REF"

clean: ## remove .venv and caches; keep runs/
	@rm -rf .venv docs/_build .schema .pytest_cache .mypy_cache .ruff_cache .coverage
