# The commands that people and the checks of every change use. README.md explains demo and test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find csrc -name '*.[ch]*' -o -name '*.py' | grep -v __pycache__) setup.py pyproject.toml constraints.txt

.PHONY: demo test lint format fuzz bench wheel clean

demo: $(VENV)/ready
	$(BIN)/motive demo --out demo-run

test: $(VENV)/ready lint
	$(BIN)/python -m pytest
	$(MAKE) fuzz

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.cu' 'csrc/*.cuh')
	$(BIN)/pyright

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(git ls-files 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.cu' 'csrc/*.cuh')

# Two minutes of mutated input for every reader; docs/durability.md tells of longer runs.
fuzz: $(VENV)/ready
	$(BIN)/python -m tests.faults.run --quick --sections fuzz --out build/faults

bench: $(VENV)/ready
	$(BIN)/python -m benchmarks.run --suite all --out benchmarks/results/local

wheel: $(VENV)/ready
	rm -rf build/lib.*
	$(BIN)/pip wheel -q --no-build-isolation --no-deps -w dist .

clean:
	rm -rf build demo-run $(VENV) motive_kernels/*.so *.egg-info

# The environment: packages at the versions of constraints.txt, the C++ extension built in place.
$(VENV)/ready: $(SOURCES)
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt setuptools wheel ninja pybind11
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	touch $@
