# rtcpub: what a person types. Each target does its own set-up (apt asks for sudo when it must).

.PHONY: demo test build bench deb deb-native deb-arm64 cross cargo-deb clean

## Shows the product working: a picture in a browser, a simulated car driven by keyboard, all on this machine.
demo: target/release/rtcpub
	target/release/rtcpub demo

# Moves the debug symbols of a binary into a file beside it, where gdb and addr2line look for them; $(2) is the tools' prefix.
# One that is stripped is up to date.
separate-symbols = ! readelf --sections $(1) | grep -q debug_line || { \
	$(2)objcopy --only-keep-debug $(1) $(1).debug && $(2)objcopy --strip-all --add-gnu-debuglink=$(1).debug $(1); }

## The release binary. Its debug symbols lie beside it (target/release/rtcpub.debug).
build: target/release/rtcpub

.PHONY: target/release/rtcpub
target/release/rtcpub:
	.ci/setup build run
	cargo build --locked --release
	@$(call separate-symbols,$@)

## Every test, with the real parts they need: a browser, a TURN server, the lab's kernel devices where it lies beside us.
test:
	.ci/setup build run test
	eval "$$(.ci/lab)" && cargo test --locked

## The README's numbers. On a quiet machine; takes about ten minutes beside the build.
bench: export RTCPUB_BENCH_BINARY = $(CURDIR)/target/bench/rtcpub
bench: target/release/rtcpub
	install -D $< $$RTCPUB_BENCH_BINARY # In its place cargo puts a build of its own, with symbols.
	cargo bench --locked --bench publish
	cargo bench --locked --bench safety
	cargo bench --locked --bench camera

arm64 := aarch64-unknown-linux-gnu

## Packages for this machine and for arm64, in target/debian.
deb: deb-native $(if $(filter-out arm64,$(shell dpkg --print-architecture)),deb-arm64)

deb-native: target/release/rtcpub cargo-deb
	rm -f target/debian/*_$(shell dpkg --print-architecture).deb
	systemd/deb/generate target/release/rtcpub
	cargo deb --no-build --no-strip

deb-arm64: cross cargo-deb
	rm -f target/debian/*_arm64.deb
	systemd/deb/generate cross/run target/$(arm64)/release/rtcpub
	cross/with cargo deb --no-build --no-strip --target $(arm64)

cargo-deb:
	command -v cargo-deb >/dev/null || cargo install --locked cargo-deb@^3.8

## The aarch64 release binary, without Docker, for what JetPack 5 has (glibc 2.31, GStreamer 1.16) and all later ones.
cross:
	cross/with cargo build --locked --release --target $(arm64)
	cross/symbols target/$(arm64)/release/rtcpub
	@$(call separate-symbols,target/$(arm64)/release/rtcpub,$(arm64:unknown-linux-gnu=linux-gnu)-)

clean:
	cargo clean
