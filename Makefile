# SPDX-License-Identifier: Apache-2.0
# Thin words over Meson and tools/. Each does its own set-up on a Debian 12.
PREFIX ?= /usr/local
ARGS ?=

.PHONY: help build run demo test interop fault kills late soak mutants bench fuzz sanitize format lint install uninstall docs clean

help:
	@echo 'make run       weir on this machine'\''s own live counters, with a page to look at'
	@echo 'make demo      load it, kill it again and again, count what was lost (0) and doubled (0)'
	@echo 'make build     build/weir, optimised and hardened'
	@echo 'make test      unit tests, checks of the tools, end-to-end tests'
	@echo 'make interop   how weir, node and nginx frame ambiguous requests; every Kafka client against weir (ARGS=--help)'
	@echo 'make fault     what weir does when disk, clock, memory, peers or bytes on disk fail: every place (an hour)'
	@echo 'make kills     each type of source, fifty times killed while it reads: each row is there once (ten minutes)'
	@echo 'make late      sources of databases while transactions commit up to a minute late, ten minutes each of four ways'
	@echo 'make soak      the core over a simulated disk, crashed without end (ARGS='--seconds N')'
	@echo 'make mutants   do the tests notice a sync left out, a check skipped, an order changed?'
	@echo 'make sanitize  the tests under address+undefined and thread sanitizers'
	@echo 'make fuzz      every fuzz target for a minute each (ARGS='--seconds N')'
	@echo 'make bench     the figures of bench/README.md'
	@echo 'make lint      checks of the code itself, and a build by clang'
	@echo 'make format    lays the code out as CI wants it'
	@echo 'make docs      writes docs/reference from the tables'
	@echo 'make install   to $$(DESTDIR)$$(PREFIX), /usr/local unless told'
	@echo 'make uninstall takes away what make install, told the same, put there; data and configuration stay'
	@echo 'make clean     removes the build folders'

build:
	@tools/setup build
	@ninja -C "$$(tools/preset release)" weir

run: build
	@tools/setup run
	@examples/quickstart/run $(ARGS)

demo: build
	@tools/setup run
	@examples/demo/run $(ARGS)

test:
	@tools/test $(ARGS)

interop:
	@tools/setup interop
	@ninja -C "$$(tools/preset release)" weir tests/interop/http_frames
	@tests/interop/framing.py
	@tests/interop/kafka/run.py $(ARGS)

fault: build
	@tools/setup test
	@tests/fault/run.py --whole $(ARGS)

late: build
	@tools/setup test
	@WEIR_LATE_SECONDS=600 WEIR_LATE_LONGEST=60 tests/e2e/run.py sql -k 'late commits by' $(ARGS)

kills: build
	@tools/setup test
	@tools/kills $(ARGS)

soak:
	@tools/setup build
	@dir=$$(tools/preset release) && ninja -C "$$dir" tests/sim/sim && \
		"$$dir/tests/sim/sim" --list tests/sim/seeds --seconds 0 $(ARGS)

mutants:
	@tools/setup build
	@tools/mutants $(ARGS)

bench: build
	@tools/setup bench
	@bench/run $(ARGS)

fuzz:
	@tools/setup fuzz
	@tools/fuzz $(ARGS)

sanitize:
	@tools/setup build
	@tools/sanitize $(ARGS)

format:
	@tools/setup lint
	@tools/format

lint:
	@tools/setup lint
	@tools/lint $(ARGS)

docs: build
	@tools/docs write

# Under sudo the build folder stays whose the clone is.
install: build
	@meson configure build -Dprefix="$(PREFIX)"
	@ninja -C build installed && meson install -C build --no-rebuild --destdir "$(DESTDIR)"; \
	status=$$?; [ -z "$$SUDO_USER" ] || chown -R --reference=. build; exit $$status

uninstall: build
	@meson configure build -Dprefix="$(PREFIX)"
	@tools/uninstall build "$(DESTDIR)"; \
	status=$$?; [ -z "$$SUDO_USER" ] || chown -R --reference=. build; exit $$status

clean:
	rm -rf build build-mutants build-debug build-asan build-tsan build-fuzz build-clang build-coverage
