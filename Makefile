# Packages and cross builds. Everything else is cargo's.
#   make deb        .deb packages for this machine and for arm64, in target/debian
#   make cross      the aarch64 release binary, for glibc 2.31 and GStreamer 1.16 on (JetPack 5), without Docker

ARM64 := aarch64-unknown-linux-gnu
HOST_ARCHITECTURE := $(shell dpkg --print-architecture)

.PHONY: deb deb-native deb-arm64 cross cargo-deb
.NOTPARALLEL:

ifeq ($(HOST_ARCHITECTURE),arm64)
deb: deb-native
else
deb: deb-native deb-arm64
endif

deb-native: cargo-deb
	cargo build --locked --release
	systemd/deb/generate target/release/rtcpub
	cargo deb --no-build --no-strip

deb-arm64: cross cargo-deb
	systemd/deb/generate cross/run target/$(ARM64)/release/rtcpub
	cross/with cargo deb --no-build --no-strip --target $(ARM64)

cross:
	cross/with cargo build --locked --release --target $(ARM64)
	cross/symbols target/$(ARM64)/release/rtcpub

cargo-deb:
	command -v cargo-deb >/dev/null || cargo install --locked cargo-deb@^3.8
