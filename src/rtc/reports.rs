//! What the session tells an operator: the log and the status.

use std::time::Instant;

use tokio::sync::watch;

use super::session::Report;
use super::status::{PublishStatus, Recovery, SessionState};
use crate::quiet::Quiet;
use crate::signal::settings::ChannelId;

pub(crate) struct Reporter {
    channel: ChannelId,
    status: watch::Sender<PublishStatus>,
    ignored: Quiet,
    /// What the trouble of now began with, and when.
    trouble: Option<(String, Instant)>,
}

impl Reporter {
    pub(crate) fn new(channel: ChannelId, status: watch::Sender<PublishStatus>) -> Self {
        Self { channel, status, ignored: Quiet::default(), trouble: None }
    }

    /// Signalling has been tried.
    pub(crate) fn tried(&self) {
        self.status.send_if_modified(|status| !std::mem::replace(&mut status.tried, true));
    }

    pub(crate) fn report(&mut self, report: Report, now: Instant) {
        let recovery = self.recovery(&report, now);
        let after_ms = recovery.as_ref().map(|recovery| recovery.took.as_millis());
        let channel = self.channel.as_str();
        match report {
            Report::Publishing { peer, replaces: None } => {
                tracing::info!(channel, peer = peer.0, after_ms, "publishing")
            }
            Report::Publishing { peer, replaces: Some(old) } => {
                tracing::info!(channel, peer = peer.0, replaces = old.0, after_ms, "publishing in a new session");
            }
            Report::Lost { ref reason, still_live, retry_in } => {
                let picture = if still_live { "the picture still flows" } else { "no picture" };
                let retry_ms = retry_in.as_millis();
                tracing::warn!(channel, reason, picture, retry_ms, "no session with the server; trying again for ever");
            }
            Report::NoControl(peer) => {
                tracing::warn!(
                    channel,
                    peer = peer.0,
                    "the server took no data channels: viewers see the picture and cannot drive"
                );
            }
            Report::PictureLost(peer) => {
                tracing::warn!(channel, peer = peer.0, "the peer that carried the picture is gone")
            }
            Report::Restarting(peer, ref why) => tracing::warn!(channel, peer = peer.0, why, "restarting ICE"),
            Report::Restarted(peer) => tracing::info!(channel, peer = peer.0, after_ms, "ICE restarted"),
            Report::Ignored(ref what) => {
                if let Some(suppressed) = self.ignored.admit(now) {
                    tracing::debug!(channel, what, suppressed, "ignored from the server");
                }
            }
            Report::Joins(ref who) => tracing::debug!(channel, who, "someone joined or left"),
        }
        self.status.send_if_modified(|status| {
            let recovered = recovery.is_some();
            status.last_recovery = recovery.or(status.last_recovery.take());
            update(status, report) || recovered
        });
    }

    /// Notes when a trouble begins; tells when it is over.
    fn recovery(&mut self, report: &Report, now: Instant) -> Option<Recovery> {
        let begins = match report {
            // That the first session takes its time is no trouble.
            Report::Lost { reason, .. } if self.status.borrow().sessions > 0 => reason.clone(),
            Report::Restarting(_, why) => why.clone(),
            Report::PictureLost(_) => "the peer is gone".to_owned(),
            Report::Publishing { .. } | Report::Restarted(_) => {
                let (cause, since) = self.trouble.take()?;
                return Some(Recovery { cause, took: now.saturating_duration_since(since) });
            }
            Report::Lost { .. } | Report::NoControl(_) | Report::Ignored(_) | Report::Joins(_) => return None,
        };
        self.trouble.get_or_insert((begins, now));
        None
    }
}

fn update(status: &mut PublishStatus, report: Report) -> bool {
    match report {
        Report::Publishing { .. } => {
            status.publishing = true;
            status.state = SessionState::Publishing;
            status.restarts += u64::from(status.sessions > 0);
            status.sessions += 1;
        }
        Report::Lost { reason, still_live, .. } => {
            status.publishing = still_live;
            if status.sessions > 0 {
                status.state = SessionState::Reconnecting;
            }
            status.last_trouble = Some(reason);
        }
        Report::PictureLost(_) => {
            status.publishing = false;
            status.state = SessionState::Reconnecting;
        }
        Report::Restarting(_, why) => {
            status.restarts += 1;
            status.state = SessionState::RestartingIce;
            status.last_trouble = Some(why);
        }
        Report::Restarted(_) => status.state = SessionState::Publishing,
        Report::NoControl(_) | Report::Ignored(_) | Report::Joins(_) => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rtc::session::PeerId;

    #[test]
    fn a_recovery_lasts_from_the_first_sign_of_trouble_to_the_next_connection() {
        let (status, told) = watch::channel(PublishStatus::default());
        let channel = ChannelId::new("c40hipepjh65aeq6ndj0").expect("an id");
        let mut reporter = Reporter::new(channel, status);
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let start = Instant::now();
        let lost =
            |reason: &str| Report::Lost { reason: reason.to_owned(), still_live: false, retry_in: Duration::ZERO };
        let (one, changed) = (PeerId(1), Some(("the network changed", 2)));
        let story = [
            (0, lost("no route"), SessionState::Connecting, None),
            (1, Report::Publishing { peer: one, replaces: None }, SessionState::Publishing, None),
            (10, Report::Restarting(one, "the network changed".to_owned()), SessionState::RestartingIce, None),
            (12, Report::Restarted(one), SessionState::Publishing, changed),
            (20, lost("reset"), SessionState::Reconnecting, changed),
            (21, Report::PictureLost(one), SessionState::Reconnecting, changed),
            (25, lost("no route"), SessionState::Reconnecting, changed),
            (26, Report::Publishing { peer: PeerId(2), replaces: None }, SessionState::Publishing, Some(("reset", 6))),
        ];
        for (second, report, state, expected) in story {
            reporter.report(report, start + Duration::from_secs(second));
            let expected =
                expected.map(|(cause, took)| Recovery { cause: str::to_owned(cause), took: Duration::from_secs(took) });
            assert_eq!(told.borrow().last_recovery, expected, "after {second} s");
            assert_eq!(told.borrow().state, state, "after {second} s");
        }
        assert_eq!((told.borrow().sessions, told.borrow().restarts), (2, 2));
    }
}
