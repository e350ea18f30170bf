//! The daemon as its operators meet it: the binary, its channel file, its log and its sockets.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use rtcpub::signal::tls::hex;
use rtcpub::status::document::Document;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::{TestHub, within};

pub const CHANNEL: &str = "c40hipepjh65aeq6ndj0";

/// A small picture, so that machines with other things to do keep up.
pub const SMALL: &str = "[camera]\nwidth = 160\nheight = 120\nframerate = 15\n";

pub struct Daemon {
    child: Child,
    folder: tempfile::TempDir,
    log: Arc<Log>,
    reading: JoinHandle<()>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Notify,
}

/// `[server]` for a hub.
pub fn server(hub: &TestHub) -> String {
    format!("[server]\nurl = \"wss://{}\"\n[tls]\npin_sha256 = \"{}\"\n", hub.secure, hex(&hub.pin))
}

impl Daemon {
    /// Runs the channel with this file.
    pub fn start(file: &str, arguments: &[&str]) -> Self {
        Self::start_with(file, arguments, &[])
    }

    /// As [`Daemon::start`], with these environment variables.
    pub fn start_with(file: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join(format!("{CHANNEL}.toml"));
        write_private(&config, file);
        let mut command = Command::new(env!("CARGO_BIN_EXE_rtcpub"));
        command
            .args(["run", CHANNEL])
            .args(arguments)
            .env("RTCPUB_CONFIG_DIR", folder.path())
            .env("RUNTIME_DIRECTORY", folder.path())
            .env("STATE_DIRECTORY", folder.path())
            .env_remove("RUST_LOG")
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("the binary starts");
        let log = Arc::new(Log::default());
        let stderr = child.stderr.take().expect("it is piped");
        let reading = tokio::spawn(read(stderr, Arc::clone(&log)));
        Self { child, folder, log, reading }
    }

    pub fn write_file(&self, text: &str) {
        write_private(&self.folder.path().join(format!("{CHANNEL}.toml")), text);
    }

    pub fn runtime_folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(format!("{CHANNEL}.status.sock"))
    }

    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.id() as i32).expect("a process");
        kill_process(id, signal).expect("it is ours");
    }

    /// Lines logged so far.
    pub fn lines(&self) -> Vec<String> {
        self.log.lines.lock().expect("no panic").clone()
    }

    /// Waits for a line after the first `skip` ones that holds `what`; returns how many lines there are up to it.
    pub async fn logs(&self, what: &str, skip: usize) -> usize {
        within(what, async {
            loop {
                let grown = self.log.grown.notified();
                tokio::pin!(grown);
                grown.as_mut().enable();
                let found = self.lines().iter().skip(skip).position(|line| line.contains(what));
                if let Some(index) = found {
                    return skip + index + 1;
                }
                grown.await;
            }
        })
        .await
    }

    pub async fn status(&self) -> Document {
        let socket = self.socket();
        let asked = tokio::task::spawn_blocking(move || rtcpub::status::ask::ask(&socket)).await;
        asked.expect("no panic").expect("it answers").1
    }

    /// Ends it by SIGTERM; returns its exit code and all it has logged.
    pub async fn stop(self) -> (Option<i32>, Vec<String>) {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Waits for its end; returns its exit code and all it has logged.
    pub async fn ended(mut self) -> (Option<i32>, Vec<String>) {
        let status = within("the end", self.child.wait()).await.expect("it is ours");
        within("the end of the log", self.reading).await.expect("no panic");
        let lines = self.log.lines.lock().expect("no panic").clone();
        (status.code(), lines)
    }
}

async fn read(stderr: tokio::process::ChildStderr, log: Arc<Log>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if std::env::var_os("RTCPUB_SHOW_LOG").is_some() {
            eprintln!("{line}");
        }
        log.lines.lock().expect("no panic").push(line);
        log.grown.notify_waiters();
    }
}

fn write_private(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).expect("the folder is ours");
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("the file is ours");
}
