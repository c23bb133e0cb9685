# The commands that people and the checks of every change use. README.md explains demo and test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find csrc -name '*.[ch]*' -o -name '*.py' | grep -v __pycache__) setup.py pyproject.toml constraints.txt

.PHONY: demo test test-all test-readers test-repeat lint format fuzz bench cuda-on-cpu cuda-mutations wheel clean

demo: $(VENV)/ready
	$(BIN)/motive demo --out demo-run

# Random order, two processes; a file's tests stay in one process, which shares what the file sets up.
# A test that hangs for half an hour ends its process and shows where it hung.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder \
	-o faulthandler_timeout=1800 -o faulthandler_exit_on_timeout=true

test: $(VENV)/ready lint
	$(PYTEST)
	$(MAKE) fuzz

# Everything, with what is too long for every change; whoever runs it commits the last lines with date and machine.
test-all: $(VENV)/ready lint
	$(PYTEST) -m "long or not long"
	$(MAKE) cuda-mutations
	$(BIN)/python -m tests.faults.run --sections kills,workers,scoring,disks,damage,media,soak,fuzz --out build/faults

# N runs of the suite under conditions unlike a developer's machine, and a table of failures (about two hours for 10).
N ?= 10
test-repeat: $(VENV)/ready
	$(BIN)/python -m tests.repeat $(N) --out build/repeat

# Selections read by the loaders of the tools that they are for, at pinned commits; needs a network.
READERS := build/readers
test-readers: $(VENV)/ready
	test -d $(READERS)/venv || $(PYTHON) -m venv $(READERS)/venv
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > \
		"$$($(READERS)/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/motive-packages.pth"
	$(READERS)/venv/bin/pip install -q --disable-pip-version-check -r tests/readers/requirements.txt
	$(BIN)/python -m tests.readers.run --python $(READERS)/venv/bin/python --sources $(READERS)/sources --clone

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.cu' 'csrc/*.cuh')
	$(BIN)/pyright

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(git ls-files 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.cu' 'csrc/*.cuh')

# Mutated input for every reader, a fixed number; docs/durability.md tells of longer runs.
fuzz: $(VENV)/ready
	$(BIN)/python -m tests.faults.run --quick --sections fuzz --out build/faults

# The CUDA kernels on the CPU under ThreadSanitizer: fails at a race or a wrong number.
cuda-on-cpu: $(VENV)/ready
	$(BIN)/python csrc/cuda_on_cpu/run.py

# Removes each barrier of the CUDA kernels in turn; fails where nothing notices. About five minutes.
cuda-mutations: $(VENV)/ready
	$(BIN)/python csrc/cuda_on_cpu/mutate.py --write

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
