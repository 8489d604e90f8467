# make run    a mail server on a high port, as an ordinary user, on embedded defaults
# make test   every test
# make chaos  the long form of one: ten thousand messages while workers are killed
# make check  formatting, lints, documentation
CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
RUN_DIR ?= $(CURDIR)/target/run
PORT ?= 2525

.PHONY: run build release test chaos check bench fuzz docs install clean

build:
	$(CARGO) build --locked

release:
	$(CARGO) build --release --locked

run: release
	@contrib/run.sh target/release/haraka "$(RUN_DIR)" $(PORT)

test:
	$(CARGO) test --workspace --locked

# Ten thousand messages to hosts that make trouble, while workers and masters die; about three minutes.
CHAOS_N ?= 10000
chaos:
	CHAOS_N=$(CHAOS_N) $(CARGO) test --locked --test chaos -- --nocapture

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --workspace --no-deps --document-private-items --locked --quiet

bench: release
	$(CARGO) bench --locked --bench load

# Coverage-guided runs need cargo-fuzz; `make test` replays the corpus without it.
FUZZ_SECONDS ?= 60
fuzz:
	for target in $$(cargo fuzz list --fuzz-dir tests/fuzz); do \
	  RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none $$target -- \
	    -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

# Rewrites what is generated from declarations: docs/config.md, docs/hooks.md,
# docs/compatibility.md, config/*.ini, golden files.
docs:
	UPDATE=1 $(CARGO) test --workspace --locked

install: release
	install -D -m 0755 target/release/haraka "$(DESTDIR)$(PREFIX)/bin/haraka"
	install -D -m 0755 contrib/haraka_grep "$(DESTDIR)$(PREFIX)/bin/haraka_grep"
	install -D -m 0644 docs/haraka.8 "$(DESTDIR)$(PREFIX)/share/man/man8/haraka.8"
	install -d "$(DESTDIR)$(PREFIX)/share/haraka"
	cp -R docs "$(DESTDIR)$(PREFIX)/share/haraka/"

clean:
	$(CARGO) clean
