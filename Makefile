# The face of the toolkit: one line per target, each a call of a command in bin/.
# `make` alone prints this help; settings are make variables: make redeploy APP=~/my-bert GPU=0

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
# A deploy, then the smoke test: never both at once.
.NOTPARALLEL:

VARIABLES := APP GPU GATE WARM VENV PYTHON URL TOKEN TOLERANCE BUDGET ACCEPT USERS TIME BACKBONE DATA TEXT
export $(VARIABLES)
# As they were typed: a dollar sign in them is not make's.
$(foreach name,$(VARIABLES),$(if $(value $(name)),$(eval override $(name) := $$(value $(name)))))

# What the virtual environment's tools are called by.
BIN = "$${VENV:-.venv}"/bin

# Not exported: an environment may have a VERSION of its own.
VERSION_OPTION = $(if $(findstring command,$(origin VERSION)),--version "$(VERSION)")

VERSION_GIVEN = $(if $(VERSION_OPTION),"$(VERSION)",$(error which version? make $@ VERSION=…, and make models lists them))

# An empty list, of a script whose variable is empty, say, is not all of them.
ACCEPT_NAMED = $(if $(findstring command,$(origin ACCEPT)),$(if $(strip $(value ACCEPT)),,$(error ACCEPT= names no sample: leave it out for all)))

TEXT_GIVEN = $(if $(value TEXT),"$$TEXT",$(error which text? make $@ TEXT="…"))

##@ The loop
.PHONY: redeploy reload workflow watch smoke report review accept load predict try compare rollback
redeploy: setup model ## Build the archive, restart TorchServe on it, wait until it answers
	@bin/redeploy.sh

reload: setup model ## Swap the tree's version in while the server runs (GATE=errors|golden|none)
	@bin/reload.sh

workflow: setup model ## Build a workflow's .war and swap it in; starts the server if none runs
	@bin/workflow.sh

watch: setup model ## Reload at each save, and print the verdict, until Ctrl-C
	@bin/watch.sh

smoke: setup ## Ask the samples, compare with the goldens (DEEP=1, BUDGET=N, RESUME=1: go on)
	@bin/smoke.sh run $(VERSION_OPTION) $(if $(RESUME),--resume) $(if $(DEEP),--deep)

report: setup ## Tell what the last smoke run amounts to: tables, and a page of HTML
	@bin/report.sh

review: setup ## Go through what the last run would change, one by one
	@bin/review.sh

accept: setup ## Make the answers the new goldens (ACCEPT="ID ID": of these alone)
	@bin/smoke.sh accept $(VERSION_OPTION) $(ACCEPT_NAMED)

load: ## Ask the samples by many users at a time (USERS=16, TIME=30s): how fast, what is lost
	@bin/setup.sh load
	@bin/load.sh

predict: setup ## Ask about one text: make predict TEXT="…"
	@bin/predict.sh $(VERSION_OPTION) -- $(TEXT_GIVEN)

try: setup model ## Try the tree's handler without a server: make try TEXT="…" (PDB=1)
	@bin/try.sh $(if $(PDB),--pdb) -- $(TEXT_GIVEN)

compare: setup ## Ask two versions the same samples: the live one and the tree's, or A= and B=
	@bin/compare.sh $(foreach side,A B,$(if $(findstring command,$(origin $(side))),"$($(side))"))

rollback: setup ## Make the previous version live again
	@bin/rollback.sh

##@ The server
.PHONY: archive start stop status logs metrics why replay doctor token
archive: setup model ## Build the .mar, if what it is made of has changed
	@bin/archive.sh

start: setup ## Start TorchServe on the archive, wait until it answers
	@bin/start.sh

stop: ## Stop this app's server, and wait until it is gone
	@bin/stop.sh

status: ## Say what runs, where, and whether it is the tree
	@bin/status.sh

logs: ## Follow all of the server's logs as one readable stream (ERRORS=1: failures alone)
	@bin/logs.sh $(if $(ERRORS),--errors)

metrics: ## Show requests, errors, times, tokens and memory of each version
	@bin/metrics.sh

why: ## Say all of the last failure: cause, line, input, traceback (bin/why.sh REQUEST_ID)
	@bin/why.sh

replay: ## Ask the version that failed the same again (bin/replay.sh REQUEST_ID, PDB=1)
	@bin/replay.sh $(if $(PDB),--pdb)

doctor: ## Look for what could keep a deploy from working (FIX=1 mends what is safe)
	@bin/doctor.sh $(if $(FIX),--fix)

token: ## Print the header with the server's token, for curl
	@bin/token.sh

##@ Versions
.PHONY: models register default scale unregister
models: setup ## List the versions that the server has: workers, device, memory, queue
	@bin/models.sh

register: setup model ## Have the tree's version, or VERSION=, loaded beside the live one
	@bin/register.sh $(if $(VERSION_OPTION),"$(VERSION)")

default: setup ## Make a version the live one: make default VERSION=
	@bin/default.sh $(VERSION_GIVEN)

scale: setup ## Have more or fewer workers: make scale WORKERS=2 (VERSION=)
	@bin/scale.sh $(if $(findstring command,$(origin WORKERS)),"$(WORKERS)",$(error how many? make scale WORKERS=2)) $(VERSION_OPTION)

unregister: setup ## Take a version away, drained: make unregister VERSION=
	@bin/unregister.sh $(VERSION_GIVEN)

##@ Beyond this machine
.PHONY: bundle
bundle: setup model ## Lay out what a cluster serves: the archive, its config, one sample
	@bin/bundle.sh

##@ The model
.PHONY: model train
model: setup ## Merge adapter/ and its backbone into torch_model/
	@bin/model.sh

train: ## Train adapter/ from data/ (BACKBONE=, DATA=, TENSORBOARD=1)
	@bin/setup.sh train
	@bin/train.sh $(if $(TENSORBOARD),--tensorboard)

##@ The toolkit
.PHONY: setup test check bench clean help
setup: ## Make the virtual environment: pinned packages and Java
	@bin/setup.sh

test: ## Run the toolkit's own tests (T="-k name" chooses)
	@bin/setup.sh train dev load
	@$(BIN)/python -m pytest --timeout 240 -n 2 --dist loadfile --no-loadscope-reorder $(T)

check: ## Lint, types and format of all code
	@bin/setup.sh train dev load
	@bin/check.sh

bench: setup model ## Time the loop, and test it under load (three quarters of an hour)
	@bin/bench.sh

clean: ## Remove what runs and builds have left; keeps the environment and the model
	@bin/clean.sh

help: ## Print this help
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
