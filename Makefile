# `make` shows what there is; targets install what they need into .venv first.

PYTHON ?= python3
BIN := $(CURDIR)/.venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
SEPARATION := recipes/PolSESS/separation
TRIAL := results/dprnn-small/1234
TRIAL_CORPUS := data/embedded_400_8000

.PHONY: help install train test chaos lint bench lock clean

help:  ## show this
	@echo "make TARGET, of which all but help, lock and clean first install the locked"
	@echo "packages into .venv (some 5 GB). Another interpreter: make PYTHON=python3.11 ..."
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/    \1\t\2/p' Makefile | expand -t 14

install: .venv/main.installed  ## the environment

.venv/main.installed: requirements/main.txt setup.cfg
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(not (3, 10) <= v <= (3, 12) and f'{sys.executable} is Python {v[0]}.{v[1]}; expected 3.10 to 3.12: make PYTHON=python3.11 ...')"
	@echo "Installing the locked packages into .venv: some 5 GB, a few minutes"
	$(PYTHON) -m venv .venv
	$(PIP) -r $<
	$(PIP) --no-deps -e .
	@touch $@

.venv/dev.installed: .venv/main.installed requirements/dev.txt requirements/hpo.txt
	$(PIP) -r requirements/dev.txt -r requirements/hpo.txt
	@touch $@

# A small DPRNN on the embedded corpus: corpus, manifests, training, test, export,
# separation. The corpus is synthetic: its scores are no results.
train: install  ## a small model on a synthetic corpus, from corpus to separation: minutes
	cd $(SEPARATION) && $(BIN)/python train.py hparams/dprnn.yaml --seed 1234 \
		--output_folder $(TRIAL) --embedded_folder $(TRIAL_CORPUS) --embedded_items 400 \
		--N_epochs 4 --batch_size 2 --N_channels 32 --hidden_channels 32 --num_layers 3
	cd $(SEPARATION) && $(BIN)/python separate.py $(TRIAL)/export --overwrite \
		"$$(ls $(TRIAL_CORPUS)/test/mix/*.wav | head -n 1)" --out $(TRIAL)/separated
	@cd $(SEPARATION) && echo && $(BIN)/python -m scoring.evaluation $(TRIAL)
	@echo "Learning curve: $(SEPARATION)/$(TRIAL)/learning_curve.png"
	@ls $(SEPARATION)/$(TRIAL)/separated/*.wav | sed 's/^/Separated: /'

test: .venv/dev.installed  ## all tests: a quarter of an hour
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

chaos: .venv/dev.installed  ## kills training and workers of studies, at random and at each call: hours
	$(BIN)/python tests/recipes/PolSESS/separation/chaos.py --kills 300 --calls
	$(BIN)/python tests/recipes/PolSESS/separation/chaos_studies.py --kills 300 --calls

lint: .venv/dev.installed  ## ruff and yamllint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/yamllint -s -c .yamllint.yaml $(SEPARATION)/hparams $(SEPARATION)/sweeps \
		tests/recipekit/toy .yamllint.yaml

bench: .venv/main.installed  ## the tables of benchmarks/results: an hour on two cores
	$(BIN)/python benchmarks/models.py
	$(BIN)/python benchmarks/scan.py
	$(BIN)/python benchmarks/loaders.py
	$(BIN)/python benchmarks/corpus_speed.py
	$(BIN)/python benchmarks/dynamic_mixing.py
	$(BIN)/python benchmarks/prepare_scale.py
	$(BIN)/python benchmarks/separate_file.py
	$(BIN)/python benchmarks/speaker_order.py

LOCK := uv pip compile --quiet --universal --python-version 3.10 --no-header --no-annotate setup.cfg
lock:  ## the exact versions that are installed; needs `pip install uv`
	$(LOCK) -o requirements/main.txt
	$(LOCK) --extra dev -c requirements/main.txt -o requirements/dev.txt
	$(LOCK) --extra hpo -c requirements/dev.txt -o requirements/hpo.txt

clean:  ## remove .venv
	rm -rf .venv
