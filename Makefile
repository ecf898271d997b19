# Nodewright's menu. `make` or `make help` prints it; each target sets up what it needs in .venv/.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV    := .venv
BIN     := $(VENV)/bin
READY   := $(VENV)/.ready
BROWSER := $(VENV)/.browser
# Test processes: one per core, but not more than eight, because each starts servers of its own.
JOBS   ?= auto --maxprocesses=8
# More arguments for pytest, as `make test ARGS='-k window -x'`, or for a command, as `make demo ARGS='--count 200'`.
ARGS   ?=
CODE   := api_client jobs worker simulator nodewright tests scripts deploy benchmarks examples

# A checkout that was moved or copied has a .venv/ that points to its old place: it is set up again.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
.PHONY: $(READY)
endif

$(READY): requirements.lock pyproject.toml scripts/setup
	@scripts/setup
	@printf '%s' '$(CURDIR)' > $@

$(BROWSER): $(READY) requirements-browser.lock
	@scripts/setup requirements-browser.lock
	@touch $@

##@ First

.PHONY: setup
setup: $(READY) ## set up .venv/ (every other target does it when needed)
	@echo "$(VENV) is ready."

.PHONY: demo
demo: $(READY) ## run the main job against a simulated API: costs nothing, needs nothing
	@$(BIN)/nodewright demo $(ARGS)

.PHONY: up
up: $(READY) ## run the whole stack here against the API that LINODE_TOKEN opens
	@$(BIN)/nodewright up $(ARGS)

##@ Before a commit

.PHONY: test
test: $(READY) ## run every test (databases, brokers and simulators are started by the tests)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(ARGS)

.PHONY: check
check: $(READY) ## lint, format, types, imports between rooms, docs against code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest -q tests/project -m 'not stack'

.PHONY: coverage
coverage: $(READY) ## hold the pure modules to 95 % of their branches
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -q -n $(JOBS) -m 'not stack and not postgres and not valkey'
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage json -q -o .coverage.json
	@$(BIN)/python scripts/branches.py .coverage.json

.PHONY: format
format: $(READY) ## format the code and mend what the linter can mend
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: docs
docs: $(READY) ## write the generated parts of docs/ again (states, settings, commands)
	@$(BIN)/python scripts/gendocs.py

##@ Now and then

.PHONY: browser
browser: $(BROWSER) ## look at the page in a real Chromium (CHROMIUM=/path names it); keeps build/screenshots/
	$(BIN)/python -m pytest tests/browser $(ARGS)

.PHONY: explore
explore: $(READY) ## crash the real engine before every effect, two deep, against every outcome of the API
	$(BIN)/python -m tests.explorer $(ARGS)

.PHONY: chaos
chaos: $(READY) ## kill, freeze and flush the real processes for minutes, then audit: nothing twice, nothing lost
	$(BIN)/python -m tests.chaos $(ARGS)

.PHONY: chaos-long
chaos-long: $(READY) ## the same with three seeds, and what an emptied broker costs
	$(BIN)/python -m tests.chaos --seed 1 --seed 2 --seed 3 $(ARGS)
	$(BIN)/python -m tests.chaos.flush

.PHONY: fuzz
fuzz: $(READY) ## send thousands of requests made from the OpenAPI document: no 500, no undocumented answer
	$(BIN)/python -m tests.fuzz $(ARGS)

.PHONY: alerts
alerts: $(READY) ## promtool (Debian's package prometheus): lint the metrics, check and test the alert rules
	$(BIN)/python -m tests.alerts

.PHONY: bench
bench: $(READY) ## measure everything beside its competitors, and write benchmarks/results/
	$(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-quick
bench-quick: $(READY) ## the same in small, with wide bounds; writes nothing
	$(BIN)/python -m benchmarks --quick $(ARGS)

.PHONY: lock
lock: ## choose the newest versions that pyproject.toml allows (needs uv and the network)
	@scripts/lock

.PHONY: secrets
secrets: $(READY) ## make deploy/secrets/ for docker-compose.yml (asks for the Linode token; keeps what is there)
	@$(BIN)/python deploy/make_secrets.py

.PHONY: clean
clean: ## remove .venv/ and everything else that can be made again
	rm -rf $(VENV) build dist htmlcov .coverage .coverage.* .hypothesis
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## print this menu
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
