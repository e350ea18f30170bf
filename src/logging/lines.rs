//! Makes one line of an event, whatever is in it, and sees to it that the line may be shown.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Instant;

use rustix::fs::fstat;
use tracing::{Event, Level, Subscriber};
use tracing_log::NormalizeEvent;
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::journal::Journal;
use super::limit::Limit;
use super::recent::Recent;
use super::redact::Redactor;

/// Who reads standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// A person: time, colour.
    Terminal,
    /// A file or pipe: time, no colour.
    Plain,
    /// journald: it has the time, and wants the priority in front of a line (sd-daemon(3)).
    Journal,
}

impl Style {
    pub(super) fn of_stderr() -> Self {
        if goes_to_journald() {
            Self::Journal
        } else if io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) {
            Self::Terminal
        } else {
            Self::Plain
        }
    }
}

/// Whether standard error is the very stream that `$JOURNAL_STREAM` names: the variable is inherited by children whose
/// output goes elsewhere (systemd.exec(5)).
fn goes_to_journald() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    fstat(io::stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// What outlives an event.
#[derive(Debug, Default)]
pub(super) struct Shared {
    redactor: RwLock<Redactor>,
    limit: Mutex<Limit>,
    pub(super) recent: Recent,
}

impl Shared {
    pub(super) fn redactor_mut(&self) -> RwLockWriteGuard<'_, Redactor> {
        self.redactor.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn redact(&self, text: &str, level: Level) -> String {
        self.redactor.read().unwrap_or_else(PoisonError::into_inner).redact(text, level).into_owned()
    }
}

/// Formats an event as one line.
pub(super) struct OneLine {
    style: Style,
    timed: Format<Full>,
    untimed: Format<Full, ()>,
    journal: Option<Journal>,
    shared: Arc<Shared>,
}

impl OneLine {
    /// `journal` is for [`Style::Journal`]; without it the line goes to standard error with its priority.
    pub(super) fn new(style: Style, journal: Option<Journal>, shared: Arc<Shared>) -> Self {
        let format = tracing_subscriber::fmt::format();
        let timed = format.clone().with_ansi(style == Style::Terminal);
        let untimed = format.without_time().with_level(false).with_ansi(false);
        Self { style, timed, untimed, journal, shared }
    }

    /// Neither time nor level, redacted.
    fn bare<S, N>(&self, ctx: &FmtContext<'_, S, N>, event: &Event<'_>, level: Level) -> Result<String, fmt::Error>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
        N: for<'a> FormatFields<'a> + 'static,
    {
        let mut line = String::with_capacity(160);
        self.untimed.format_event(ctx, Writer::new(&mut line), event)?;
        Ok(self.shared.redact(line.trim_end(), level))
    }
}

impl<S, N> FormatEvent<S, N> for OneLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        let (level, now) = (*metadata.level(), now());
        if level <= Level::WARN {
            self.shared.recent.note(level, &self.bare(ctx, event, level)?, now);
        }
        let admitted = self.shared.limit.lock().unwrap_or_else(PoisonError::into_inner).admit(metadata, now);
        let Some(left_out) = admitted else { return Ok(()) };
        let mut line = match self.style {
            Style::Journal => self.bare(ctx, event, level)?,
            Style::Plain | Style::Terminal => {
                let mut line = String::with_capacity(160);
                self.timed.format_event(ctx, Writer::new(&mut line), event)?;
                self.shared.redact(line.trim_end(), level)
            }
        };
        if left_out > 0 {
            write!(line, " ({left_out} more of these were not logged)")?;
        }
        if self.style == Style::Journal {
            let redact = |text: &str| self.shared.redact(text, level);
            let sent = self.journal.as_ref().is_some_and(|journal| journal.send(event, metadata, &line, redact));
            if sent {
                return Ok(());
            }
            write!(out, "<{}>", priority(level))?;
        }
        for (index, part) in line.split('\n').enumerate() {
            out.write_str(if index > 0 { "\\n" } else { "" })?;
            out.write_str(part)?;
        }
        out.write_str("\n")
    }
}

/// syslog's numbers (RFC 5424 table 2).
pub(super) fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[expect(clippy::disallowed_methods, reason = "what is logged has a time")]
fn now() -> Instant {
    Instant::now()
}
