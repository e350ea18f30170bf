# rtcpub: what a person types. Each target does its own set-up (apt asks for sudo when it must).

.PHONY: demo test build bench clean

## Shows the product working: a picture in a browser, a simulated car driven by keyboard, all on this machine.
demo: target/release/rtcpub
	target/release/rtcpub demo

## The release binary. Its debug symbols lie beside it (target/release/rtcpub.dwp).
build: target/release/rtcpub

.PHONY: target/release/rtcpub
target/release/rtcpub:
	.ci/setup build run
	cargo build --locked --release

## Every test, with the real parts they need: a browser, a TURN server, the lab's kernel devices where it lies beside us.
test:
	.ci/setup build run test
	eval "$$(.ci/lab)" && cargo test --locked

## The README's numbers. On a quiet machine; takes about ten minutes beside the build.
bench:
	.ci/setup build run
	cargo bench --locked --bench publish
	cargo bench --locked --bench failsafe

clean:
	cargo clean
