//! What the session tells an operator: the log and the status.

use std::time::Instant;

use tokio::sync::watch;

use super::publisher::PublishStatus;
use super::session::Report;
use crate::quiet::Quiet;
use crate::signal::settings::ChannelId;

pub(crate) struct Reporter {
    channel: ChannelId,
    status: watch::Sender<PublishStatus>,
    ignored: Quiet,
}

impl Reporter {
    pub(crate) fn new(channel: ChannelId, status: watch::Sender<PublishStatus>) -> Self {
        Self { channel, status, ignored: Quiet::default() }
    }

    /// Signalling has been tried.
    pub(crate) fn tried(&self) {
        self.status.send_if_modified(|status| !std::mem::replace(&mut status.tried, true));
    }

    pub(crate) fn report(&mut self, report: Report, now: Instant) {
        let channel = self.channel.as_str();
        match report {
            Report::Publishing { peer, replaces: None } => tracing::info!(channel, peer = peer.0, "publishing"),
            Report::Publishing { peer, replaces: Some(old) } => {
                tracing::info!(channel, peer = peer.0, replaces = old.0, "publishing in a new session");
            }
            Report::Lost { ref reason, still_live, retry_in } => {
                let picture = if still_live { "the picture still flows" } else { "no picture" };
                let retry_ms = retry_in.as_millis();
                tracing::warn!(channel, reason, picture, retry_ms, "no session with the server; trying again for ever");
            }
            Report::PictureLost(peer) => {
                tracing::warn!(channel, peer = peer.0, "the peer that carried the picture is gone")
            }
            Report::Restarting(peer, ref why) => tracing::warn!(channel, peer = peer.0, why, "restarting ICE"),
            Report::Restarted(peer) => tracing::info!(channel, peer = peer.0, "ICE restarted"),
            Report::Ignored(ref what) => {
                if let Some(suppressed) = self.ignored.admit(now) {
                    tracing::debug!(channel, what, suppressed, "ignored from the server");
                }
            }
            Report::Joins(ref who) => tracing::debug!(channel, who, "someone joined or left"),
        }
        self.status.send_if_modified(|status| update(status, report));
    }
}

fn update(status: &mut PublishStatus, report: Report) -> bool {
    match report {
        Report::Publishing { .. } => {
            status.publishing = true;
            status.sessions += 1;
        }
        Report::Lost { reason, still_live, .. } => {
            status.publishing = still_live;
            status.last_trouble = Some(reason);
        }
        Report::PictureLost(_) => status.publishing = false,
        Report::Restarting(_, why) => status.last_trouble = Some(why),
        Report::Restarted(_) | Report::Ignored(_) | Report::Joins(_) => return false,
    }
    true
}
