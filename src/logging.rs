//! Logs: one line an event on standard error; for a person on a terminal, for journald under systemd.
//!
//! [`lines`] makes the lines: redacted by [`redact`], each place of the code held to a share by [`limit`], the last warnings
//! and errors kept in [`recent`], handed to journald with their fields by [`journal`].

mod journal;
mod limit;
mod lines;
pub mod recent;
mod redact;
mod stderr;

use std::io;
use std::net::IpAddr;
use std::panic::PanicHookInfo;
use std::sync::Arc;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_log::AsLog;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use self::journal::Journal;
use self::lines::{OneLine, Shared, Style};
use self::recent::Recent;
use self::stderr::Stderr;
use crate::secret::Secret;

/// Which events are logged: a level, or a list of directives, `target=level`, of which the longest that fits decides (`info,rtcpub::drive=debug`).
///
/// A bare level is that of rtcpub itself. The libraries below it stay at `warn` unless they are named
/// (`rtc_ice=debug`), for at `info` and below some of them write a line a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter {
    /// As given, in canonical form: no blanks, no empty items.
    text: String,
}

impl Default for LogFilter {
    fn default() -> Self {
        Self { text: "info".to_owned() }
    }
}

impl LogFilter {
    /// A filter, or what is wrong with it.
    ///
    /// # Errors
    /// One sentence with the remedy.
    pub fn parse(text: &str) -> Result<Self, String> {
        let items: Vec<_> = text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
        if items.is_empty() {
            return Err(format!("must be one of {}", LEVELS.join(", ")));
        }
        for item in &items {
            check(item)?;
        }
        let filter = Self { text: items.join(",") };
        filter.try_build().map_err(|_| DIRECTIVE_FORM.to_owned())?;
        Ok(filter)
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn build(&self) -> Targets {
        self.try_build().expect("the directives were parsed when the filter was made")
    }

    fn try_build(&self) -> Result<Targets, tracing_subscriber::filter::ParseError> {
        let ours = self.text.split(',').rfind(|item| LEVELS.contains(item)).unwrap_or("info");
        let libraries = if matches!(ours, "off" | "error") { ours } else { "warn" };
        // A directive matches by prefix, and the longest wins: `rtcpub` must be named or `rtc=…` would decide about it.
        let named: Vec<_> = self.text.split(',').filter(|item| !LEVELS.contains(item)).collect();
        let directives = [libraries, NOISY, &format!("rtcpub={ours}"), &named.join(",")].join(",");
        directives.trim_end_matches(',').parse()
    }
}

/// Libraries that warn of what is no fault: a check before there are candidates, a client without a server name.
const NOISY: &str = "rtc_ice=error,rtc_dtls=error";

/// Steers the logging of the running process.
#[derive(Clone, Debug)]
pub struct LogControl {
    filter: reload::Handle<Targets, Registry>,
    shared: Arc<Shared>,
}

impl LogControl {
    /// Logs by another filter from now on.
    pub fn set(&self, filter: &LogFilter) {
        if self.filter.reload(filter.build()).is_ok() {
            tracing_log::log::set_max_level(LevelFilter::current().as_log());
        }
    }

    /// From now on none of these is ever written, in whatever form, by whatever library.
    pub fn protect<'s>(&self, secrets: impl IntoIterator<Item = &'s Secret>) {
        self.shared.redactor_mut().protect(secrets);
    }

    /// These addresses are written at every level: the operator chose them. Others of other machines only at `debug` and
    /// `trace`.
    pub fn know(&self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.shared.redactor_mut().know(addresses);
    }

    /// The last warnings and errors that were logged.
    pub fn recent(&self) -> Recent {
        self.shared.recent.clone()
    }
}

/// The process logs already.
#[derive(Debug, thiserror::Error)]
#[error("logging has been started before")]
pub struct AlreadyStarted;

/// Starts logging to standard error, records of the `log` crate included. Once in a process. No thread ever waits for who
/// reads it.
///
/// # Errors
/// When it has been started before.
pub fn start(filter: &LogFilter) -> Result<LogControl, AlreadyStarted> {
    let style = Style::of_stderr();
    let journal = if style == Style::Journal { Journal::open() } else { None };
    let (layers, control) = layers(filter, style, journal, Stderr);
    tracing_subscriber::registry().with(layers).try_init().map_err(|_| AlreadyStarted)?;
    Ok(control)
}

/// From now on a panic is one line in the log: thread, message and place. With `RUST_BACKTRACE=1` the backtrace follows.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        let backtrace = std::backtrace::Backtrace::capture();
        log_panic(panic);
        if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
            complain(&backtrace.to_string());
        }
    }));
}

/// The one line, at once: without the backtrace, whose names take most of a second to find on a small board.
pub fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    let message = panic.payload_as_str().unwrap_or("no message");
    if tracing::enabled!(Level::ERROR) {
        tracing::error!(%place, thread, "panic: {message}");
    } else {
        let line = format!("rtcpub: panic: {message} place={place} thread={thread:?}");
        complain(&line.replace('\n', "\\n"));
    }
}

/// Writes a line to standard error, as far as anyone listens there.
pub fn complain(line: &str) {
    use io::Write as _;
    let _ = Stderr.write_all(format!("{line}\n").as_bytes());
}

fn layers<W>(
    filter: &LogFilter,
    style: Style,
    journal: Option<Journal>,
    writer: W,
) -> (impl Layer<Registry> + use<W>, LogControl)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter.build());
    let shared = Arc::new(Shared::default());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(style == Style::Terminal)
        .log_internal_errors(false)
        .event_format(OneLine::new(style, journal, Arc::clone(&shared)));
    (lines.with_filter(filter), LogControl { filter: handle, shared })
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

const DIRECTIVE_FORM: &str = "must be a level, or directives such as \"info,rtcpub::drive=debug\"";

/// Whether this names a module: `rtc_ice`, `rtcpub::drive`.
fn is_path(target: &str) -> bool {
    !target.is_empty() && target.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
}

/// A bare word that is not a level would be a target with everything switched on: more likely a typing mistake.
fn check(item: &str) -> Result<(), String> {
    let (is_directive, level) = match item.split_once('=') {
        Some((target, level)) if is_path(target) => (true, level),
        Some(_) => return Err(DIRECTIVE_FORM.to_owned()),
        None => (false, item),
    };
    if LEVELS.contains(&level) {
        return Ok(());
    }
    let near = LEVELS.iter().find(|known| strsim::damerau_levenshtein(known, &level.to_lowercase()) <= 2);
    let hint = near.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
    if is_directive {
        Err(format!("{DIRECTIVE_FORM}{hint}"))
    } else {
        Err(format!("must be one of {}{hint}", LEVELS.join(", ")))
    }
}

#[cfg(test)]
mod tests;
