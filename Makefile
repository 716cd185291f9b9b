# `make help` lists what there is to make. Everything runs in .venv, which `make env` makes.
BIN := .venv/bin
SNAKEMAKE := $(BIN)/snakemake --profile profiles/default
export PATH := $(CURDIR)/$(BIN):$(PATH)
unexport PYTHONDONTWRITEBYTECODE # tests start hundreds of processes: each would compile the package anew

.PHONY: help lab lab-from-scratch study verify test test-fast oracles fuzz chaos check-clone docs tutorials bench env lint wheel release clean

help: ## what there is to make
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1: /p' Makefile

lab: env ## the embedded study, to reports/lab/report.html
	$(SNAKEMAKE)
	@echo "open reports/lab/report.html"

lab-from-scratch: env ## the same, with the four models pre-trained here instead of taken from the package
	$(SNAKEMAKE) --config from_scratch=true

study: env ## another study, CONFIG=its config, which is read within limits before Snakemake reads it
	@$(BIN)/reliquant plan '$(CONFIG)' > /dev/null
	$(SNAKEMAKE) --configfile '$(CONFIG)'

verify: env ## what differs between the lab that ran here, or STUDY, and the released one, and why
	$(BIN)/python tools/released.py compare $(or $(STUDY),lab)

test: env ## all tests; with SHARD=2/4 the second of four parts, every fourth test file
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder \
		$(if $(SHARD),$$(find tests -name 'test_*.py' | sort | awk -v s=$(SHARD) '{ split(s, a, "/") } NR % a[2] == a[1] % a[2]'))

test-fast: env ## the tests of every file that takes seconds: all but those of tests/slow.txt
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist loadfile $$(find tests -name 'test_*.py' | sort | grep -vxFf tests/slow.txt)

oracles: env ## the tests that compare with kept libraries, which the extra `oracles` brings; make test skips these
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[oracles]'
	$(BIN)/python -c 'import bitsandbytes, brevitas.nn, faiss, hqq.core.quantize, pytrec_eval, torchao'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/layers/test_formats.py tests/measures/test_against_trec_eval.py \
		tests/quantization/quantizers/test_against_libraries.py tests/stored/layouts

fuzz: env ## the random inputs of tests/fuzz, many more of them
	FUZZ_CASES=20000 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto tests/fuzz

chaos: env ## the harm of tests/chaos, much more of it; the last line says what was survived
	CHAOS_KILLS=88 CHAOS_FLIPS=306 CHAOS_SWAPS=289 CHAOS_HARDSHIPS=all OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/chaos

check-clone: env ## what a study must survive in fresh clones, a line a check
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[clones]'
	$(BIN)/python -m pytest -v tests/workflow/test_clones.py tests/workflow/test_hardships.py

docs: env ## the site, to site/index.html; offline, and a warning is an error
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --builder html docs site
	@echo "open site/index.html"

tutorials: env ## runs docs/tutorials, and writes what they print and draw into their pages
	for page in docs/tutorials/[0-9]*.md; do $(BIN)/python tools/tutorials.py $$page || exit 1; done

bench: env ## every benchmark of speed beside its peers, about an hour, to docs/results/speed.md
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[benchmarks]'
	$(BIN)/python tools/bench.py

env: .venv/.made ## the environment, in .venv
.venv/.made: pyproject.toml constraints.txt workflow/make_env.sh src/reliquant/__init__.py
	bash workflow/make_env.sh .venv
	touch $@

lint: env ## style, types, and the workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow/Snakefile workflow/rules
	$(BIN)/snakemake --lint

wheel: env ## what pip installs, built into dist/, checked and tried in fresh environments
	$(BIN)/python tools/release.py wheel

release: env ## the same, and all that a release needs; says how to publish, and publishes nothing
	$(BIN)/python tools/release.py

clean: ## what was computed; the environment stays
	rm -rf results logs data .snakemake site
	find reports -mindepth 2 -maxdepth 2 ! -name summary.json ! -name claims.json ! -name plots -exec rm -rf {} +
