# Plain make. Each target makes the environment it needs: .venv with the run-time pins, .venv-dev with the others too.
.POSIX:
.PHONY: help demo run test check bench faults lock clean

PYTHON ?= python3
ARGS =

RUN = .venv/bin
DEV = .venv-dev/bin
PIP_INSTALL = -m pip --disable-pip-version-check install -qq

help:
	@echo 'make demo      show crm-sync at work on this machine    (make demo ARGS="--database URL")'
	@echo 'make run       migrate, then web and worker             (make run ARGS="...")'
	@echo 'make test      run the tests                            (make test ARGS="tests/unit -k signature")'
	@echo 'make check     style, types, imports, dead code, requirements'
	@echo 'make bench     measure, beside yardsticks               (make bench ARGS="ingest")'
	@echo 'make faults    kill processes by the hundred, and more; takes an hour'
	@echo 'make lock      write the requirements files anew        (make lock ARGS="--upgrade")'
	@echo 'make clean     remove the environments and the caches'

demo: .venv/project
	@$(RUN)/crm-sync demo $(ARGS)

run: .venv/project
	@$(RUN)/crm-sync run $(ARGS)

test: .venv-dev/project
	$(DEV)/python -m pytest -n 2 --dist worksteal $(ARGS)

check: .venv-dev/project
	$(DEV)/ruff check .
	$(DEV)/ruff format --check .
	$(DEV)/mypy
	$(DEV)/lint-imports --no-logo
	$(DEV)/python tests/checks/dead_code.py
	! grep -n -i -e '://' -e index requirements.txt requirements-dev.txt
	$(DEV)/python tests/checks/licences.py

bench: .venv-dev/project
	@$(DEV)/python -m benchmarks $(ARGS)

FAULTS = CRM_SYNC_FAULT_KILLS=200,50 CRM_SYNC_FAULTS_LONG=1
LONG_TESTS = tests/faults tests/acceptance/test_many_workers.py tests/acceptance/test_crm_away.py

faults: .venv-dev/project
	$(FAULTS) $(DEV)/python -m pytest -rP $(LONG_TESTS) $(ARGS)

LOCK = $(DEV)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
	--custom-compile-command 'make lock' pyproject.toml $(ARGS)

lock: .venv-dev/project
	$(LOCK) --group build --output-file requirements.txt
	$(LOCK) --group build --group dev --extra mysql --constraints requirements.txt --output-file requirements-dev.txt

clean:
	rm -rf .venv .venv-dev .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

# The stamps are written last, so an interrupted install starts again. New pins make a new environment, so that
# nothing of the old one is left; a change of pyproject.toml alone installs only the package.
.venv/pins: requirements.txt
	@$(NEW_ENVIRONMENT) .venv
	@$(RUN)/python $(PIP_INSTALL) --require-hashes -r requirements.txt
	@touch $@

.venv-dev/pins: requirements-dev.txt
	@$(NEW_ENVIRONMENT) .venv-dev
	@$(DEV)/python $(PIP_INSTALL) --require-hashes -r requirements-dev.txt
	@touch $@

.venv/project: .venv/pins pyproject.toml crm_sync/__init__.py
	@$(RUN)/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.venv-dev/project: .venv-dev/pins pyproject.toml crm_sync/__init__.py
	@$(DEV)/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

CAN_MAKE = $(PYTHON) -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
NEW_ENVIRONMENT = $(CAN_MAKE) || { \
	echo 'crm-sync needs Python 3.11 or newer with its venv module: name one, as in make PYTHON=python3.12.' >&2; \
	exit 1; }; echo 'Making an environment; this happens once.'; $(PYTHON) -m venv --clear
