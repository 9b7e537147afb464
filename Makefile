# Thin names for commands that also work by hand. `make demo` and `make test` set everything up themselves.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
CORES ?= $(shell env -u OMP_NUM_THREADS nproc)
SEED ?=
VENV := .venv
JUDGE := .venv-judge
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Jobs get their threads from Snakemake; libraries must not take more.
export OMP_NUM_THREADS ?= 1
# Threads that wait for each other soon leave the core to others (see workflow/launch.sh).
export GOMP_SPINCOUNT ?= 1000
# Where this is set, every start compiles all that it imports: ten seconds a job.
unexport PYTHONDONTWRITEBYTECODE

# A home that cannot be written, as in many containers: Snakemake does not start without a cache. See docs/cluster.md.
CACHE := $(shell cache=$${XDG_CACHE_HOME:-~/.cache}; mkdir -p "$$cache" 2>/dev/null && [ -w "$$cache" ] || echo "$$PWD/.snakemake/cache")
ifneq ($(CACHE),)
export HF_HOME ?= $(HOME)/.cache/huggingface
export XDG_CACHE_HOME := $(CACHE)
export MPLCONFIGDIR ?= $(CACHE)/matplotlib
export PIP_NO_CACHE_DIR ?= 1
endif

# Another seed has a base model of its own; BASE=scratch pre-trains that of seed 0 too.
BASE ?=
SCRATCH := $(if $(SEED)$(filter scratch,$(BASE)),config/scratch.yaml)
RUN := demo$(if $(SEED),-seed$(SEED),$(if $(SCRATCH),-scratch))
OVERRIDE := $(if $(SCRATCH),--config run=$(RUN) $(if $(SEED),seed=$(SEED) seeds="[$(SEED)]"))

CONFIG ?=
BENCH ?=
PIECE ?=
BUNDLE ?=

# Runs of `make ablations`, each an overlay of the demo: config/<name>.yaml.
ABLATIONS := ablations grounding

.PHONY: help setup check_demo demo tables bundle plan seeds ablations test test-all bench gpu judge golden lint format schema graph lock clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s $$'\t'

setup: $(VENV)/.ready  ## Make the environment in .venv (once)

# Snakemake puts the path of its interpreter, which is below this folder, into a shell without quotes.
UNSAFE := "Snakemake cannot run in this folder, whose path it hands to a shell unquoted; allowed are letters, digits and / . _ - + = @ % ,"

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import os, re, sys; sys.exit(bool(re.search(r"[^\w/.+=@%,-]", os.getcwd())))' || { echo "$$(pwd -P):" $(UNSAFE) >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11; try make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --no-compile --requirement requirements.lock
	$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# Before anything is installed or made: SEED also names the folder of the run.
check_demo: export SEED := $(SEED)
check_demo: export BASE := $(BASE)
check_demo:
	@[[ -z "$$SEED" || "$$SEED" =~ ^(0|[1-9][0-9]{0,17})$$ ]] || { echo "SEED=$$SEED is not allowed; allowed: a whole number of at most 18 digits without zeros in front, such as SEED=7" >&2; exit 1; }
	@[[ -z "$$BASE" || "$$BASE" = scratch ]] || { echo "BASE=$$BASE is not allowed; allowed: BASE=scratch, which pre-trains the base model" >&2; exit 1; }

demo: check_demo setup  ## Videos to results table on two CPU cores (SEED=7: all of it from another seed; BASE=scratch: pre-train the base too)
	@workflow/launch.sh --cores $(CORES) --configfile config/demo.yaml $(SCRATCH) $(OVERRIDE) 2>&1 \
		| $(VENV)/bin/python workflow/progress.py logs/$(RUN)/snakemake.log
	@cat results/$(RUN)/tables/main.md
	@echo "Report: results/$(RUN)/report/index.html"

# The configuration that a run was made with: CONFIG, or the demo's with SEED and BASE as in `make demo`.
MADE_WITH = --run "$(RUN)" $(if $(CONFIG)$(SCRATCH),--configfile $(or $(CONFIG),config/demo.yaml $(SCRATCH))) $(OVERRIDE)
tables bundle: export BUNDLE := $(BUNDLE)

tables: check_demo setup  ## Tables, figures and page again from the answers of RUN=demo or of BUNDLE=demo.zip: no weights, videos, network
	@$(VENV)/bin/python workflow/rebuild.py tables --bundle "$$BUNDLE" $(MADE_WITH)

bundle: check_demo setup  ## Pack what `make tables` needs of RUN=demo into results/demo/demo.zip, or into BUNDLE=mine.zip
	@$(VENV)/bin/python workflow/rebuild.py bundle --bundle "$$BUNDLE" $(MADE_WITH)

