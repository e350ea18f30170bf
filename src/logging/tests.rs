use std::io::Write;
use std::sync::{Arc, Mutex};

use tracing::{debug, error, info, warn};
use tracing_subscriber::fmt::MakeWriter;

use super::*;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panics while it writes").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What `events` logs by this filter, and the means to change it.
fn logged(filter: &str, style: Style, events: impl FnOnce(&LogControl)) -> Vec<String> {
    let captured = Captured::default();
    let (layer, control) = layers(&LogFilter::parse(filter).expect(filter), style, None, captured.clone());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || events(&control));
    let bytes = captured.0.lock().expect("all have written").clone();
    String::from_utf8(bytes).expect("logs are text").lines().map(str::to_owned).collect()
}

#[test]
fn libraries_stay_at_warn_unless_they_are_named() {
    // Filter → which of our debug, our info, rtc_sctp's info, rtc_sctp's warn are logged.
    let rows = [
        ("info", [false, true, false, true]),
        ("debug", [true, true, false, true]),
        ("error", [false, false, false, false]),
        ("off", [false, false, false, false]),
        ("info,rtc_sctp=info", [false, true, true, true]),
        ("info,rtc=info", [false, true, true, true]),
        ("rtc=info", [false, true, true, true]),
        ("warn,rtcpub::drive=debug", [true, true, false, true]),
        (" info , ,rtc_sctp=off ", [false, true, false, false]),
    ];
    for (filter, expected) in rows {
        let lines = logged(filter, Style::Plain, |_| {
            debug!(target: "rtcpub::drive", "1st");
            info!(target: "rtcpub::drive", "2nd");
            info!(target: "rtc_sctp::agent", "3rd");
            warn!(target: "rtc_sctp::agent", "4th");
        });
        let found = ["1st", "2nd", "3rd", "4th"].map(|word| lines.iter().any(|line| line.ends_with(word)));
        assert_eq!(found, expected, "{filter}");
    }
}

#[test]
fn the_filter_changes_while_the_process_runs() {
    let lines = logged("warn", Style::Journal, |control| {
        info!("before");
        control.set(&LogFilter::default());
        info!("after");
    });
    assert_eq!(lines, ["<6>rtcpub::logging::tests: after"]);
}

#[test]
fn journald_gets_the_priority_and_no_time() {
    let lines = logged("debug", Style::Journal, |_| {
        error!(code = 5, "one");
        warn!("two");
        info!("three");
        debug!("four");
    });
    let expected = ["<3>{}: one code=5", "<4>{}: two", "<6>{}: three", "<7>{}: four"];
    assert_eq!(lines, expected.map(|line| line.replace("{}", "rtcpub::logging::tests")));
}

#[test]
fn an_event_is_one_line_whatever_is_in_it() {
    for style in [Style::Journal, Style::Plain, Style::Terminal] {
        let lines = logged("info", style, |_| info!(reason = "a\nb", "first\nsecond\n\u{1b}[2Jthird"));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("first\\nsecond"), "{lines:?}");
        assert!(!lines[0].contains("\u{1b}[2J"), "{lines:?}");
    }
}

#[test]
fn a_terminal_gets_colours_and_a_file_does_not() {
    for (style, coloured) in [(Style::Terminal, true), (Style::Plain, false)] {
        let lines = logged("info", style, |_| info!("hello"));
        assert_eq!(lines[0].contains('\u{1b}'), coloured, "{lines:?}");
        assert!(lines[0].contains("INFO"), "{lines:?}");
    }
}

#[test]
fn a_filter_that_would_not_do_what_it_says_is_refused() {
    let rows = [
        ("", "must be one of"),
        (" , ", "must be one of"),
        ("inof", "did you mean \"info\"?"),
        ("INFO", "did you mean \"info\"?"),
        ("verbose", "must be one of"),
        ("rtcpub", "must be one of"),
        ("info,rtc=debgu", "did you mean \"debug\"?"),
        ("info,=debug=", "must be a level, or directives"),
        ("rtc[=info", "must be a level, or directives"),
    ];
    for (text, expected) in rows {
        let remedy = LogFilter::parse(text).expect_err(text);
        assert!(remedy.contains(expected), "{text}: {remedy}");
    }
}

#[test]
fn what_is_protected_is_in_no_line_and_not_among_the_recent_ones() {
    for style in [Style::Journal, Style::Plain, Style::Terminal] {
        let mut recent = None;
        let lines = logged("trace,hyper=trace", style, |control| {
            control.protect([&Secret::new("hunter2")]);
            control.know(["198.51.100.1".parse().expect("an address")]);
            error!(token = "hunter2", "sent \"hunter2\" to 203.0.113.1 by 198.51.100.1");
            debug!(pwd = "made-up", "from 203.0.113.2:5000");
            tracing::trace!(target: "hyper::h1", "Bearer abc");
            recent = Some(control.recent());
        });
        let all = lines.join("\n");
        for secret in ["hunter2", "made-up", "abc", "203.0.113.1"] {
            assert!(!all.contains(secret), "{secret}: {all}");
        }
        assert!(all.contains("198.51.100.1") && all.contains("203.0.113.2"), "{all}");
        let recent = recent.expect("it ran").list();
        let text = "rtcpub::logging::tests: sent \"[redacted]\" to [address] by 198.51.100.1 token=\"[redacted]\"";
        assert_eq!(recent.iter().map(|noted| noted.text.as_str()).collect::<Vec<_>>(), [text]);
    }
}

#[test]
fn an_error_that_repeats_itself_is_logged_a_few_times_and_counted() {
    let mut counts = None;
    let lines = logged("info", Style::Plain, |control| {
        for number in 0..1000 {
            warn!(number, "again");
            info!("as often as one likes");
        }
        warn!("from another place");
        counts = Some(control.recent().counts());
    });
    let of = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    assert_eq!((of("again"), of("as often"), of("from another place")), (20, 1000, 1));
    assert_eq!(counts, Some((1001, 0)), "those that are not logged count too");
}
