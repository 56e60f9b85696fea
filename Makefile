# Eventcast: run it, test it, keep it clean. `make help` lists the targets.

CARGO ?= cargo
TOOLS := tests/tools/install.sh
export CARGO_TERM_COLOR ?= auto

.PHONY: help run tools test test-unit soak e2e lint bench bench-operator fuzz docs images cluster cluster-down clean

help: ## What can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Run a broker with its own NATS and a page to try it on
	@$(TOOLS) nats-server
	@EVENTCAST_NATS_SERVER="$$($(TOOLS) path nats-server)" $(CARGO) run --quiet -p eventcast-broker -- dev $(ARGS)

tools: ## Install what running needs: nats-server
	@$(TOOLS) nats-server

# Suites of the wire: once more with HTTP/1.1 over hyper's sink, which they else leave to HTTP/2.
BY_HYPER := rules_wire rules_life rules_http attacks_bytes attacks_load scenario_plain_stream \
  scenario_resume fault_single fault_log shutdown clients

test: ## Everything: units, properties, suites on real parts, real clients
	@$(TOOLS) all
	@$(CARGO) build -p eventcast-broker -p eventcast-operator
	@$(TOOLS) exec $(CARGO) test --workspace
	@EVENTCAST_TEST_SHARDS=0 $(TOOLS) exec $(CARGO) test --workspace $(BY_HYPER:%=--test %)

test-unit: ## Units and properties alone
	@$(CARGO) test -p eventcast-crds -p eventcast-broker -p eventcast-operator

lint: ## Format, clippy, licences
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --workspace --all-targets -- -D warnings
	@$(TOOLS) cargo-deny
	@"$$($(TOOLS) path cargo-deny)" check bans licenses sources

bench: ## Measure the release build; CASES="fanout storm" ARGS="--quick": docs/PERFORMANCE.md
	@$(TOOLS) nats-server
	@$(CARGO) build --release -p eventcast-broker
	@EVENTCAST_BROKER="$${EVENTCAST_BROKER:-$${CARGO_TARGET_DIR:-$(CURDIR)/target}/release/eventcast-broker}" \
	  EVENTCAST_NATS_SERVER="$$($(TOOLS) path nats-server)" \
	  $(CARGO) bench -p eventcast-tests --bench eventcast -- $(CASES) $(ARGS)

bench-operator: ## Measure the operator with CHANNELS=1000: docs/PERFORMANCE.md
	@$(TOOLS) nats-server && $(TOOLS) apiserver
	@$(CARGO) build --release -p eventcast-operator
	@EVENTCAST_OPERATOR="$${EVENTCAST_OPERATOR:-$${CARGO_TARGET_DIR:-$(CURDIR)/target}/release/eventcast-operator}" \
	  $(TOOLS) exec $(CARGO) bench -p eventcast-tests --bench channels

FUZZ_SECONDS ?= 60
fuzz: ## Fuzz encoder, cursor and publish bodies (nightly Rust and cargo-fuzz)
	@for target in encoder cursor publish; do \
	  $(CARGO) +nightly fuzz run --fuzz-dir tests/fuzz $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

IMAGES := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/images

images: ## Build operator and broker and pack their images: target/images/*.tar
	@charts/images.sh $(IMAGES)

cluster: images ## Start a one-node Kubernetes with these images (root); prints its kubeconfig
	@tests/cluster/up.sh
	@tests/cluster/load.sh $(IMAGES)/operator.tar $(IMAGES)/broker.tar

cluster-down: ## Stop it, and leave nothing behind
	@tests/cluster/down.sh

soak: ## Half an hour of retention, erasure and restarts; SOAK_SECONDS=60 makes it shorter
	@$(TOOLS) nats-server
	@$(CARGO) build -p eventcast-broker
	@$(TOOLS) exec $(CARGO) test -p eventcast-tests --test soak -- --ignored --nocapture

e2e: ## The chart on a real cluster: the one of KUBECONFIG, or one of its own (root)
	@tests/cluster/e2e.sh $(ARGS)

docs: ## Write generated files again: documents, definition, goldens
	@$(TOOLS) helm
	@UPDATE=1 $(TOOLS) exec $(CARGO) test -p eventcast-tests --test generated --test chart --test chart_security
	@UPDATE=1 $(CARGO) test -p eventcast-operator --lib build

clean: ## Remove what was built
	@$(CARGO) clean
