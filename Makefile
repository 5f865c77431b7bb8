.PHONY: help demo test lint bench fuzz fuzz-tools lab lab-down
HOSTS ?= 3
NATS ?= 2.15.1
LAB = tests/lab/lab
SEEDS ?= 20000
FUZZ = conf evidence files
FUZZ_SECONDS ?= 300

help:
	@echo 'make demo [FAULT=port-conflict|bad-config|store-owner|tls-missing]  roll a live cluster, or see a halt'
	@echo 'make demo UPGRADE=1                 bring another nats-server to it'
	@echo 'make test                           install what is missing, run all tests, those on real hosts too'
	@echo 'make lint                           format, clippy, docs, shell scripts'
	@echo 'make bench                          what a roll costs: clients, time, memory, beside Ansible and a bare loop'
	@echo 'make fuzz [FUZZ_SECONDS=300]        any bytes as configurations, as evidence, as inventory and playbook'
	@echo 'make lab [HOSTS=3] [NATS=2.15.1]    bring up hosts to play with'
	@echo 'make lab-down                       take them down'

demo:
	@tests/lab/demo.sh $(if $(FAULT),--fault $(FAULT)) $(if $(UPGRADE),--upgrade) $(if $(REDUCED),--reduced)

# `make test TESTS='--test lab -- --exact disk::…'` runs some of them.
test:
	$(LAB) install cc:build-essential
	$(LAB) base
	@# optimised: the simulator goes through thousands of rolls
	ROLLGATE_SEEDS=$(SEEDS) ROLLGATE_REQUIRE_LAB=1 CARGO_PROFILE_TEST_OPT_LEVEL=1 cargo test --no-fail-fast $(TESTS)

lint:
	$(LAB) install cc:build-essential shellcheck:shellcheck
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --document-private-items
	shellcheck .ci/run tests/lab/lab tests/lab/*.sh tests/lab/bench/*.sh
	shellcheck --shell=sh tests/lab/matrix/*.sh
	shellcheck --shell=sh src/fleet/live/collect/*.sh

bench:
	@tests/lab/bench.sh
	@cargo run --release --quiet --example plan-scale
	@cargo run --release --quiet --example simbench

# Coverage of a compiler that is not nightly has to be asked for by RUSTC_BOOTSTRAP. Dependencies are those of the crate, and
# each target begins with what its tests have.
SEEDS_conf = tests/conf/valid tests/conf/invalid tests/conf/beyond
FLAGS_evidence = -seed_inputs=src/core/diagnosis/parse/healthy.txt
SEEDS_files = tests/config/good playbooks
fuzz: $(FUZZ:%=fuzz-%)
fuzz-%: fuzz-tools
	mkdir -p tests/fuzz/corpus/$*
	RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz $* tests/fuzz/corpus/$* $(SEEDS_$*) -- \
	  -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=1024 -timeout=10 -max_len=20000 -print_final_stats=1 $(FLAGS_$*)
fuzz-tools:
	$(LAB) install c++:g++
	@command -v cargo-fuzz >/dev/null || { echo 'cargo-fuzz is missing: building it takes some minutes'; cargo install --locked cargo-fuzz; }
	cp Cargo.lock tests/fuzz/Cargo.lock

lab:
	@$(LAB) up play --hosts $(HOSTS) --nats $(NATS)
	@echo
	@echo 'in its network:   $(LAB) exec play -- target/debug/rollgate plan -i $(or $(XDG_CACHE_HOME),$$HOME/.cache)/rollgate-lab/run/play/inventory.yaml'
	@echo 'on a host:        $(LAB) ssh play h1'
	@echo 'as its root:      $(LAB) root play h1 -- bash'
	@echo 'faults and more:  $(LAB) help'
	@echo 'and at the end:   make lab-down'

lab-down:
	@$(LAB) down play
