//! The hub's one look at the clock.

use tokio::time::Instant;

/// Now, on the runtime's clock.
#[expect(clippy::disallowed_methods, reason = "the hub's shells read the time here and hand it to the pure parts")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Ends at `deadline`; never without one. Cancel-safe.
pub(super) async fn expiry(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
