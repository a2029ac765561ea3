# `make` says what there is. Everything is built in one folder outside the checkout, shared by all
# checkouts; CARGO_TARGET_DIR moves it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE_HOME := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)
export CARGO_TARGET_DIR ?= $(CACHE_HOME)/cloudskin/target
# A tool that `setup` installed is found, whatever the shell's path says.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

LANGUAGE ?= c
ROUNDS ?= 200
FUZZ_SECONDS ?= 180
FUZZ_TARGETS := snapshot record journal module frames images geds s3 onnx model parquet series
PROFILE := $(if $(CI),ci,default)

.PHONY: help web install demo demo-mobility demo-elastic demo-hadoop test check setup format lint wheel soak fuzz bench bench-cells bench-hpc bench-isolation bench-geds bench-simulate bench-twin bench-learning

help:  ## this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 22

demo: setup  ## a live service moves between two sites under a street camera; minutes
	@scripts/demo.sh

demo-mobility: setup  ## two policies under the same recorded load, live; with VEHICLE=1 a service that follows a bus; minutes
	@scripts/demo-mobility.sh

# The tests come last: their summary is the last line.
test: setup format lint  ## everything that must hold: format, lints, all tests; sets up what they need
	@scripts/documented.sh
	@sdk/python/test.sh
	@web/test.sh
	cargo nextest run --workspace --locked --profile $(PROFILE)

check: format  ## the same without setting anything up, tests before lints: before a commit
	cargo nextest run --workspace --locked --profile $(PROFILE)
	@$(MAKE) --no-print-directory lint

format:
	cargo fmt --all --check

lint:
	cargo clippy --workspace --all-targets --locked -- -D warnings

wheel:  ## an optimised wheel of the Python package, in the target folder
	@sdk/python/test.sh --wheel

demo-elastic: setup  ## an image search whose speed follows the processors that others release, LANGUAGE=c or rust; seconds
	cargo build --release --locked -p cloudskin
	@LANGUAGE=$(LANGUAGE) CLOUDSKIN=$(CARGO_TARGET_DIR)/release/cloudskin examples/elastic/demo.sh $(CARGO_TARGET_DIR)/demo/elastic.json

demo-hadoop: setup  ## the shell of Hadoop and a MapReduce job on the store, through S3A; needs Java, fetches 470 MB once; minutes
	cargo build --release --locked -p cloudskin
	@CLOUDSKIN=$(CARGO_TARGET_DIR)/release/cloudskin examples/hadoop/demo.sh $(CARGO_TARGET_DIR)/demo/hadoop.json

soak: setup  ## long rounds of kills and damage; ROUNDS=200, hours; prints its seeds
	CLOUDSKIN_SOAK_ROUNDS=$(ROUNDS) cargo nextest run --workspace --locked --profile soak \
	    -E 'test(/kill|power|damage|behaves_as|soak/)'

fuzz:  ## fuzz what reads strangers' bytes; FUZZ_SECONDS=180 for each target
	@cargo fuzz --version >/dev/null 2>&1 || { \
	    echo "cargo-fuzz is missing; install with: cargo install cargo-fuzz --locked" >&2; exit 1; }
	@command -v c++ >/dev/null || { \
	    echo "a C++ compiler is missing; install with: apt-get install g++" >&2; exit 1; }
	for target in $(FUZZ_TARGETS); do \
	    RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/fuzz \
	        cargo fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

bench: bench-cells bench-hpc bench-isolation bench-geds bench-simulate bench-twin bench-learning  ## every benchmark

bench-cells: setup  ## cells: starts, requests, density, migration; writes target/bench/cells.json
	cargo build --release --locked -p cloudskin -p benches
	cargo run --release --locked -p benches --bin bench cells

bench-hpc: setup  ## parallel programs beside native ones; writes target/bench/hpc.json
	cargo build --release --locked -p cloudskin -p benches
	cargo run --release --locked -p benches --bin bench hpc

bench-isolation: setup  ## a service beside guests that mean no good; writes target/bench/isolation.json
	cargo build --release --locked -p cloudskin -p benches
	cargo run --release --locked -p benches --bin bench isolation

bench-geds:  ## the ephemeral store beside memory, files, Redis and another S3 server; writes target/bench/geds.json
	cargo build --release --locked -p cloudskin -p benches
	cargo run --release --locked -p benches --bin bench geds

bench-learning:  ## models beside scikit-learn, XGBoost and LightGBM from PyPI, one core each; writes target/bench/learning.json
	cargo build --release --locked -p benches
	cargo run --release --locked -p benches --bin bench learning

bench-simulate:  ## the simulator: 1,000,000 jobs on 10,000 hosts under each policy
	cargo run --release --locked -p decide --example million_jobs

bench-twin:  ## the digital twin: policies in 30 days, 10,000 sites for a day
	cargo run --release --locked -p learning --example contest

# What the dashboard is made of; the control plane takes it in when it is built.
WEB := web/dist/dashboard.js

web: $(WEB)  ## the dashboard, which the binary then has in it; needs Node.js 20.19 or newer

$(WEB): $(shell find web/src -type f) web/index.html web/package.json web/package-lock.json web/vite.config.ts web/tsconfig.json
	@scripts/web.sh

install: setup  ## cloudskin with its dashboard, for this user
	cargo install --locked --path cloudskin

setup:  ## install what builds and tests need: Debian packages and cargo-nextest
	@scripts/setup.sh
	@$(MAKE) --no-print-directory web
