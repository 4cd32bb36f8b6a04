# make repro: set up, check the parameters, run the pipeline, show the result.    make help: the other targets.
PYTHON ?= python3
VENV := .venv
ENV := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"

.PHONY: help setup repro spul test quick kernels lint deps docs site pictures demo bench study compare compare-all soak \
        book tofu erasing law languages smollm tastes sst2 families presets clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/installed ## the virtual environment, from pyproject.toml and the constraints

$(VENV)/installed: pyproject.toml constraints.txt constraints-test.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "make: expected Python 3.11 or newer, got " + sys.version.split()[0] + "; name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --use-pep517 --constraint constraints.txt --constraint constraints-test.txt --editable '.[test]'
	@touch $@

repro: setup ## check params.yaml, run the pipeline, show the result
	@$(ENV) lethe repro
	@$(ENV) lethe result

spul: setup ## the classification task of SPUL, which `make repro` leaves out
	@$(ENV) lethe repro spul

test: setup ## all tests, the slow ones too
	$(ENV) OMP_NUM_THREADS=1 python -m pytest -q -n auto --maxprocesses 4 --dist loadfile

quick: setup ## the fast tests
	$(ENV) OMP_NUM_THREADS=1 python -m pytest -q -n auto --maxprocesses 4 -m 'not slow'

# what stages compute with torch: no other number depends on the processor
COMPUTING := stages anchors attacks classification dictionary distillation evaluation inference labels metrics models \
             pretrained training unlearning

kernels: export MKL_CBWR := COMPATIBLE
kernels: export ATEN_CPU_CAPABILITY := default
kernels: setup ## the fast tests of what computes, under other CPU kernels
	$(ENV) OMP_NUM_THREADS=1 python -m pytest -q -n auto --maxprocesses 4 -m 'not slow' $(addprefix tests/,$(COMPUTING))

lint: setup ## style and types
	$(ENV) ruff check .
	$(ENV) ruff format --check .
	$(ENV) mypy stages lethe tools

deps: setup ## write the code that each stage imports into dvc.yaml
	$(ENV) python -m tools.deps

docs: setup ## the generated parts of docs/pipeline.md and docs/design.md, from dvc.yaml and the sources
	$(ENV) python -m tools.generate_docs

families: setup ## docs/models.md: every architecture of the installed transformers, tried with a tiny model (4 CPU-minutes)
	$(ENV) OMP_NUM_THREADS=1 python -m tools.families

presets: setup ## the table of presets/README.md: memory and time by the planner
	$(ENV) python -m tools.preset_table

site: setup ## the documentation as a site in .scratch/site, its links checked
	$(ENV) python -m tools.site

pictures: setup ## docs/images/ from reports/index.html and lethe app, with a headless Chromium (CHROME=/path/to/it)
	@$(PYTHON) tools/pictures.py
	@$(ENV) python -m tools.app_pictures

demo: setup ## write the embedded demo corpus anew from its generator
	$(ENV) python data/demo/generate.py
	$(ENV) python data/demo/tastes.py

bench: setup ## speed, memory and growth beside plain ways and floors (hours; one part: python -m benchmarks.bench --only label)
	$(ENV) python -m benchmarks.bench

study: setup ## three seeds and the ablations on the embedded default (about 50 CPU-minutes)
	$(ENV) python -m studies.ablations

soak: setup ## kill -9 dvc or a trainer in every stage of a tiny pipeline; the bytes must not notice
	$(ENV) python -m studies.kill_test

compare: setup ## eight methods side by side on the embedded default (under 30 minutes on two cores)
	$(ENV) python -m studies.methods

compare-all: setup ## every objective with every tuning (hours)
	$(ENV) python -m studies.methods --all

book: setup ## a real book: make book DATA=<folder with books/, text/, lm_eval/>
	@test -n "$(DATA)" || { echo "make book: expected DATA=<folder with books/, text/, lm_eval/>, got none"; exit 1; }
	$(ENV) python -m studies.book $(DATA)

tofu: setup ## TOFU's forget10 unlearned: make tofu DATA=<folder with tofu/>
	@test -n "$(DATA)" || { echo "make tofu: expected DATA=<folder with tofu/>, got none"; exit 1; }
	$(ENV) python -m studies.tofu $(DATA)

languages: setup ## what local extraction finds of the names in a story in each of eleven languages (seconds)
	$(ENV) python -m studies.languages

erasing: setup ## what each part of erasing buys and costs: seeds, noise curve, parts, objectives (two CPU-hours)
	$(ENV) python -m studies.erasing

law: setup ## names that extract counts and label replaces or tells, by tokenizer: make law DATA=<folder with tokenizers/, models/>
	$(ENV) python -m studies.law $(DATA)

smollm: setup ## a real pretrained model forgets a real book: make smollm DATA=<folder with books/, text/, lm_eval/>
	@test -n "$(DATA)" || { echo "make smollm: expected DATA=<folder with books/, text/, lm_eval/>, got none"; exit 1; }
	$(ENV) python -m studies.smollm $(DATA)

tastes: setup ## which prompt unlearns the demo's table, three seeds
	$(ENV) python -m studies.demo_task

sst2: setup ## SPUL on SST-2, three seeds: make sst2 DATA=<folder with sst2/, text/> [MODEL=smollm2]
	@test -n "$(DATA)" || { echo "make sst2: expected DATA=<folder with sst2/, text/tinystories.txt>, got none"; exit 1; }
	$(ENV) python -m studies.sst2 $(DATA) $(if $(MODEL),--model $(MODEL))

clean: ## remove half-done work; artifacts and cache stay
	rm -rf .scratch
