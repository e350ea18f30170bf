//! Logging of a whole process: each test runs itself again as a child and reads the child's standard error.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rtcpub::logging::{self, LogFilter};
use tracing_log::log;

/// Runs the test `name` of this file again, with [`CHILD`] set; returns its standard error.
fn child(name: &str, environment: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("stderr");
    let stderr = File::create(&path).expect("the folder is ours");
    let id = stderr.metadata().map(|file| format!("{}:{}", file.dev(), file.ino())).expect("the file is open");
    let mut command = Command::new(std::env::current_exe().expect("we run"));
    command.args(["--exact", name, "--nocapture"]).env(CHILD, "1").env_remove("RUST_BACKTRACE");
    for (variable, value) in environment {
        command.env(variable, value.replace("THIS", &id));
    }
    let status = command.stdout(Stdio::null()).stderr(stderr).status().expect("we start again");
    assert!(status.success(), "the child failed");
    std::fs::read_to_string(&path).expect("logs are text")
}

const CHILD: &str = "RTCPUB_TEST_CHILD";

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

#[test]
fn records_of_the_log_crate_are_logged_by_the_same_filter_also_after_a_change() {
    if is_child() {
        let control = logging::start(&LogFilter::default()).expect("first start");
        log::warn!(target: "rtc_sctp::agent", "library warns");
        log::info!(target: "rtc_sctp::agent", "library chatters");
        log::debug!(target: "rtc_sctp::agent", "library debugs early");
        control.set(&LogFilter::parse("info,rtc_sctp=debug").expect("a filter"));
        log::debug!(target: "rtc_sctp::agent", "library debugs");
        control.set(&LogFilter::default());
        log::debug!(target: "rtc_sctp::agent", "library debugs late");
        assert_eq!(log::max_level(), log::LevelFilter::Info);
        assert!(logging::start(&LogFilter::default()).is_err(), "once in a process");
        return;
    }
    let log = child("records_of_the_log_crate_are_logged_by_the_same_filter_also_after_a_change", &[]);
    let lines: Vec<_> = log.lines().map(|line| line.split_once("rtc_sctp::agent: ").expect(line).1).collect();
    assert_eq!(lines, ["library warns", "library debugs"]);
    assert!(!log.contains('\u{1b}'), "a file gets no colours");
}

#[test]
fn journald_is_known_by_the_very_stream_it_names() {
    if is_child() {
        logging::start(&LogFilter::default()).expect("first start");
        tracing::info!(target: "rtcpub", "hello");
        return;
    }
    let name = "journald_is_known_by_the_very_stream_it_names";
    // Where there is a journald, it gets the event by its own protocol.
    let expected = if Path::new("/run/systemd/journal/socket").exists() { "" } else { "<6>rtcpub: hello\n" };
    assert_eq!(child(name, &[("JOURNAL_STREAM", "THIS")]), expected);
    for elsewhere in ["1:2", "", "x"] {
        let log = child(name, &[("JOURNAL_STREAM", elsewhere)]);
        assert!(log.ends_with(" INFO rtcpub: hello\n") && log.starts_with("20"), "{log}");
    }
}

#[test]
fn a_panic_is_one_line_with_its_place_before_and_after_logging_starts() {
    if is_child() {
        logging::log_panics();
        let panic = || std::thread::Builder::new().name("camera".to_owned()).spawn(|| panic!("first\nsecond"));
        assert!(panic().expect("a thread").join().is_err());
        logging::start(&LogFilter::default()).expect("first start");
        assert!(panic().expect("a thread").join().is_err());
        return;
    }
    let name = "a_panic_is_one_line_with_its_place_before_and_after_logging_starts";
    let log = child(name, &[("RUST_BACKTRACE", "0")]);
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), 2, "{log}");
    for line in &lines {
        for part in ["camera", "tests/logging.rs:", "first\\nsecond"] {
            assert!(line.contains(part), "{part}\n{line}");
        }
    }
    assert!(lines[1].contains("ERROR"), "{}", lines[1]);
}
