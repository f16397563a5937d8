# Every target sets up what it needs first; nothing but Python 3.11+ and make has to be there.
VENV   ?= .venv
BENCH_VENV ?= $(VENV)-bench
PYTHON ?= python3
# Where nothing says what to work on, the first stage takes CIFAR-10 with a recipe for it, and the
# later ones go on with the last run if there is one.
FIRST_RECIPE = cifar10-mobilenetv2
CHOICES = data backbone run recipe
CHOSEN = $(DATA)$(BACKBONE)$(RUN)$(RECIPE)$(filter $(CHOICES:%=--%) $(CHOICES:%=--%=%),$(ARGS))
LAST_RUN = $(wildcard artifacts/runs/latest)$(filter --artifacts --artifacts=%,$(ARGS))
TAKEN_RECIPE = $(or $(RECIPE),$(if $(CHOSEN)$(LAST_RUN),,$(FIRST_RECIPE)))
features: TAKEN_RECIPE = $(or $(RECIPE),$(if $(CHOSEN),,$(FIRST_RECIPE)))

# make features DATA=photos BACKBONE=EfficientNetLite0 IMAGE_SIZE=160 CUT="blocks" ARGS="--help"
# A value is one word, whatever is in it; CUT, IMAGES, RUNS and ARGS are as many as the shell makes of them.
quoted = '$(subst ','\'',$(1))'
option = $(if $($(1)),--$(2) $(call quoted,$($(1))))
OPTIONS = $(call option,TAKEN_RECIPE,recipe) $(call option,DATA,data) $(call option,BACKBONE,backbone) \
          $(call option,WEIGHTS,weights) $(call option,ALPHA,alpha) \
          $(call option,IMAGE_SIZE,image-size) $(if $(CUT),--cut $(CUT)) \
          $(call option,POOLING,pooling) $(call option,LIMIT,limit-per-class) \
          $(call option,RUN,run) $(ARGS)
TRANSFER = $(VENV)/bin/transfer

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo doctor features head rates sweep finetune evaluate compare predict \
        serve audit report test check fuzz torture bench format clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | \
	  while IFS='|' read -r name purpose; do printf '  make %-10s %s\n' "$$name" "$$purpose"; done
	@echo '  after make features DATA=photos BACKBONE=EfficientNetLite0 the others need no variable'
	@echo '  variables: RECIPE= DATA= BACKBONE= WEIGHTS= ALPHA= IMAGE_SIZE= CUT= POOLING= LIMIT= RUN= ARGS='

setup: $(VENV)/.installed  ## make the virtual environment, with what running needs
setup-dev: $(VENV)/.installed-dev  ## add what tests and benchmarks need

# Files are compiled, and written down, when they are first imported, also where the environment says
# otherwise: compiling them all would take half a minute, and each at every start twice as long.
export PYTHONDONTWRITEBYTECODE :=
INSTALL = $(VENV)/bin/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(INSTALL) -e '.[openvino]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(INSTALL) -e '.[dev]'
	@touch $(VENV)/.installed $@

demo: setup  ## all stages on handwritten digits, with real weights, in minutes
	@$(TRANSFER) all --recipe demo $(ARGS)

doctor: setup  ## what this machine has, what is missing and what for
	@$(TRANSFER) doctor $(call option,DATA,data) $(ARGS)

features: setup  ## run the frozen backbone once over all images
	@$(TRANSFER) features $(OPTIONS)

head: setup  ## train a head on the cached features
	@$(TRANSFER) head $(OPTIONS)

rates: setup  ## try many learning rates in one pass, suggest one
	@$(TRANSFER) rates $(OPTIONS)

sweep: setup  ## train hundreds of heads at once, keep the best
	@$(TRANSFER) sweep $(OPTIONS)

finetune: setup  ## fine-tune end to end from the head
	@$(TRANSFER) finetune $(OPTIONS)

evaluate: setup  ## scores and pictures on the test split
	@$(TRANSFER) evaluate $(OPTIONS)

compare: setup  ## which of some runs is surely better: make compare RUNS="a b"
	@$(TRANSFER) compare $(RUNS) $(ARGS)

predict: setup  ## classes of images: make predict IMAGES="a.jpg folder"
	@$(TRANSFER) predict $(OPTIONS) $(if $(IMAGES),--images $(IMAGES))

serve: setup  ## a page on this machine: drop an image, see what it shows, and why
	@$(TRANSFER) serve $(OPTIONS)

audit: setup  ## copies, leaks, wrong labels, odd pictures, too few images
	@$(TRANSFER) audit $(OPTIONS)

report: setup  ## one page of data, training, mistakes and model
	@$(TRANSFER) report $(OPTIONS)

# Tests start many processes, which without bytecode would each compile Keras anew.
test: check  ## lint, types and tests
	@PYTHONDONTWRITEBYTECODE= TF_CPP_MIN_LOG_LEVEL=3 $(VENV)/bin/pytest -n auto --dist loadscope --no-loadscope-reorder $(ARGS)

check: setup-dev  ## lint and types alone
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

fuzz: setup-dev  ## broken files and odd names of any kind, for 10 minutes
	@FUZZ_MINUTES=10 $(VENV)/bin/pytest tests/transfer/images/test_fuzz.py $(ARGS)

torture: setup-dev  ## kill extractions at 60 instants, flip bytes at random
	@$(VENV)/bin/python -m tests.torture

bench: setup-dev $(BENCH_VENV)/.installed  ## ratios of two things timed side by side
	@BENCH_VENV=$(BENCH_VENV) $(VENV)/bin/python -m tests.benchmarks $(ARGS)

# What the benchmark compares with has an environment of its own; PyTorch is some gigabytes.
$(BENCH_VENV)/.installed: tests/benchmarks/rivals.txt
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/pip install --quiet --disable-pip-version-check -r tests/benchmarks/rivals.txt
	@touch $@

format: setup-dev  ## format the code
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

clean:  ## remove results; features have to be extracted again
	rm -rf artifacts
