# Everyday commands; `make help` lists them. GNU make 3.81 or newer.
# Another interpreter: make demo PYTHON=python3.13

PYTHON ?= python3
ENGINE ?= docker
IMAGE  ?= uploader
ARGS   ?=

VENV  := .venv
BIN   := $(VENV)/bin
READY := $(VENV)/.ready
PIP   := $(BIN)/python -m pip --disable-pip-version-check

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url

.DEFAULT_GOAL := help
.PHONY: help env demo test lint lock upgrade image check-image clean

help:
	@echo 'make demo         a whole run with real retail data, no account needed'
	@echo 'make test         the test suite; make test ARGS="-k quota -x" passes arguments to pytest'
	@echo 'make lint         ruff, mypy and the import rules'
	@echo 'make env          only make the environment that these use, in $(VENV)'
	@echo 'make lock         bring the constraints up to date with pyproject.toml, keeping the pins'
	@echo 'make upgrade      the same, with the newest versions that pyproject.toml allows'
	@echo 'make image        build the container image with $(ENGINE); ENGINE=podman for Podman'
	@echo 'make check-image  build it and try it out: see tests/container/check.sh'
	@echo 'make clean        remove the environment, caches and builds'
	@echo
	@echo 'PYTHON=$(PYTHON) (3.11 or newer) makes the environment.'

demo: $(READY)
	@$(BIN)/uploader demo $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

env: $(READY)

# Made anew where it is missing, broken or of another Python version; else brought up to date.
$(READY): constraints-dev.txt pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo '$(PYTHON) was not found. Name a Python of 3.11 or newer: make PYTHON=python3.12 ...' >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, and $(PYTHON) is $$("$(PYTHON)" -V 2>&1)." \
	  'Name another: make PYTHON=python3.12 ...' >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'This Python cannot make virtual environments. On Debian and Ubuntu:' \
	  'sudo apt-get install python3-venv' >&2; exit 1; }
	@version='import sys; print(sys.version_info[:2])'; \
	if [ "$$($(BIN)/python -c "$$version" 2>/dev/null)" != "$$("$(PYTHON)" -c "$$version")" ]; then \
	  echo 'Making the environment in $(VENV) ...'; "$(PYTHON)" -m venv --clear $(VENV); fi
	@echo 'Installing what constraints-dev.txt pins; the first time takes half a minute ...'
	@$(PIP) install --quiet --require-hashes -r constraints-dev.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# A lock keeps the pins that still fit. All files agree: each is bound by the one before.
# constraints.txt: what runs. constraints-dev.txt: that, the demo's data and the developers'
# tools. constraints-build.txt: what builds the package, for the image.
lock: $(READY)
	@test -x $(BIN)/uv || { echo 'Installing uv ...'; $(PIP) install --quiet uv; }
	@echo 'Writing constraints.txt, constraints-dev.txt and constraints-build.txt ...'
	@$(COMPILE) $(LOCK_FLAGS) pyproject.toml --output-file constraints.txt
	@printf 'hatchling\neditables\n' | $(COMPILE) $(LOCK_FLAGS) pyproject.toml - \
	  --extra demo --extra dev --constraints constraints.txt --output-file constraints-dev.txt
	@echo hatchling | $(COMPILE) $(LOCK_FLAGS) - \
	  --constraints constraints-dev.txt --output-file constraints-build.txt

upgrade:
	@$(MAKE) lock LOCK_FLAGS=--upgrade

image:
	$(ENGINE) build --tag $(IMAGE) .

check-image:
	ENGINE=$(ENGINE) sh tests/container/check.sh

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find uploader tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
