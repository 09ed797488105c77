# VisiData Hub. `make help` lists the commands. The steps themselves are in tools/setup.sh.
# A folder that is set up has a stamp in it; one that is newer than what it depends on costs a start nothing. The steps
# are announced by `$(info)`: make itself prints that in order, though two steps run at once.

MAKEFLAGS += --no-print-directory --no-builtin-rules -j2
HUB := .venv/.stamp
SESSION := .venv-session/.stamp
VENDOR := static/vendor/.stamp
# On all processors; a file's tests stay together, since they share what is slow to start. The longest files come first.
ALL_TESTS := --numprocesses auto --dist loadfile --no-loadscope-reorder e2e tests
DEV := .venv/.stamp-dev

.PHONY: setup run test test-cluster check dev bench chaos requirements clean help

setup: $(HUB) $(SESSION) $(VENDOR) ## Set up what is missing: both Pythons, VisiData, the browser's libraries
	@echo "All is set up. 'make run' starts the Hub, 'make help' lists the commands."

run: $(HUB) $(SESSION) $(VENDOR) ## Set up what is missing, then serve the Hub (Ctrl-C stops it)
	@exec .venv/bin/hub serve

test: $(DEV) $(SESSION) $(VENDOR) ## Run all tests, the browser's too; ARGS="tests/web -k login" picks some
	@tools/setup.sh browser
	@.venv/bin/pytest $(or $(ARGS),$(ALL_TESTS))

test-cluster: $(DEV) $(SESSION) $(VENDOR) ## Run the tests that need a cluster: KUBECONFIG names it, HUB_TEST_SESSION_IMAGE the image
	@test -n "$$KUBECONFIG" -a -n "$$HUB_TEST_SESSION_IMAGE" || { echo "KUBECONFIG must name a cluster, and \
	HUB_TEST_SESSION_IMAGE the image of deploy/visidata, which its nodes have or can fetch: docs/development.md." >&2; exit 2; }
	@tools/setup.sh browser
	@HUB_TEST_KUBECONFIG="$$KUBECONFIG" .venv/bin/pytest $(or $(ARGS),tests/cluster tests/kube/test_server.py)

check: $(DEV) ## Check style, types, import directions, migrations and the tree
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/mypy tools/*.py
	.venv/bin/lint-imports
	.venv/bin/python tools/check_migrations.py
	.venv/bin/python tools/check_tree.py

dev: $(HUB) $(SESSION) $(VENDOR) ## Serve the Hub, and again whenever its code changes
	@bind="$$(.venv/bin/python -c 'from app.settings import Settings; print(Settings.from_env().bind)')" && \
	exec .venv/bin/hypercorn --reload --bind "$$bind" --websocket-ping-interval 20 --graceful-timeout 1 app.asgi:app

bench: $(DEV) $(SESSION) $(VENDOR) ## Measure what docs/performance.md shows, cluster and soak apart; ARGS=start picks one
	@tools/setup.sh bench
	@.venv/bin/python -m bench $(ARGS)

chaos: $(DEV) ## Three replicas, 300 sessions and every fault at once; ARGS="--seed 7" for the same faults again
	@.venv/bin/python -m tests.chaos $(ARGS)

requirements: $(HUB) ## Pin again what requirements/*.in and package.json ask for; ARGS=--upgrade takes the newest
	@tools/setup.sh requirements $(ARGS)

clean: ## Remove what `make` made; the data folder stays
	rm -rf .make .venv .venv-session node_modules static/vendor visidata_hub.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache test-results

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

$(HUB): requirements/hub.txt pyproject.toml
	@$(info 1/3 The Hub's Python packages (about half a minute)…)tools/setup.sh hub
	@touch $@

$(SESSION): requirements/session.txt
	@$(info 2/3 VisiData and its loaders (about half a minute)…)tools/setup.sh session
	@touch $@

# After the Hub's packages, since a machine without Node.js gets it there.
$(VENDOR): package-lock.json tools/vendor.py | $(HUB)
	@$(info 3/3 The browser's libraries (some seconds)…)tools/setup.sh vendor
	@touch $@

$(DEV): requirements/dev.txt $(HUB)
	@$(info Tools for tests and checks (some seconds)…)tools/setup.sh dev
	@touch $@
