//! Where secrets come from, and that they stay secret.

use super::*;
use crate::rtc::settings::{IceServer, TurnCredential};

/// A machine with credential files: name → content, readable by all or not.
fn machine(files: &[(&'static str, &'static str, bool)]) -> impl Fn(&Path) -> io::Result<FileContent> {
    let files = files.to_vec();
    move |path| {
        let found = files.iter().find(|(name, ..)| path == Path::new(name));
        match found {
            Some((_, "unreadable", _)) => Err(io::ErrorKind::PermissionDenied.into()),
            Some((_, text, world_readable)) => {
                Ok(FileContent { bytes: text.as_bytes().to_vec(), world_readable: *world_readable })
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

const TOKEN_FILE: &str = "token_file = \"hub.token\"\n";

#[test]
fn the_highest_layer_that_gives_a_secret_wins() {
    let read =
        machine(&[("/etc/rtcpub/hub.token", "from-file\n", false), ("/run/c/server.token", "from-systemd\r\n", false)]);
    let inline = "token = \"from-key\"\n";
    // File, variable, systemd's directory is there → token and where it comes from.
    let rows = [
        ("", None, false, None, "unset"),
        ("", None, true, Some("from-systemd"), "systemd credential /run/c/server.token"),
        (inline, None, true, Some("from-key"), "/etc/rtcpub/c40hipepjh65aeq6ndj0.toml:3:1"),
        (TOKEN_FILE, None, true, Some("from-file"), "/etc/rtcpub/c40hipepjh65aeq6ndj0.toml:3:1"),
        (TOKEN_FILE, Some("from-env"), true, Some("from-env"), "environment variable RTCPUB__SERVER__TOKEN"),
        (inline, Some("from-env"), false, Some("from-env"), "environment variable RTCPUB__SERVER__TOKEN"),
    ];
    for (file, variable, systemd, token, origin) in rows {
        let mut case = Case { read: &read, ..Case::of(format!("{LEAST}{file}")) };
        if let Some(value) = variable {
            case = case.with_variable("RTCPUB__SERVER__TOKEN", value);
        }
        if systemd {
            case = case.with_variable("CREDENTIALS_DIRECTORY", "/run/c");
        }
        let loaded = case.loaded();
        assert_eq!(loaded.config.signal.token.as_ref().map(|token| token.expose()), token, "{file}{variable:?}");
        let shown = effective(&loaded, "server.token");
        match token {
            Some(_) => assert_eq!(shown, ("\"[redacted]\"".to_owned(), origin.to_owned())),
            None => assert_eq!(shown.0, ""),
        }
        let everything = format!("{loaded:?}{}{:?}", show(&loaded.effective), loaded.warnings);
        assert!(!everything.contains(token.unwrap_or("none of them")), "a secret is shown: {everything}");
    }
}

#[test]
fn elements_of_a_list_have_credentials_of_their_own() {
    let read = machine(&[("/run/c/ice.servers.1.credential", "second", false)]);
    let servers = "[[ice.servers]]\nurl = \"stun:a\"\n[[ice.servers]]\nurl = \"turn:b\"\nusername = \"u\"\n";
    let case = Case { read: &read, ..Case::of(format!("{LEAST}{servers}")) };
    let loaded = case.with_variable("CREDENTIALS_DIRECTORY", "/run/c").loaded();
    let IceServer::Turn(turn) = &loaded.config.rtc.ice.servers[1] else { panic!("a TURN server") };
    let TurnCredential::Static { username, password } = &turn.credential else { panic!("a fixed credential") };
    assert_eq!((username.as_str(), password.expose()), ("u", "second"));
}

#[test]
fn a_secret_that_cannot_be_had_is_a_problem_with_its_remedy() {
    let read = machine(&[
        ("/etc/rtcpub/unreadable", "unreadable", false),
        ("/etc/rtcpub/empty", "\n", false),
        ("/etc/rtcpub/lines", "hunter2\nhunter3\n", false),
        ("/run/c/server.token", "unreadable", false),
    ]);
    let rows = [
        ("token_file = \"missing\"", "server.token_file = \"missing\": there is no such file"),
        ("token_file = \"unreadable\"", "server.token_file = \"unreadable\": cannot be read (permission denied)"),
        ("token_file = \"empty\"", "server.token_file = \"empty\": must hold the secret and nothing else"),
        ("token_file = \"lines\"", "server.token_file = \"lines\": must hold the secret and nothing else"),
        ("token_file = \"\"", "server.token_file = \"\": must be a path"),
        ("token = \"\"", "server.token = \"[redacted]\": must be one line of text"),
        ("token = \"a\"\ntoken_file = \"empty\"", "server.token_file = \"empty\": server.token is given as well"),
        ("", "server.token: systemd credential /run/c/server.token: cannot be read (permission denied)"),
    ];
    for (file, expected) in rows {
        let case = Case { read: &read, ..Case::of(format!("{LEAST}{file}\n")) };
        let problems = case.with_variable("CREDENTIALS_DIRECTORY", "/run/c").problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(expected), "expected: {expected}\nfound: {}", problems[0]);
        assert!(!problems[0].contains("hunter"), "{}", problems[0]);
    }
}

#[test]
fn a_secret_that_everyone_can_read_is_a_warning() {
    let read = machine(&[("/etc/rtcpub/hub.token", "secret", true)]);
    let case = Case { read: &read, ..Case::of(format!("{LEAST}{TOKEN_FILE}")) };
    let warnings = case.loaded().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].to_string().contains("server.token_file: every user can read /etc/rtcpub/hub.token: chmod o-r")
    );

    for (file, warned) in [("token = \"a\"\n", 1), ("", 0)] {
        let case = Case { world_readable: true, ..Case::of(format!("{LEAST}{file}")) };
        assert_eq!(case.loaded().warnings.len(), warned, "{file}");
    }
}
