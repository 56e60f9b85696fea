# Eventcast: run it, test it, keep it clean. `make help` lists the targets.

CARGO ?= cargo
TOOLS := tests/tools/install.sh
export CARGO_TERM_COLOR ?= auto

.PHONY: help run tools test t test-unit mutants coverage soak e2e e2e-heart lint bench bench-operator fuzz docs book images manifests release-rehearsal cluster cluster-down clean

help: ## What can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Run a broker with its own NATS and a page to try it on
	@$(TOOLS) nats-server
	@EVENTCAST_NATS_SERVER="$$($(TOOLS) path nats-server)" $(CARGO) run -p eventcast-broker -- dev $(ARGS)

tools: ## Install what running needs: nats-server
	@$(TOOLS) nats-server

# One selection of packages and targets: cargo then builds every dependency once, with the features that all of them ask for.
BUILD := $(CARGO) build --locked --workspace --bins --tests
NEXTEST := $(TOOLS) exec $(CARGO) nextest run --locked --workspace
STAGE := tests/tools/stage.sh
FAST := kind(lib) + kind(bin) + binary(harness) + binary(sources)

test: ## Everything: units, properties, suites on real parts, real clients
	@rm -f target/nextest/*/junit.xml
	@$(STAGE) "install nextest and nats-server" $(TOOLS) cargo-nextest nats-server
	@$(STAGE) "build" $(BUILD)
	@$(STAGE) "fast tests" $(NEXTEST) --profile fast -E '$(FAST)'
	@$(STAGE) "install what slow tests need" $(TOOLS) all
	@$(STAGE) "slow tests" $(NEXTEST) -E 'not ($(FAST))'
	@$(STAGE) "slow tests without shards" env EVENTCAST_TEST_SHARDS=0 $(NEXTEST) --profile hyper
	@$(STAGE) "slow tests over TLS" env EVENTCAST_TEST_TLS=1 $(NEXTEST) --profile tls
	@tests/tools/slowest.sh

t: ## The tests whose path contains T, with what they run and need: make t T=retention
	@tests/tools/some.sh "$(T)"

test-unit: ## Units and properties alone
	@$(CARGO) test --locked --workspace --lib --bins

lint: ## Format, spelling, scripts, workflows, the book, dependencies, clippy, docs
	@$(STAGE) "format" $(CARGO) fmt --all --check
	@$(STAGE) "install checks" $(TOOLS) checks
	@$(STAGE) "spelling" $(TOOLS) exec typos
	@$(STAGE) "shell scripts" $(TOOLS) exec shellcheck -x $$(git ls-files '*.sh') .ci/run
	@$(STAGE) "workflows" $(TOOLS) exec actionlint -shellcheck=
	@$(STAGE) "security of workflows" $(TOOLS) exec zizmor --offline --quiet .github
	@$(STAGE) "book" tests/tools/book.sh
	@$(STAGE) "unused dependencies" $(TOOLS) exec cargo-shear shear
	@$(STAGE) "licences and sources" $(TOOLS) exec cargo-deny --locked check bans licenses sources
	@$(STAGE) "advisories" tests/tools/advisories.sh
	@$(STAGE) "clippy" $(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@$(STAGE) "documentation" env RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

mutants: ## Mutate the pure cores and list what no test notices; ARGS="--shard 1/8": CONTRIBUTING.md
	@$(TOOLS) cargo-mutants cargo-nextest
	@$(TOOLS) exec $(CARGO) mutants --test-tool nextest $(ARGS)

coverage: ## Lines that units and properties cover, printed by file
	@$(TOOLS) cargo-llvm-cov
	@$(TOOLS) exec $(CARGO) llvm-cov --locked --workspace --lib --bins $(ARGS)

bench: ## Measure the release build; CASES="fanout storm" ARGS="--quick": docs/performance/method.md
	@$(TOOLS) nats-server
	@$(CARGO) build --release -p eventcast-broker
	@EVENTCAST_BROKER="$${EVENTCAST_BROKER:-$${CARGO_TARGET_DIR:-$(CURDIR)/target}/release/eventcast-broker}" \
	  EVENTCAST_NATS_SERVER="$$($(TOOLS) path nats-server)" \
	  $(CARGO) bench -p eventcast-tests --bench eventcast -- $(CASES) $(ARGS)

bench-operator: ## Measure the operator with CHANNELS=1000, or CASE=pools, rollout, day: docs/PERFORMANCE.md
	@$(TOOLS) nats-server && $(TOOLS) apiserver
	@$(CARGO) build --release -p eventcast-operator $(if $(filter pools,$(CASE)),-p eventcast-broker)
	@EVENTCAST_OPERATOR="$${EVENTCAST_OPERATOR:-$${CARGO_TARGET_DIR:-$(CURDIR)/target}/release/eventcast-operator}" \
	  EVENTCAST_BROKER="$${EVENTCAST_BROKER:-$${CARGO_TARGET_DIR:-$(CURDIR)/target}/release/eventcast-broker}" \
	  $(TOOLS) exec $(CARGO) bench -p eventcast-tests --bench channels

FUZZ_SECONDS ?= 60
fuzz: ## Fuzz encoder, cursor and publish bodies (nightly Rust and cargo-fuzz)
	@for target in encoder cursor publish; do \
	  $(CARGO) +nightly fuzz run --fuzz-dir tests/fuzz $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

IMAGES := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/images

images: ## Build operator and broker and pack their images: target/images/*.tar
	@charts/images.sh $(IMAGES)

manifests: ## Render plain manifests and the schemas of the CRDs: dist/
	@$(TOOLS) helm
	@charts/manifests.sh dist

release-rehearsal: ## Build, sign and verify a release here, in a registry of its own; ARGS=--dry-run: docs/RELEASING.md
	@charts/release/rehearse.sh $(ARGS)

cluster: images ## Start a one-node Kubernetes with these images (root); prints its kubeconfig
	@tests/cluster/up.sh
	@tests/cluster/load.sh $(IMAGES)/operator.tar $(IMAGES)/broker.tar

cluster-down: ## Stop it, and leave nothing behind
	@tests/cluster/down.sh

soak: ## Half an hour of retention, erasure and restarts; SOAK_SECONDS=60 makes it shorter
	@$(TOOLS) nats-server
	@IGNORED=only tests/tools/some.sh faults::soak

e2e: ## The chart on a real cluster: the one of KUBECONFIG, or one of its own (root); ARGS=NAME: a part of a test's name
	@tests/cluster/e2e.sh $(ARGS)

e2e-heart: ## The heart of it, which CI runs: install, roll, kill, upgrade, delivery probe
	@tests/cluster/e2e.sh heart

docs: ## Write generated files again: documents, definition, goldens
	@$(TOOLS) helm cargo-nextest
	@UPDATE_EXPECT=1 $(NEXTEST) --test chart --lib -E 'test(/^(generated|chart|chart_security|chart_values)::/) + (package(eventcast-operator) + package(eventcast-cli)) & test(golden) + test(the_reference_is_up_to_date)'

book: ## Build the documentation as a book: target/book/index.html
	@$(TOOLS) mdbook
	@tests/tools/book.sh

clean: ## Remove what was built
	@$(CARGO) clean
