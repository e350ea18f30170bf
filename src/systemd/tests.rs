use std::path::PathBuf;

use super::*;

/// A service manager's end of the line.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Manager {
    fn listen() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, path, _folder: folder }
    }

    fn notifier(&self, watchdog_timeout: Option<Duration>) -> Notifier {
        Notifier::connect(self.path.as_os_str(), watchdog_timeout).unwrap()
    }

    /// All messages so far.
    fn heard(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let receive =
            || self.socket.recv(&mut buffer).ok().map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned());
        std::iter::from_fn(receive).collect()
    }
}

#[test]
fn each_state_is_one_datagram_in_the_words_of_sd_notify() {
    let manager = Manager::listen();
    let notifier = manager.notifier(None);
    notifier.ready();
    notifier.status("publishing at 800 kbit/s");
    notifier.watchdog();
    notifier.stopping();
    assert_eq!(manager.heard(), ["READY=1", "STATUS=publishing at 800 kbit/s", "WATCHDOG=1", "STOPPING=1"]);
}

#[test]
fn a_reload_carries_the_monotonic_clock_in_microseconds() {
    let manager = Manager::listen();
    manager.notifier(None).reloading();
    let now = clock_gettime(ClockId::Monotonic);
    let [message] = manager.heard().try_into().unwrap();
    let usec: i64 = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
    let age = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000 - usec;
    assert!((0..1_000_000).contains(&age), "{age} µs ago");
}

#[test]
fn a_status_cannot_smuggle_in_another_message() {
    let manager = Manager::listen();
    manager.notifier(None).status("camera lost:\nWATCHDOG=trigger\r\0");
    assert_eq!(manager.heard(), ["STATUS=camera lost: WATCHDOG=trigger  "]);
}

#[test]
fn a_status_that_is_too_long_is_cut_between_characters() {
    let manager = Manager::listen();
    manager.notifier(None).status(&format!("{}{}", "x".repeat(1023), "ä".repeat(5000)));
    assert_eq!(manager.heard(), [format!("STATUS={}", "x".repeat(1023))]);
}

#[test]
fn an_abstract_address_is_understood() {
    let name = format!("rtcpub-test-{}", std::process::id());
    let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    Notifier::connect(OsStr::new(&format!("@{name}")), None).unwrap().ready();
    let mut buffer = [0; 16];
    let length = manager.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"READY=1");
}

#[test]
fn a_service_manager_that_does_not_read_never_blocks_us() {
    let manager = Manager::listen();
    let notifier = manager.notifier(None);
    (0..10_000).for_each(|_| notifier.watchdog());
    assert!(notifier.send("READY=1").is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock));
}

#[test]
fn a_service_manager_that_is_gone_is_an_error_of_connecting_and_nothing_later() {
    let manager = Manager::listen();
    let notifier = manager.notifier(None);
    let path = manager.path.clone();
    drop(manager);
    notifier.ready();
    notifier.watchdog();
    assert!(Notifier::connect(path.as_os_str(), None).is_err());
}

#[test]
fn the_watchdog_is_ours_when_the_variables_name_this_process() {
    let timeout = |usec, pid| watchdog_timeout(usec, pid, 42);
    let two_seconds = Some(Duration::from_secs(2));
    let cases = [
        (Some("2000000"), Some("42"), two_seconds),
        (Some("2000000"), None, two_seconds),
        (Some("2000000"), Some("43"), None),
        (Some("2000000"), Some("many"), None),
        (Some("0"), Some("42"), None),
        (Some("-1"), None, None),
        (Some("soon"), None, None),
        (None, Some("42"), None),
    ];
    for (usec, pid, expected) in cases {
        assert_eq!(timeout(usec, pid), expected, "{usec:?} {pid:?}");
    }
}

#[test]
fn outside_systemd_nobody_is_told_and_no_watchdog_is_kicked() {
    let notifier = Notifier::default();
    notifier.ready();
    assert_eq!(notifier.watchdog_interval(), None);
}

#[tokio::test(start_paused = true)]
async fn the_watchdog_is_kicked_four_times_a_timeout_until_a_loop_falls_silent() {
    let manager = Manager::listen();
    let notifier = manager.notifier(Some(Duration::from_secs(2)));
    let vitals = Vitals::new(now(), Duration::from_secs(2));
    tick_all(&vitals);
    let kicks_within = async |time| {
        let _ = tokio::time::timeout(time, watch(&notifier, &vitals)).await;
        manager.heard().len()
    };
    assert_eq!(kicks_within(Duration::from_millis(1400)).await, 2, "the first after a quarter");
    assert_eq!(kicks_within(Duration::from_secs(60)).await, 1, "control counts for two seconds");
    tick_all(&vitals);
    assert_eq!(kicks_within(Duration::from_millis(1100)).await, 2, "a loop that comes back is believed");
}

#[tokio::test(start_paused = true)]
async fn without_a_watchdog_there_is_nothing_to_watch() {
    let vitals = Vitals::new(now(), Duration::from_secs(2));
    watch(&Notifier::default(), &vitals).await;
}

fn tick_all(vitals: &Vitals) {
    [&vitals.frames, &vitals.control, &vitals.session].into_iter().for_each(|heartbeat| heartbeat.tick(now()));
}

#[expect(clippy::disallowed_methods, reason = "the virtual clock of the test")]
fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
