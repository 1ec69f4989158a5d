# Every stage takes EXP=<recipe> ARGS="<hydra overrides>", e.g. make loras EXP=toy ARGS="lora=b seed=1".
EXP ?= demo
ARGS ?=
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
STAGES := pairs base loras blocks denoiser init finetune evaluate
APP_pairs := collect_pairs
APP_base := train_base
APP_loras := train_loras
APP_blocks := build_blocks
APP_denoiser := train_denoiser
APP_init := generate_init
APP_finetune := finetune
APP_evaluate := evaluate
FIND_CHROMIUM := for name in "$$WEIGHTGEN_CHROMIUM" chromium chromium-browser google-chrome google-chrome-stable; do \
  test -n "$$name" && command -v "$$name" >/dev/null && exit 0; done; exit 1

ifneq ($(filter demo,$(MAKECMDGOALS)),)
ifneq ($(EXP),demo)
$(error make demo runs the recipe demo alone: make evaluate EXP=$(EXP))
endif
endif

# Runs an app: $(call run,<app>,<options>). The command is shown, without a key that it holds.
define run
@echo $(BIN)/python -m experiments.$(1) $(2) | sed -E 's/api_key=[^ ]+/api_key=***/g'
@$(BIN)/python -m experiments.$(1) $(2)
endef

.PHONY: help setup shell demo artifacts prune ship concepts dashboard bench gpu test test-reliability test-browser test-slurm test-ray lint sweep study record studies clean $(STAGES)
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z][a-z -]*:.*##' $(MAKEFILE_LIST) | sed -E 's/^([^:]+):[^#]*## /\1\t/' | awk -F'\t' '{printf "  %-12s %s\n", $$1, $$2}'
	@echo "  stages (EXP=<recipe> ARGS=\"<hydra overrides>\"; each builds what it needs and skips what is done):"
	@echo "    $(STAGES)"
	@echo "  recipes: $$(ls conf/experiment | sed 's/\.yaml//' | tr '\n' ' ')"

setup: $(READY) ## the environment in .venv (about 100 s and 6 GB; Python 3.11 or 3.12)

