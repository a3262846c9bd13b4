# make compare   train and compare PaLM, Gopher and RETRO; options through ARGS="--seeds 3"
# make ablations the papers' ablation tables, and what grows with size, tokens and database; goes on where it stopped
# make test      the tests
# make bench     speed beside peers and the machine's ceiling; options through ARGS="--only decoding"
# make report    docs/results.md, docs/report.html and the cards, from experiments/results
# make setup     only create .venv
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
READY := $(VENV)/.ready
PEERS := .venv-bench

.PHONY: setup compare ablations test bench report

setup: $(READY)

compare: $(READY)
	$(VENV)/bin/python -m experiments.compare $(ARGS)

ablations: $(READY)
	for table in "ablate palm" "ablate gopher" "ablate retro" square scaling payoff; do \
		$(VENV)/bin/python -m experiments.$$table $(ARGS) || exit $$?; done

test: $(READY)
	$(VENV)/bin/python -m pytest $(ARGS)

bench: $(READY) $(PEERS)/.ready
	$(VENV)/bin/python -m benchmarks.run $(ARGS)

report: $(READY)
	$(VENV)/bin/python -m experiments.publish $(ARGS)

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
