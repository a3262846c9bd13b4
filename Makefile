# make compare   train and compare PaLM, Gopher and RETRO; ARGS="--seeds 3" hands on options
# make ablations the papers' tables, and curves over size, tokens and database; resumable
# make test      the tests; ARGS="tests/models -k retro" runs some of them
# make chaos     kills, damage, full disks and bad input for ten minutes; ARGS="--minutes 60 --seed 7"
# make lint      ruff (errors and format) and mypy (types)
# make bench     speed beside peers and the machine's ceiling; ARGS="--only decoding"
# make report    pages in docs and the README's tables, from experiments/results
# make setup     only create .venv; DEVICE=cuda13 (or cuda12) for NVIDIA GPUs
# make help      these lines; python -m experiments lists every command
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
READY := $(VENV)/.ready
PEERS := .venv-bench
DEVICE ?= cpu

.PHONY: setup compare ablations test chaos lint bench report help

setup: $(READY) $(if $(filter-out cpu,$(DEVICE)),$(VENV)/.ready-$(DEVICE))

compare: $(READY)
	$(VENV)/bin/python -m experiments.compare $(ARGS)

ablations: $(READY)
	for table in "ablate palm" "ablate gopher" "ablate retro" blocks square scaling payoff; do \
		$(VENV)/bin/python -m experiments.$$table $(ARGS) || exit $$?; done

test: $(READY)
	$(VENV)/bin/python -m pytest $(ARGS)

chaos: $(READY)
	$(VENV)/bin/python -m tests.chaos $(ARGS)

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(READY) $(PEERS)/.ready
	$(VENV)/bin/python -m benchmarks.run $(ARGS)

report: $(READY)
	$(VENV)/bin/python -m experiments.publish $(ARGS)

help:
	@sed -n 's/^# make/make/p' Makefile

$(PEERS)/.ready: benchmarks/requirements.txt benchmarks/requirements-without-dependencies.txt | $(READY)
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r benchmarks/requirements-without-dependencies.txt
	@touch $(PEERS)/.ready

$(READY): requirements.txt requirements-without-dependencies.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed and none was found. Install one, or name it: make PYTHON=/path/to/python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-without-dependencies.txt
	@touch $(READY)

# The wheels of a GPU beside those of the CPU, which every machine has.
$(VENV)/.ready-%: requirements-%.txt | $(READY)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@
