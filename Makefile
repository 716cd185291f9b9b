# make lab | study CONFIG=... | test | fuzz | chaos | tutorials | env | lint | clean | lab-from-scratch. Everything runs in .venv, which `make env` makes.
BIN := .venv/bin
SNAKEMAKE := $(BIN)/snakemake --profile profiles/default
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: lab lab-from-scratch study test fuzz chaos check-clone tutorials env lint clean

lab: env ## the embedded study, to reports/lab/report.html
	$(SNAKEMAKE)
	@echo "open reports/lab/report.html"

lab-from-scratch: env ## the same, with the four models pre-trained here instead of taken from the package
	$(SNAKEMAKE) --config from_scratch=true

study: env ## another study, CONFIG=its config, which is read within limits before Snakemake reads it
	@$(BIN)/reliquant plan '$(CONFIG)' > /dev/null
	$(SNAKEMAKE) --configfile '$(CONFIG)'

test: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

fuzz: env ## the random inputs of tests/fuzz, many more of them
	FUZZ_CASES=20000 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 tests/fuzz

chaos: env ## the harm of tests/chaos, much more of it; the last line says what was survived
	CHAOS_KILLS=88 CHAOS_FLIPS=306 CHAOS_SWAPS=289 CHAOS_HARDSHIPS=all OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/chaos

check-clone: env ## what a study must survive in fresh clones, a line a check
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[clones]'
	$(BIN)/python -m pytest -v tests/workflow/test_clones.py tests/workflow/test_hardships.py

tutorials: env ## runs docs/tutorials, and writes what they print and draw into their pages
	for page in docs/tutorials/[0-9]*.md; do $(BIN)/python tools/tutorials.py $$page || exit 1; done

env: .venv/.made
.venv/.made: pyproject.toml constraints.txt workflow/make_env.sh
	bash workflow/make_env.sh .venv
	touch $@

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint

clean: ## what was computed; the environment stays
	rm -rf results reports/*/ logs data .snakemake
