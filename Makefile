# Eventcast: run it, test it, keep it clean. `make help` lists the targets.

CARGO ?= cargo
TOOLS := tests/tools/install.sh
export CARGO_TERM_COLOR ?= auto

.PHONY: help run tools test test-unit lint bench fuzz docs clean

help: ## What can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Run a broker with its own NATS and a page to try it on
	@$(TOOLS) nats-server
	@EVENTCAST_NATS_SERVER="$$($(TOOLS) path nats-server)" $(CARGO) run --quiet -p eventcast-broker -- dev $(ARGS)

tools: ## Install what running needs: nats-server
	@$(TOOLS) nats-server

test: ## Everything: units, properties, suites on real parts, real clients
	@$(TOOLS) all
	@$(CARGO) build -p eventcast-broker
	@EVENTCAST_NATS_SERVER="$$($(TOOLS) path nats-server)" $(CARGO) test --workspace

test-unit: ## Units and properties alone
	@$(CARGO) test -p eventcast-crds -p eventcast-broker

lint: ## Format, clippy, licences
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --workspace --all-targets -- -D warnings
	@$(TOOLS) cargo-deny
	@"$$($(TOOLS) path cargo-deny)" check bans licenses sources

bench: ## Measure the release build; prints a table
	@$(TOOLS) nats-server
	@$(CARGO) build --release -p eventcast-broker
	@EVENTCAST_BROKER="$(CURDIR)/target/release/eventcast-broker" \
	  EVENTCAST_NATS_SERVER="$$($(TOOLS) path nats-server)" $(CARGO) bench -p eventcast-tests --bench broker

FUZZ_SECONDS ?= 60
fuzz: ## Fuzz encoder, cursor and publish bodies (nightly Rust and cargo-fuzz)
	@for target in encoder cursor publish; do \
	  $(CARGO) +nightly fuzz run --fuzz-dir tests/fuzz $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

docs: ## Write the generated documents again
	@UPDATE=1 $(CARGO) test -p eventcast-tests --test generated

clean: ## Remove what was built
	@$(CARGO) clean
