# Needs python3.11, 3.12 or 3.13 and make.  `make run` segments images; `make test` runs all checks and tests.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || echo python3)
BIN := .venv/bin
OUT ?= out
# The images for `make run`: a folder; by default, samples from installed packages.
IMAGES ?=

LUA := "from maskq.producer.state.ledger.script import script_source; print(script_source())"
LUACHECK := --std lua51 --read-globals redis cjson KEYS ARGV --no-max-line-length --quiet

.PHONY: setup run test check coverage unit integration acceptance chaos docs clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

run: setup
	$(BIN)/maskq run $(if $(IMAGES),$(IMAGES),$$($(BIN)/python -m examples.samples)) --out $(OUT)
	@echo "Look at the pictures: $(OUT)/*.overlay.png"

test: check unit integration acceptance

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@command -v luacheck >/dev/null || echo "luacheck is not installed: the ledger's Lua script is not linted"
	@! command -v luacheck >/dev/null || $(BIN)/python -c $(LUA) | luacheck $(LUACHECK) -

unit integration acceptance: setup
	$(BIN)/python -m pytest tests/$@

# Line and branch coverage of the unit and integration tests, worker processes included.
coverage: setup
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest tests/unit tests/integration
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# The long form of `make test`'s fault injection: 2,000 jobs, 65 faults, longer outages. MASKQ_CHAOS_SEED repeats a run.
chaos: setup
	MASKQ_CHAOS=long $(BIN)/python -m pytest -s tests/acceptance/chaos

docs: setup
	$(BIN)/python -m docs.generate

clean:
	rm -rf .venv out build dist *.egg-info
