# Two commands: `make run` is a fleet of this machine, `make test` proves it. Both install what is missing first.
SHELL := /bin/bash
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/release/watertight

.PHONY: run test deps build lint unit lab bench demo demo-outage fuzz help

help:                ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps:                ## install the Debian packages of packages.txt that are missing
	@scripts/deps packages.txt

build: deps          ## build the executables
	@echo "== build"
	$(CARGO) build --release -p watertight-cli -p watertight-sensor-loader -p watertight-server

run: build           ## a server and this machine as its host, until Ctrl-C; ARGS="--for 30s -o json" go to the agent, STATE=DIR is kept
	@[ "$$(id -u)" = 0 ] || echo "not root: no kernel sensor, no file marks; use sudo make run for these" >&2
	@STATE='$(STATE)' LISTEN='$(LISTEN)' scripts/run $(dir $(BIN)) rules $(ARGS) || { code=$$?; \
		[ $$code != 3 ] || echo "exit code 3: this machine is watched in part; the table above says what is missing and the mend" >&2; \
		exit $$code; }

lint: deps           ## format and lints
	@echo "== format and lints"
	$(CARGO) fmt --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

unit: deps           ## every test that needs no guest
	@echo "== tests on this machine"
	$(CARGO) test --workspace --quiet

lab: build           ## every test in guests on Debian's 6.1 and 6.12 kernels
	@echo "== tests in guests"
	$(CARGO) run --release --quiet -p watertight-lab -- test

fuzz:                ## fuzz every parser for a while; needs cargo-fuzz (cargo install cargo-fuzz)
	$(CARGO) run --release --quiet -p watertight-triage --example fuzz_seeds fuzz/corpus
	cd fuzz && for target in record sigma policy plan pack image release recorded answers key_file slot_names crash_text windows_dump minidump elf_core linux_core; do \
		$(CARGO) fuzz run -s none $$target -- -runs=$(or $(RUNS),1000000) -max_len=262144 || exit 1; done

bench: build         ## measure what the product costs, in guests and here (as root); writes docs/benchmarks.md
	@echo "== benchmarks: some 25 minutes"
	$(CARGO) run --release --quiet -p watertight-lab -- bench --page docs/benchmarks.md $(ARGS)

demo-outage: deps    ## six minutes: a real fleet of forty agents is given content that kills; draws what was seen
	@# Content does what its name says in builds with debug assertions alone.
	$(CARGO) build -p watertight-cli -p watertight-server
	$(CARGO) run --quiet -p watertight-outage -- --watertight $(TARGET)/debug/watertight --recording rules/recordings/cron-night.jsonl \
		--svg $(TARGET)/outage.svg --png $(TARGET)/outage.png $(ARGS)

demo: build          ## two minutes in a guest: events, a detection, a denial that outlives our processes
	$(CARGO) run --release --quiet -p watertight-lab -- demo $(ARGS)

test: lint unit lab  ## everything; what CI runs
	@echo "== all passed"
