# Every target sets up what it needs: `make test` on a fresh clone is enough.
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: setup demo test kills lint bench notebooks reports clean sanitize

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
	$(BIN)/precisionlab report runs/demo gradient-descent qr reference --iterations 200 --problems 4096 --out reports/demo

# One process a core, each of one thread: two torch processes of two threads each would wait for one another.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

# Training killed at random moments, resumed and compared; `make test` does four of these.
kills: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.kill_runs --kills 50

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The kernels under the address and undefined-behaviour sanitizers, on a driver of their own: no Python inside.
sanitize:
	cmake -S kernels -B build/sanitize -DCMAKE_BUILD_TYPE=Debug -DPRECISIONLAB_MODULE=OFF -DPRECISIONLAB_TESTS=ON \
	  -DCMAKE_CXX_FLAGS="-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"
	cmake --build build/sanitize --parallel 2
	build/sanitize/kernels_driver
