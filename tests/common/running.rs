//! The daemon as its operators meet it: its channel file, its log and its sockets.

use std::path::{Path, PathBuf};

use rtcpub::signal::tls::hex;
use rtcpub::status::document::Document;
use rustix::process::Signal;
use tokio::process::Command;

use super::TestHub;
use super::daemon::{ChannelFile, Exited, PROGRAM, Process};

pub use super::daemon::CHANNEL;

/// A small picture, so that machines with other things to do keep up.
pub const SMALL: &str = "[camera]\nwidth = 160\nheight = 120\nframerate = 15\n";

pub struct Daemon {
    process: Process,
    file: ChannelFile,
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
        let mut command = Command::new(PROGRAM);
        command.envs(environment.iter().copied());
        Self::start_by(command, file, arguments)
    }

    /// As [`Daemon::start`], by another program, which runs ours.
    pub fn start_by(program: Command, file: &str, arguments: &[&str]) -> Self {
        let file = ChannelFile::with(file);
        let mut command = file.command_by(program, "run", &[]);
        command.args(arguments);
        Self { process: Process::start(command), file }
    }

    pub fn write_file(&self, text: &str) {
        self.file.write(text);
    }

    pub fn runtime_folder(&self) -> &Path {
        self.file.folder()
    }

    pub fn socket(&self) -> PathBuf {
        self.file.beside(&format!("{CHANNEL}.status.sock"))
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Lines logged so far.
    pub fn lines(&self) -> Vec<String> {
        self.process.log().into_iter().map(|line| line.text).collect()
    }

    /// Waits for a line after the first `skip` ones that holds `what`; returns how many lines there are up to it.
    pub async fn logs(&self, what: &str, skip: usize) -> usize {
        self.process.says_after(what, skip).await
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
        let Exited { code, log } = self.process.exited().await;
        (code, log.into_iter().map(|line| line.text).collect())
    }
}