plan: setup  ## What the paper's run will download and cost (CONFIG="mine.yaml ...": a variation's); starts nothing
	@$(VENV)/bin/snakemake plan --cores 1 --quiet progress rules host reason $(if $(CONFIG),--configfile $(CONFIG))

seeds: setup  ## The demo from three seeds, and its numbers into docs/demo.md
	$(MAKE) demo BASE=scratch
	$(MAKE) demo SEED=1
	$(MAKE) demo SEED=2
	$(VENV)/bin/python docs/show_seeds.py results/demo-scratch results/demo-seed1 results/demo-seed2

ablations: setup  ## Every idea of the three papers against plain GRPO, three seeds each, and the numbers into docs/ablations.md
	@for run in $(ABLATIONS); do \
		workflow/launch.sh --cores $(CORES) --configfile config/demo.yaml config/$$run.yaml 2>&1 \
			| $(VENV)/bin/python workflow/progress.py logs/$$run/snakemake.log || exit 1; \
	done
	$(VENV)/bin/python docs/show_ablations.py $(ABLATIONS:%=results/%)

# One process more than cores: SLURM's tests wait most of the time. In the order of tests/conftest.py, where the longest files
# come first: left alone, pytest-xdist ends with the files that have the fewest tests, which are the longest.
test: setup  ## Unit, golden and workflow tests, on CORES + 1 processes
	$(VENV)/bin/python -m pytest -m "not slow" --numprocesses $$(($(CORES) + 1)) --dist loadfile --no-loadscope-reorder
	$(VENV)/bin/python -m tests.golden.check tests/golden
	$(VENV)/bin/python -m tests.golden.check tests/golden_methods

test-all: setup  ## The slow tests too
	$(VENV)/bin/python -m pytest

# lmms-eval and inspect_ai beside the packages of .venv, in an environment of their own (envs/judge.txt says why).
SITE = import sysconfig; print(sysconfig.get_path("purelib"))
$(JUDGE)/.ready: envs/judge.txt $(VENV)/.ready
	$(PYTHON) -m venv --clear --without-pip $(JUDGE)
	$(VENV)/bin/python -c '$(SITE)' > "$$($(JUDGE)/bin/python -c '$(SITE)')/packages_of_venv.pth"
	$(VENV)/bin/python -m pip --python $(JUDGE)/bin/python install --quiet --no-compile --no-deps --requirement envs/judge.txt
	$(VENV)/bin/python -m pip --python $(JUDGE)/bin/python install --quiet --no-deps --no-build-isolation --editable .
	touch $@

judge: setup $(JUDGE)/.ready  ## lmms-eval judges the demo's R1 on the demo's benchmarks, and inspect_ai reads its answers; after `make demo`
	$(JUDGE)/bin/python workflow/judge.py
	$(JUDGE)/bin/python -m pytest tests/judges

# As many threads as bench.machine.THREADS.
bench: setup  ## This engine against a naive schedule, about eight minutes; keep the machine quiet (BENCH="--cuda ...": options)
	OMP_NUM_THREADS=2 $(VENV)/bin/python -m bench.run $(BENCH)

gpu: setup  ## What only a GPU can show: an hour in pieces of under ten minutes, into bench/GPU.md (PIECE="decode step": only those)
	bench/gpu.sh $(PIECE)

golden: setup  ## Compare with the numbers of the published code
	$(VENV)/bin/python -m tests.golden.check tests/golden
	$(VENV)/bin/python -m tests.golden.check tests/golden_methods

lint: setup  ## Style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/snakefmt --check Snakefile workflow
	$(VENV)/bin/snakemake --lint

format: setup  ## Put the sources into the house's format
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	$(VENV)/bin/snakefmt Snakefile workflow

schema: setup  ## Write workflow/schemas/config.schema.yaml from the typed settings again
	$(VENV)/bin/python workflow/schemas/write_schema.py

graph: setup  ## Draw the picture in config/README.md again, and list the tables in docs/tables.md
	$(VENV)/bin/python docs/draw_graph.py
	$(VENV)/bin/python docs/list_tables.py

# Without hashes and local version labels: torch's CPU and CUDA builds share a version.
lock: setup  ## Renew requirements.lock from pyproject.toml
	CUSTOM_COMPILE_COMMAND="make lock" $(VENV)/bin/pip-compile --quiet --extra dev --strip-extras --allow-unsafe \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file requirements.lock pyproject.toml
	sed -i -E 's/^(torch==[0-9.]+)\+[a-z0-9]+/\1/' requirements.lock

clean:  ## Remove what was made; the environment stays
	rm -rf results logs .snakemake
