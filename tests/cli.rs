//! The binary as its users meet it: exit codes, what is said where, and what is never said.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of channel files and the binary that reads them.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn with(self, name: &str, text: &str) -> Self {
        let path = self.path(name);
        std::fs::write(&path, text).expect("the folder is ours");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("the file is ours");
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rtcpub"));
        command.args(arguments).env_clear().env("RTCPUB_CONFIG_DIR", self.folder.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(arguments))
    }
}

struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    fn of(mut command: Command) -> Self {
        let Output { status, stdout, stderr } = command.output().expect("the binary starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is text");
        Self { code: status.code(), out: text(stdout), err: text(stderr) }
    }
}

const CHANNEL: &str = "c40hipepjh65aeq6ndj0";
const FILE: &str = "c40hipepjh65aeq6ndj0.toml";
const RIGHT: &str = "[server]\nurl = \"wss://localhost\"\ntoken = \"hunter2\"\n";

#[test]
fn a_right_configuration_is_explained_and_ends_in_0() {
    let machine = Machine::new().with(FILE, RIGHT);
    let ended = machine.run(&["check", CHANNEL]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    for part in [
        "Publishes channel c40hipepjh65aeq6ndj0 to wss://localhost:8267",
        "Shows the server a token",
        "localhost is ",
        "a moving test pattern",
        "Stops when no command has come for 500 ms",
        "The configuration is right.",
    ] {
        assert!(ended.out.contains(part), "{part}\n{}", ended.out);
    }
    assert!(!ended.out.contains("hunter2"));
}

#[test]
fn a_wrong_configuration_ends_every_command_that_reads_it_in_78_with_every_problem() {
    let wrong = "[server]\nurl = \"https://x\"\n[camera]\nwidht = 1\nheight = \"480\"\n";
    let machine = Machine::new().with(FILE, wrong);
    for command in ["check", "print-config", "run"] {
        let ended = machine.run(&[command, CHANNEL, "--set", "camera.framerate=0"]);
        assert_eq!((ended.code, ended.out.as_str()), (Some(78), ""), "{command}");
        let path = machine.path(FILE).display().to_string();
        let expected = [
            format!("rtcpub: {path}:2:1: server.url = \"https://x\": must be wss://HOST"),
            format!("rtcpub: {path}:4:1: camera.widht = 1: unknown key; did you mean camera.width?"),
            format!("rtcpub: {path}:5:1: camera.height = \"480\": must be an integer, not a string"),
            "rtcpub: flag --set: camera.framerate = 0: must be an integer from 1 to 240".to_owned(),
        ];
        let lines: Vec<_> = ended.err.lines().collect();
        assert_eq!(lines.len(), expected.len(), "{command}\n{}", ended.err);
        for (line, start) in lines.iter().zip(&expected) {
            assert!(line.starts_with(start), "expected: {start}\nfound: {line}");
        }
    }
}

#[test]
fn a_channel_without_a_file_ends_in_78_and_names_the_file() {
    let machine = Machine::new();
    let ended = machine.run(&["run", CHANNEL]);
    assert_eq!(ended.code, Some(78));
    assert_eq!(
        ended.err,
        format!(
            "rtcpub: {}: there is no such file: copy config/example.toml there and edit it\n",
            machine.path(FILE).display()
        )
    );
}

#[test]
fn a_folder_in_place_of_a_file_ends_in_78() {
    let ended = Machine::new().run(&["check", "--config", "/"]);
    assert_eq!(ended.code, Some(78));
    assert!(ended.err.starts_with("rtcpub: /: cannot be read ("), "{}", ended.err);
}

#[test]
fn a_command_line_that_makes_no_sense_ends_in_2() {
    for arguments in [&["run"][..], &["fly"], &["run", "a", "--token", "x"], &["check", "../a"], &[]] {
        let ended = Machine::new().run(arguments);
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{arguments:?}");
    }
}

#[test]
fn print_config_shows_where_each_value_comes_from_and_no_secret() {
    let machine = Machine::new().with("turn.secret", "hunter3\n").with(
        FILE,
        &format!("{RIGHT}[ice]\nhost = \"turn.example\"\nusername = \"joe\"\ncredential_file = \"turn.secret\"\n"),
    );
    let mut command = machine.command(&["print-config", CHANNEL, "--set", "camera.width=800", "--log-level", "debug"]);
    command.env("RTCPUB__CAMERA__HEIGHT", "600").env("RTCPUB__SERVER__TOKEN", "hunter4");
    let ended = Ended::of(command);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    let line = |start: &str| {
        let line = ended.out.lines().find(|line| line.starts_with(start));
        line.unwrap_or_else(|| panic!("{start}\n{}", ended.out)).split("  #").map(str::trim).collect::<Vec<_>>()
    };
    let path = machine.path(FILE).display().to_string();
    assert_eq!(line("channel ="), ["channel = \"c40hipepjh65aeq6ndj0\"", "from the file's name"]);
    assert_eq!(line("level ="), ["level = \"debug\"", "flag --log-level"]);
    assert_eq!(line("token ="), ["token = \"[redacted]\"", "environment variable RTCPUB__SERVER__TOKEN"]);
    assert_eq!(line("width ="), ["width = 800", "flag --set"]);
    assert_eq!(line("height ="), ["height = 600", "environment variable RTCPUB__CAMERA__HEIGHT"]);
    assert_eq!(line("framerate ="), ["framerate = 30", "default"]);
    assert_eq!(line("host ="), ["host = \"turn.example\"", &format!("{path}:5:1")]);
    assert_eq!(line("credential ="), ["credential = \"[redacted]\"", &format!("{path}:7:1")]);
    assert_eq!(line("# pipeline ="), ["# pipeline =", "unset"]);
    assert!(!ended.out.contains("hunter"), "{}", ended.out);
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    let machine = Machine::new().with(FILE, RIGHT);
    let ended = machine.run(&["run", CHANNEL, "--set", "ice.credential=hunter2"]);
    assert_eq!(ended.code, Some(78));
    assert!(ended.err.contains("ice.credential = [redacted]: every user can read a command line"), "{}", ended.err);
    assert!(!ended.err.contains("hunter"), "{}", ended.err);
}

#[test]
fn a_file_with_a_secret_that_everyone_can_read_is_a_warning() {
    let machine = Machine::new().with(FILE, RIGHT);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(machine.path(FILE), mode).expect("the file is ours");
    let ended = machine.run(&["check", CHANNEL]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.out.contains("server.token: every user can read this file and the secret in it"), "{}", ended.out);
}

#[test]
fn a_host_that_does_not_resolve_is_shown_with_its_remedy() {
    let machine = Machine::new().with(FILE, "[server]\nurl = \"wss://nowhere.invalid\"\n");
    let ended = machine.run(&["check", CHANNEL]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.out.contains("nowhere.invalid does not resolve ("), "{}", ended.out);
    assert!(ended.out.contains("cannot be reached by name from here"), "{}", ended.out);
}

#[test]
fn a_ca_file_that_is_not_there_is_no_right_configuration() {
    let machine = Machine::new().with(FILE, &format!("{RIGHT}[tls]\nca_file = \"/nowhere/ca.pem\"\n"));
    let ended = machine.run(&["check", CHANNEL]);
    assert_eq!((ended.code, ended.out.as_str()), (Some(78), ""));
    assert!(ended.err.contains("tls.ca_file = \"/nowhere/ca.pem\": cannot be read"), "{}", ended.err);
}

#[test]
fn a_token_file_of_the_hub_that_is_not_there_is_told_with_its_flag_and_ends_in_71() {
    let machine = Machine::new();
    let state = machine.folder.path().display().to_string();
    for flag in ["--pub-token-file", "--sub-token-file"] {
        let ended = machine.run(&["hub", "--state-dir", &state, flag, "/nowhere/token"]);
        assert_eq!(ended.code, Some(71));
        assert!(
            ended.err.starts_with(&format!("rtcpub: {flag} /nowhere/token: there is no such file")),
            "{}",
            ended.err
        );
    }
}

#[test]
fn the_example_in_this_repository_is_right() {
    let ended = Machine::new().run(&["check", "--config", "config/example.toml"]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
}

#[test]
fn completions_and_manual_are_printed() {
    let machine = Machine::new();
    for shell in ["bash", "zsh", "fish"] {
        let ended = machine.run(&["completions", shell]);
        assert_eq!(ended.code, Some(0));
        assert!(ended.out.contains("print-config"), "{shell}");
    }
    let ended = machine.run(&["man"]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.out.contains(".SH \"EXIT STATUS\""), "{}", ended.out);
    let pages = machine.path("man1");
    let ended = machine.run(&["man", "--dir", &pages.display().to_string()]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    for page in ["rtcpub.1", "rtcpub-run.1", "rtcpub-print-config.1"] {
        assert!(std::fs::read_to_string(pages.join(page)).is_ok_and(|text| text.contains(".SH NAME")), "{page}");
    }
    let ended = machine.run(&["man", "--dir", "/proc/nowhere"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.starts_with("rtcpub: cannot write manual pages to /proc/nowhere: "), "{}", ended.err);
    assert_eq!(ended.err.lines().count(), 1);
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    let machine = Machine::new();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = machine.command(&["man"]);
    let status = command.stdout(writer).status().expect("the binary starts");
    assert_eq!(status.code(), Some(0));
    let mut command = machine.command(&["man"]);
    let full = std::fs::File::options().write(true).open(Path::new("/dev/full")).expect("Linux has it");
    let output = command.stdout(full).output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(1), "a full disk is one");
}
