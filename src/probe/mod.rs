//! `rtcpub probe CHANNEL`: tries what a channel file names, one line each, with what to do about what fails.
//!
//! `signal` and `rtc` try their own servers with the very code that a session uses; here it is put together.

use std::io::Write;
use std::sync::Arc;

use crate::resolver::Resolver;
use crate::rtc::settings::{IcePolicy, RtcConfig};
use crate::signal::settings::SignalConfig;

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeOutcome {
    /// The signalling socket could be opened.
    pub signalling: bool,
    /// This machine has an address that a peer might reach it by.
    pub addresses: bool,
    /// TURN servers that gave an allocation.
    pub relays: usize,
    /// Which candidates the channel may use.
    pub policy: IcePolicy,
}

impl ProbeOutcome {
    /// Whether a session could be made, as far as this end can tell.
    pub fn session_possible(&self) -> bool {
        let way = match self.policy {
            IcePolicy::All => self.addresses,
            IcePolicy::Relay => self.relays > 0,
        };
        self.signalling && way
    }
}

/// Tries the pub server, this machine's addresses, and each STUN and TURN server; writes a line about each to `out`. The
/// pub server is connected to as a publisher, and left before anything is offered: a server that lets each channel have
/// one publisher may turn out the one that is driving.
pub async fn probe(signal: &SignalConfig, rtc: &RtcConfig, out: &mut (dyn Write + Send)) -> ProbeOutcome {
    let (mut report, resolver) = (Report { out }, Arc::<Resolver>::default());
    let signalling = crate::signal::probe::probe(signal, &resolver, &mut report).await;
    let ice = crate::rtc::probe::probe(signal, &rtc.ice, resolver, &mut report).await;
    let outcome = ProbeOutcome { signalling, addresses: ice.addresses, relays: ice.relays, policy: rtc.ice.policy };
    let verdict = if outcome.session_possible() { "a session could be made" } else { "no session can be made" };
    report.write(format_args!("{verdict}\n"));
    outcome
}

/// What went wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: String,
    pub(crate) remedy: String,
}

impl Failure {
    pub(crate) fn new(reason: impl ToString, remedy: impl Into<String>) -> Self {
        Self { reason: reason.to_string(), remedy: remedy.into() }
    }
}

/// Writes the lines of a probe as they come.
pub(crate) struct Report<'a> {
    out: &'a mut (dyn Write + Send),
}

impl Report<'_> {
    /// One line; returns what of it succeeded.
    pub(crate) fn line<T>(&mut self, step: &str, outcome: Result<(T, String), Failure>) -> Option<T> {
        match outcome {
            Ok((found, text)) => {
                self.write(format_args!("ok    {step:<10} {text}\n"));
                Some(found)
            }
            Err(Failure { reason, remedy }) => {
                self.write(format_args!("FAIL  {step:<10} {reason}; {remedy}\n"));
                None
            }
        }
    }

    fn write(&mut self, line: std::fmt::Arguments<'_>) {
        // A reader that has gone away does not change what is found.
        let _ = self.out.write_fmt(line).and_then(|()| self.out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_says_what_was_tried_and_what_to_do_about_it() {
        let mut out = Vec::new();
        let mut report = Report { out: &mut out };
        assert_eq!(report.line("tcp", Ok((5, "192.0.2.1:8267 in 3 ms".into()))), Some(5));
        let failure = Failure::new("no answer within 5 s", "is the server running?");
        assert_eq!(report.line::<()>("websocket", Err(failure)), None);
        let text = String::from_utf8(out).expect("text");
        assert_eq!(
            text,
            "ok    tcp        192.0.2.1:8267 in 3 ms\nFAIL  websocket  no answer within 5 s; is the server running?\n"
        );
    }

    #[test]
    fn a_session_needs_signalling_and_a_way_that_the_policy_allows() {
        let cases = [
            (IcePolicy::All, true, true, 0, true),
            (IcePolicy::All, true, false, 1, false),
            (IcePolicy::All, false, true, 1, false),
            (IcePolicy::Relay, true, true, 0, false),
            (IcePolicy::Relay, true, true, 1, true),
        ];
        for (policy, signalling, addresses, relays, possible) in cases {
            let outcome = ProbeOutcome { signalling, addresses, relays, policy };
            assert_eq!(outcome.session_possible(), possible, "{outcome:?}");
        }
    }
}
