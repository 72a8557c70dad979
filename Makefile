# Every target sets up what it needs: `make test` on a fresh clone is enough.
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: setup demo test nightly fuzz kills mutants lint bench notebooks reports docs clean sanitize

setup: $(STAMP)

# torch comes first and alone: a looser request would resolve to the newest build with its CUDA packages.
$(STAMP): pyproject.toml constraints.txt $(shell find kernels -type f)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt scikit-build-core nanobind
	$(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation --editable ".[dev]"
	touch $@

demo: setup
	rm -rf runs/demo
	$(BIN)/precisionlab train linear-attention/explicit-gradient --run-dir runs/demo
	$(BIN)/precisionlab report runs/demo gradient-descent qr reference --iterations 200 --out build/demo

# One process a core, each of one thread: two torch processes of two threads each would wait for one another.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

# Fifty thousand problems for every shipped solver, learned ones included; `make test` draws a hundred. A part of it:
# make nightly NIGHTLY="--problems 2000 --solver qr"
NIGHTLY ?= --problems 50000
nightly: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.nightly $(NIGHTLY)

# The oracle and the certificates against fractions; `make test` does two hundred.
fuzz: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz_reference --problems 20000 --seed 0

# Training killed at random moments, resumed and compared; `make test` does four of these.
kills: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.kill_runs --kills 50

# A line is changed and a test must turn red, again and again; `make test` does none of these.
mutants: setup
	$(BIN)/python -m tests.mutations --jobs 2 --out tests/mutations/results.md

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# Every page of reports/ and the page that lists them, from saved results: nothing is measured.
reports: setup
	$(BIN)/python reports/rebuild.py

# Every notebook from a fresh kernel, two at a time, outputs written back; each takes less than two minutes on one core.
notebooks: setup
	ls notebooks/*.ipynb | OMP_NUM_THREADS=1 xargs -P 2 -n 1 $(BIN)/jupyter execute --inplace --timeout=600

# The documentation in build/docs/index.html; a warning is an error.
docs: setup
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -q -b html docs build/docs

bench: setup
	$(BIN)/python reports/benchmarks/fused.py --json build/fused.json
	$(BIN)/python reports/benchmarks/solve.py --json build/solve.json

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The kernels under the sanitizers, on drivers without Python: the CPU's, and the GPU's run on the host. The thread sanitizer
# sees a barrier that is missing in the latter.
SANITIZE := -DCMAKE_BUILD_TYPE=Debug -DPRECISIONLAB_MODULE=OFF -DPRECISIONLAB_TESTS=ON -DPRECISIONLAB_CUDA=OFF
sanitize:
	cmake -S kernels -B build/sanitize $(SANITIZE) \
	  -DCMAKE_CXX_FLAGS="-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"
	cmake --build build/sanitize --parallel 2
	build/sanitize/kernels_driver
	build/sanitize/device_driver
	cmake -S kernels -B build/sanitize-threads $(SANITIZE) -DCMAKE_CXX_FLAGS="-O1 -g -fsanitize=thread"
	cmake --build build/sanitize-threads --parallel 2 --target device_driver
	build/sanitize-threads/device_driver few
