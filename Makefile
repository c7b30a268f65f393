# Regulo. `make help` lists the targets; ARGS="…" passes overrides, as in make train ARGS="model=vit_tiny seed=1".
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup train evaluate predict dashboard claims ablate doctor report test test-long coverage audit lint format schema bench cost regimes lock clean
REGULO := .venv/bin/regulo
READY := .venv/.ready

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with the locked dependencies (TORCH_BACKEND=cpu: other torch builds)

ifneq ($(TORCH_BACKEND),)
ifneq ($(TORCH_BACKEND),$(shell cat $(READY) 2>/dev/null))
.PHONY: $(READY) # another build of torch is wanted than the one that is there
endif
endif
$(READY): scripts/setup.sh pyproject.toml locks/base.lock locks/torch.lock
	@sh scripts/setup.sh

train: $(READY) ## train, restore the best weights, test: make train ARGS="model=vit_tiny"
	@$(REGULO) train $(ARGS)

evaluate: $(READY) ## score a finished run again: make evaluate ARGS="runs/…"
	@$(REGULO) evaluate $(ARGS)

predict: $(READY) ## classify image files: make predict ARGS="runs/… photo.jpg folder/"
	@$(REGULO) predict $(ARGS)

dashboard: $(READY) ## look at the runs in the terminal
	@$(REGULO) dashboard $(ARGS)

claims: $(READY) ## try the lesson's claims: make claims ARGS="--quick"
	@$(REGULO) claims $(ARGS)

ablate: $(READY) ## which technique helps? make ablate ARGS="study=lesson"
	@$(REGULO) ablate $(ARGS)

doctor: $(READY) ## what is risky in a run, and what its curves say: make doctor ARGS="optim.lr=3"
	@$(REGULO) doctor $(ARGS)

report: $(READY) ## a page that explains a run or a study: make report ARGS="runs/…"
	@$(REGULO) report $(ARGS)

test: $(READY) ## the tests, without a network
	@.venv/bin/python -m pytest -n logical --maxprocesses 8 $(ARGS)

test-long: $(READY) ## the long tests: exactness, ranks, faults, fuzzing
	@.venv/bin/python -m pytest -m long -n logical --maxprocesses 8 $(ARGS)

coverage: $(READY) ## lines and branches that the tests reach (all of them, with the long ones: make coverage ARGS="-m ''")
	@rm -rf .coverage && mkdir .coverage
	@.venv/bin/python -m coverage run -m pytest -n logical --maxprocesses 8 $(ARGS)
	@.venv/bin/python -m coverage combine --quiet && .venv/bin/python -m coverage report

audit: $(READY) ## every locked file has its hash; no installed package has a known vulnerability (needs the network)
	@.venv/bin/python scripts/audit.py $(ARGS)

lint: $(READY) ## style, layers and types
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/lint-imports && .venv/bin/mypy

format: $(READY) ## mend style
	@.venv/bin/ruff check --fix . && .venv/bin/ruff format .

schema: $(READY) ## write .schema/, from which editors complete the YAML files
	@$(REGULO) schema $(ARGS)

bench: $(READY) ## images/s through Regulo against a bare PyTorch loop
	@.venv/bin/python scripts/bench.py $(ARGS)

cost: $(READY) ## step time of each technique relative to none: docs/cost.md
	@.venv/bin/python scripts/cost.py $(ARGS)

regimes: $(READY) ## train the runs by which the doctor's verdict is validated: docs/doctor.md
	@.venv/bin/python scripts/regimes.py $(ARGS)

lock: $(READY) ## renew the locked dependencies
	@.venv/bin/python scripts/lock.py $(ARGS)

clean: ## remove .venv and caches; runs/ stays
	@rm -rf .venv .schema .pytest_cache .mypy_cache .ruff_cache .coverage
