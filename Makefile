# `make help` lists the targets. Nothing needs an activated environment: the first target that needs
# one makes .venv and installs the locked packages; after that everything works without a network.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

# The environment's own kernel wins over one that the reader has registered.
export JUPYTER_PREFER_ENV_PATH := 1
# Without a GPU, TensorFlow reports a failed call to CUDA as an error; what matters it raises.
export TF_CPP_MIN_LOG_LEVEL := 3
# Show progress at once, also where the output is a pipe or a log.
export PYTHONUNBUFFERED := 1
# Python keeps what it has compiled: importing TensorFlow then takes half the time.
unexport PYTHONDONTWRITEBYTECODE
# A backend chosen elsewhere would keep figures out of the notebooks.
unexport MPLBACKEND

# Notebooks run in their own folder, so a relative folder of real data must be made absolute.
ifneq ($(ALEXNET_DATA),)
  DATA_FOLDER := $(shell cd "$(ALEXNET_DATA)" 2>/dev/null && pwd)
  ifeq ($(DATA_FOLDER),)
    $(error ALEXNET_DATA is "$(ALEXNET_DATA)", which is not a folder)
  endif
  override ALEXNET_DATA := $(DATA_FOLDER)
  export ALEXNET_DATA
endif

.PHONY: help
help: ## Show this list
	@echo 'Usage: make TARGET [PYTHON=python3.12] [ALEXNET_DATA=folder-with-real-data]'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: book
book: $(INSTALLED) ## Run every notebook, build the book and check every link in it
	@$(BIN)/python book/scripts/build.py

.PHONY: test
test: $(INSTALLED) ## Test the library, then run every notebook against its stored outputs
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: browse
browse: $(INSTALLED) ## Read the built book in headless Chromium [SHOTS=folder for pictures]
	@REQUIRE_BROWSER=1 $(BIN)/python -m pytest tests/test_browser.py tests/test_live.py

.PHONY: serve
serve: $(INSTALLED) ## Serve the built book on this machine and open it; its network runs only so
	@$(BIN)/python book/scripts/serve.py

.PHONY: live
live: $(INSTALLED) ## Install what bundles the live parts, where that failed before (needs a network)
	@$(BIN)/python book/scripts/live.py

.PHONY: data
data: $(INSTALLED) ## Download the UC Merced images and the official weights (576 MB)
	@$(BIN)/python -m alexnet_lib fetch

.PHONY: bench
bench: $(INSTALLED) ## Measure speed and memory
	@$(BIN)/python -m benchmarks

.PHONY: bench-check
bench-check: $(INSTALLED) ## Run every benchmark small: is it right, does it measure what it says?
	@$(BIN)/python -m pytest benchmarks

.PHONY: mutants
mutants: $(INSTALLED) ## Try 200 small faults in the library: do the tests notice? (an hour)
	@$(BIN)/python tests/mutants.py

.PHONY: notebooks
notebooks: $(INSTALLED) ## Run every notebook in place and store its outputs
	@$(BIN)/python book/scripts/execute.py

.PHONY: new-chapter
new-chapter: $(INSTALLED) ## Begin a chapter: NAME=13_my_topic TITLE="Do something"
	@$(BIN)/python book/scripts/new_chapter.py "$$NAME" "$$TITLE"

.PHONY: figures
figures: $(INSTALLED) ## Draw the pictures of the README and the front page anew
	@MPLBACKEND=Agg $(BIN)/python book/scripts/draw_figures.py

.PHONY: lint
lint: $(INSTALLED) ## Check the style of the code and of the notebooks, and what these store
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python book/scripts/execute.py --check

.PHONY: format
format: $(INSTALLED) ## Mend that style where it can be mended
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: lock
lock: $(INSTALLED) ## Write requirements.txt anew from pyproject.toml (needs a network)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --universal --python-version 3.10 --all-extras --no-annotate \
		--custom-compile-command "make lock" pyproject.toml -o requirements.txt

.PHONY: clean
clean: ## Remove what was built; .venv stays
	rm -rf _build build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune \
		-exec rm -rf {} +

$(INSTALLED): requirements.txt pyproject.toml package-lock.json
	@command -v "$(PYTHON)" >/dev/null || { \
		echo 'No "$(PYTHON)" here. Install Python 3.10 to 3.13, or name one: make PYTHON=python3.12'; \
		exit 1; } >&2
	@"$(PYTHON)" -c 'import sys; (3, 10) <= sys.version_info[:2] <= (3, 13) or sys.exit("\
	This book needs Python 3.10 to 3.13 and $(PYTHON) is %d.%d. \
	Name another: make PYTHON=python3.12" % sys.version_info[:2])'
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo '$(PYTHON) cannot make environments. On Debian and Ubuntu: apt install python3-venv'; \
		exit 1; } >&2
	@"$(PYTHON)" book/scripts/install.py
	@touch $@