$(READY): pyproject.toml .ci/constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v[:2] <= (3, 12) else "Python 3.11 or 3.12 is needed, this is %d.%d: make setup PYTHON=python3.12" % v[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c .ci/constraints.txt -e '.[dev]'
	@touch $@

shell: setup ## a shell in which `python` is that of .venv (exit leaves it)
	@. $(BIN)/activate && exec "$${SHELL:-/bin/sh}"

reports/look.png: | setup
	@mkdir -p reports && $(BIN)/weightgen look --out $@

demo: setup reports/look.png ## first pictures at once -> reports/look.png; then the whole comparison, on CPU, in minutes -> reports/demo
	$(call run,evaluate,$(ARGS) experiment=demo)

dashboard: setup ## the comparison on one page, in a browser without a network -> reports/dashboard/index.html (logger.mode=online: and a W&B report)
	$(call run,dashboard,$(ARGS) experiment=$(EXP))

bench: EXP := bench
bench: setup ## speed, as ratios against the plain ways -> reports/bench, minutes (EXP=gpu: 128 px on a GPU)
	$(call run,bench,$(ARGS) experiment=$(EXP))

gpu: setup ## what needs a GPU, as one script: benchmarks, smoke, a comparison -> reports/gpu (ARGS=strategy=cpu: at the size of tests)
	$(call run,gpu,$(ARGS))

test: setup ## the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-reliability: setup ## kills, full disks, damage, bad options, several writers, hostile folders: a table (minutes; root for the disks)
	$(BIN)/python -m tests.reliability $(ARGS)

test-slurm: setup ## submitit_slurm against a real one-node SLURM that this installs, starts and stops (root, Debian; minutes)
	tests/slurm/cluster.sh install
	set -e; trap 'tests/slurm/cluster.sh stop' EXIT; eval "$$(tests/slurm/cluster.sh start)"; \
	WEIGHTGEN_TEST_SLURM=1 $(BIN)/python -m pytest -n 0 tests/slurm $(ARGS)

test-ray: setup ## the ray launcher, in an environment of its own (.venv-ray) over .venv
	test -x .venv-ray/bin/python || $(PYTHON) -m venv .venv-ray
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$(.venv-ray/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/base.pth"
	.venv-ray/bin/python -m pip install -q --disable-pip-version-check -c .ci/constraints-ray.txt -e '.[ray]'
	WEIGHTGEN_TEST_RAY=1 .venv-ray/bin/python -m pytest -n 0 tests/experiments/sweeps/test_ray.py $(ARGS)

test-browser: setup ## the dashboard and the app in a real headless Chromium, which is installed with apt-get where there is none
	@($(FIND_CHROMIUM)) || { command -v apt-get >/dev/null || { echo "no Chromium and no apt-get: install Chromium or set WEIGHTGEN_CHROMIUM=<its path>" >&2; exit 1; }; \
	  root=$$(test "$$(id -u)" = 0 || echo sudo); $$root apt-get update -qq && $$root apt-get install -y -qq --no-install-recommends chromium; }
	WEIGHTGEN_REQUIRE_BROWSER=1 $(BIN)/python -m pytest tests/experiments/reports/test_dashboard_browser.py tests/commands/test_app.py $(ARGS)

lint: setup ## ruff
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

$(STAGES): setup
	$(call run,$(APP_$@),$(ARGS) experiment=$(EXP))

concepts: setup ## the prompts and their splits, collected where concepts=llm -> reports/<recipe>/concepts.csv
	$(call run,collect_concepts,$(ARGS) experiment=$(EXP))

sweep: setup ## a multirun: make sweep EXP=smoke ARGS="init=e2gan,mean,generated seed=0,1", or EXP=<a recipe that sweeps>
	$(call run,sweep,-m $(ARGS) experiment=$(EXP))

study: setup ## an ablation: make study STUDY=block_size EXP=smoke -> reports/smoke/studies/block_size; again to resume
	$(call run,study,$(if $(STUDY),study=$(STUDY)) experiment=$(EXP) $(ARGS))

record: setup ## keep a study's result: make record STUDY=block_size EXP=toy -> experiments/results/studies (FORCE=1 overwrites)
	$(BIN)/python -m experiments.studies record "$(STUDY)" "$(EXP)" $(if $(FORCE),--force)

studies: setup ## every study with its question and its state
	$(BIN)/python -m experiments.studies list

ship: setup ## a recipe's generator becomes the one that comes with the package: make ship EXP=<the report's name>
	$(BIN)/python -c 'from pathlib import Path; from experiments.reports.export import ship; ship(Path("reports/$(EXP)/generator"))'

artifacts: setup ## every artifact with its key, size and age (ARGS="toy demo": and which of these recipes use it)
	@$(BIN)/python -m experiments.artifacts ls $(ARGS)

prune: setup ## delete the artifacts that none of the recipes in ARGS uses: make prune ARGS="toy demo" lists, FORCE=1 deletes
	@$(BIN)/python -m experiments.artifacts prune $(ARGS) $(if $(FORCE),--force)

clean: ## remove logs and reports; artifacts, W&B runs that were never synced and journals of searches stay
	rm -rf outputs multirun .pytest_cache .ruff_cache wandb/run-* wandb/latest-run wandb/debug*
	@for run in wandb/offline-run-*; do if ls "$$run"/*.synced >/dev/null 2>&1; then rm -rf "$$run"; fi; done
	@if test -d reports; then find reports -type f ! -name study.journal -delete; find reports -type d -empty -delete; fi
	@if test -d wandb; then find wandb -type d -empty -delete; fi
	@if test -d wandb; then echo "kept: runs that were never synced (wandb sync wandb/offline-run-*)"; fi
	@if test -d reports; then echo "kept: journals of searches in reports/*/search"; fi
