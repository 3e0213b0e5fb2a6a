# Everything runs in .venv, which `make setup` makes. `make help` lists the targets.
PYTHON ?= python3.11
VENV ?= .venv
RUN := $(VENV)/bin/python
EXTRAS ?= gym,test
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: help setup demo test bench results-check check format lint types quick docs cfg-lock demonstrator

help: ## This list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(VENV)/.installed: setup.py
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -q --upgrade pip
	$(RUN) -m pip install -q -e ".[$(EXTRAS)]"
	touch $@

setup: $(VENV)/.installed ## Virtual environment with everything the tests need

demo: setup ## Pre-train, fine-tune and evaluate on Hopper, ending with a picture
	$(RUN) -m script.demo

test: setup ## All tests, with real simulators and parity with PyTorch
	@# In parts: what is compiled stays in memory until a process ends.
	$(RUN) -m pytest -n 2 --dist loadfile tests/torch_to_tf
	$(RUN) -m pytest -n 2 --dist loadfile tests/model tests/parity
	$(RUN) -m pytest -n 2 --dist loadfile tests --ignore=tests/torch_to_tf \
		--ignore=tests/model --ignore=tests/parity

bench: setup ## Speed against plain PyTorch, on a quiet machine: docs/results/bench.md
	$(RUN) -m tests.bench --wait

# `make results-check hopper_ppo`: the second goal is the result's name.
ifeq (results-check,$(firstword $(MAKECMDGOALS)))
RESULT := $(word 2,$(MAKECMDGOALS))
$(eval $(RESULT):;@:)
endif

results-check: setup ## First iterations of docs/results/<name> again: make results-check <name>
	$(RUN) script/check_result.py $(RESULT)

check: setup format lint types quick ## What has to hold before a commit

format:
	$(RUN) -m ruff format --check agent env model script tests util setup.py

lint:
	$(RUN) -m ruff check agent env model script tests util setup.py

types:
	$(RUN) -m mypy

quick:
	$(RUN) -m pytest -n 2 --dist loadfile -m "not full" tests

docs: setup ## The correspondence table of util/torch_to_tf: docs/torch_to_tf.md
	$(RUN) -m util.torch_to_tf.docs

cfg-lock: setup ## Writes cfg/lock.txt again; read which configs moved
	$(RUN) -m tests.cfg.lock
