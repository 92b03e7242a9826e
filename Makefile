# What a person types: "make help" lists it. The module's objects are Kbuild's business, what costs time is scripts/'s.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

# KDIR: a kernel build tree with Rust metadata, used on this host with its own compiler. Without one a stock kernel is
# prepared (scripts/kernel) and everything runs in the building root; KERNEL and FLAVOUR choose another than the newest.
# CHECKERS, kasan or kcsan, makes it one with these on, and uml User Mode Linux (scripts/own-kernel); what is built for
# it goes to a folder of its own.
KDIR ?=
export KERNEL FLAVOUR CHECKERS RUNS

out := build$(CHECKERS:%=/%)

prefix ?= /usr
comma := ,
man := $(wildcard Documentation/*.8 tool/*.8)

ifeq ($(KDIR),)
kbuild = tree=$$(scripts/kernel tree) && mapfile -t flags <"$$tree/.make" && \
	scripts/in-root make -s -j$$(nproc) -C "$$tree" "$${flags[@]}"
else
kbuild = +$(MAKE) -C $(KDIR)
endif
kbuild += M=$(CURDIR) $(if $(V),V=$(V))

.PHONY: help
help: ## this list
	@echo 'Targets (and variables: KDIR, KERNEL, FLAVOUR, CHECKERS, ONLY, RUNS, DESTDIR, V):'
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 14

.PHONY: module
module: ## build/ip_vs_ipsec.ko, for the newest stock kernel with Rust, KERNEL=release or KDIR=tree
	@mkdir -p $(out)
	@$(kbuild) MO=$(CURDIR)/$(out)/module modules
	@cp $(out)/module/ip_vs_ipsec.ko $(out)/

.PHONY: tool
tool: ## build/ipvs-ipsec, the command that configures it
	@mkdir -p build
	@scripts/in-root cargo build --quiet --release --locked
	@cp build/cargo/release/ipvs-ipsec build/

.PHONY: demo
demo: ## two clients, a director and two gateways in one guest; the verdict goes to build/demo.json
	@scripts/vm run --out build -- python3 ktests/demo.py

.PHONY: compare
compare: ## ip_vs and ours side by side, in one guest; the table goes to build/compare.json
	@scripts/vm run --smp 2 --mem 3G --out build -- python3 ktests/compare.py

.PHONY: bench
bench: ## what a packet costs: ip_vs, nftables and ours side by side; build/bench.json, build/bench.svg
	@scripts/bench

.PHONY: test
test: ## everything: host tests, checks, guest tests
	@scripts/in-root cargo test --quiet --locked --workspace
	@$(MAKE) --no-print-directory check module
	@scripts/vm run --smp 2 --mem 3G --timeout 3600 -- pytest -q ktests
	@scripts/bench short

.PHONY: test-debug
test-debug: ## on kernels with checkers on: everything, a storm, fuzzers, failing allocations; ONLY=part,... for some
	@scripts/test-debug $(subst $(comma), ,$(ONLY))

.PHONY: fuzz
fuzz: ## the parsers, ten million inputs from real packets on; RUNS=number for more or fewer
	@scripts/fuzz

.PHONY: miri
miri: ## the unit tests of the parsers under miri, if the host has it
	@scripts/miri

.PHONY: check
check: ## formats, lints, and that what is generated is fresh
	@scripts/in-root cargo fmt --all --check
	@scripts/in-root cargo fmt --all --check --manifest-path fuzz/Cargo.toml
	@scripts/in-root cargo clippy --quiet --locked --workspace --all-targets -- --deny warnings
	@scripts/in-root rustfmt --color=never --config-path "$$(scripts/kernel tree)/.rustfmt.toml" --check $$(find src -name '*.rs')
	@$(kbuild) MO=$(CURDIR)/build/clippy CLIPPY=1 KRUSTFLAGS=-Dwarnings modules
	@scripts/ynl check
	@scripts/in-root shellcheck --external-sources $$(grep -lE '^#!.*\<bash$$' -r scripts .ci)
	@for check in $(wildcard scripts/check-*); do $$check; done

.PHONY: ynl
ynl: ## the generated code, from Documentation/netlink/specs/ipvs-ipsec.yaml
	@scripts/ynl generate

.PHONY: update
update: ## look for a newer kernel now, not once a day
	@scripts/kernel update

.PHONY: install
install: ## what was built, to $(DESTDIR)
	release=$$(modinfo --field vermagic build/ip_vs_ipsec.ko | cut -d ' ' -f 1) && \
	install -D -m 644 build/ip_vs_ipsec.ko "$(DESTDIR)/lib/modules/$$release/updates/ip_vs_ipsec.ko" && \
	depmod --basedir "$(DESTDIR)/" "$$release"
	install -D -m 755 build/ipvs-ipsec "$(DESTDIR)$(prefix)/sbin/ipvs-ipsec"
	$(if $(man),install -D -m 644 -t "$(DESTDIR)$(prefix)/share/man/man8" $(man))

.PHONY: clean
clean: ## remove build/
	rm -rf build

.PHONY: distclean
distclean: clean ## and the cache: roots, kernels, crates
	. scripts/lib.sh && rm -rf --one-file-system "$$CACHE"
