//! The program as processes, as its users start it: `rtcpub run` with its channel file, `rtcpub hub`, `rtcpub park`.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{lab, within};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_rtcpub");

/// The channel of every daemon here.
pub const CHANNEL: &str = "c40hipepjh65aeq6ndj0";

/// The car of `shared/reference/vehicle.md` on the lab's board. Small pictures: the lab has one processor.
const CAR: &str = r#"
[camera]
width = 320
height = 240
framerate = 10

[encoder]
bitrate_kbps = 200

[drive.calibration]
throttle_zero = 375
forward_zero = 399
throttle_min = 300
throttle_max = 440
steering_zero = 399
steering_min = 319
steering_max = 479
throttle_steps = 20
steering_steps = 20
"#;

/// A channel file in a folder of its own, which also holds the car's state and its bridge.
pub struct ChannelFile {
    folder: tempfile::TempDir,
}

impl ChannelFile {
    /// For a publisher of this hub.
    pub fn for_hub(hub: &Hub) -> Self {
        Self::for_server(hub.secure, &hub.pin)
    }

    /// For a publisher of this pub server.
    pub fn for_server(address: SocketAddr, pin: &str) -> Self {
        let file = Self::with("");
        let at = |name: &str| file.beside(name).display().to_string();
        file.write(&format!(
            "[server]\nurl = \"wss://{address}\"\n[tls]\npin_sha256 = \"{pin}\"\n{CAR}\
             [drive.max_speed]\nstate_file = \"{}\"\n[drive.pca9685]\nbus = \"{}\"\narming_ms = 0\n",
            at("max-speed.json"),
            lab::BUS
        ));
        file
    }

    /// With this in it.
    pub fn with(text: &str) -> Self {
        let file = Self { folder: tempfile::tempdir().expect("a folder") };
        file.write(text);
        file
    }

    /// Writes it anew. It may hold secrets, so nobody else can read it.
    pub fn write(&self, text: &str) {
        std::fs::write(self.path(), text).expect("the folder is ours");
        std::fs::set_permissions(self.path(), Permissions::from_mode(0o600)).expect("the file is ours");
    }

    /// Writes more into it.
    pub fn append(&self, text: &str) {
        let before = std::fs::read_to_string(self.path()).expect("it is there");
        self.write(&(before + text));
    }

    fn path(&self) -> PathBuf {
        self.beside(&format!("{CHANNEL}.toml"))
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path beside it.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What makes the bridge the car's actuator.
    pub fn bridge(&self) -> [String; 2] {
        ["drive.actuator=bridge".to_owned(), format!("bridge.socket={}", self.bridge_socket().display())]
    }

    pub fn bridge_socket(&self) -> PathBuf {
        self.beside("car.sock")
    }

    /// A command on this channel.
    pub fn command(&self, name: &str, settings: &[&str]) -> Command {
        self.command_by(Command::new(PROGRAM), name, settings)
    }

    /// The same by another program, which runs ours.
    pub fn command_by(&self, mut command: Command, name: &str, settings: &[&str]) -> Command {
        command.args([name, CHANNEL]).env_remove("RUST_LOG").stdin(Stdio::null());
        for folder in [rtcpub::cli::CONFIG_DIR_VARIABLE, "RUNTIME_DIRECTORY", "STATE_DIRECTORY"] {
            command.env(folder, self.folder.path());
        }
        command.args(settings.iter().flat_map(|setting| ["--set", setting])).kill_on_drop(true);
        command
    }

    /// Runs `rtcpub park`.
    pub async fn park(&self, settings: &[&str]) -> Output {
        within("park", self.command("park", settings).output()).await.expect("the binary starts")
    }
}

/// `rtcpub run`; killed when dropped.
pub struct Daemon {
    pub process: Process,
}

impl Daemon {
    /// Starts it, with these settings above its file.
    pub fn start(file: &ChannelFile, settings: &[&str]) -> Self {
        Self::start_with(file, settings, |_| {})
    }

    /// Starts it by a command that is adjusted first.
    pub fn start_with(file: &ChannelFile, settings: &[&str], adjust: impl FnOnce(&mut Command)) -> Self {
        let mut command = file.command("run", settings);
        command.args(["--log-level", "debug"]);
        adjust(&mut command);
        Self { process: Process::start(command) }
    }

    /// Waits until its picture goes out.
    pub async fn publishes(&mut self) {
        self.process.says("publishing").await;
    }
}

/// `rtcpub hub` on ports of the system's choice; killed when dropped.
pub struct Hub {
    pub secure: SocketAddr,
    pub plain: SocketAddr,
    pub pin: String,
    pub process: Process,
    _state: tempfile::TempDir,
}

impl Hub {
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1", &[]).await
    }

    /// Listens at this address of the machine, and starts with these arguments.
    pub async fn start_at(address: &str, arguments: &[&str]) -> Self {
        let state = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(PROGRAM);
        let any_port = format!("{address}:0");
        command.args(["hub", "--listen-https", &any_port, "--listen-http", &any_port]).args(arguments);
        command.arg("--state-dir").arg(state.path()).kill_on_drop(true);
        let mut process = Process::start(command);
        let announced = process.says("hub: page at ").await;
        let after = |mark: &str| {
            let rest = announced.text.split(mark).nth(1).unwrap_or_else(|| panic!("{mark} in {}", announced.text));
            rest.split([' ', ',', '"']).next().expect("split gives one").to_owned()
        };
        let address = |mark: &str| after(mark).parse().expect("an address");
        let (plain, secure, pin) = (address("http://"), address("https://"), after("tls.pin_sha256=\""));
        Self { secure, plain, pin, process, _state: state }
    }

    pub fn page(&self) -> String {
        format!("http://{}/", self.plain)
    }
}

/// A line of a log, with the moment at which it was read.
#[derive(Clone, Debug)]
pub struct Line {
    pub at: Instant,
    pub text: String,
}

impl Line {
    /// When its process wrote it, by the time the line begins with: on a busy machine it is read later.
    pub fn written(&self) -> Instant {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let time = self.text.split(['T', 'Z']).nth(1).expect("a line begins with its date and time");
        let [hours, minutes, seconds] = [0, 1, 2].map(|part| {
            let part = time.split(':').nth(part).and_then(|part| part.parse::<f64>().ok());
            Duration::from_secs_f64(part.expect("hours, minutes and seconds"))
        });
        let written = hours * 3600 + minutes * 60 + seconds;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set").as_secs_f64();
        let now_of_day = Duration::from_secs_f64(now % DAY.as_secs_f64());
        let ago = now_of_day.checked_sub(written).unwrap_or_else(|| now_of_day + DAY - written);
        Instant::now().checked_sub(ago).expect("this machine ran then")
    }
}

/// A process whose log is read.
pub struct Process {
    child: Child,
    log: watch::Receiver<Vec<Line>>,
    reader: Option<JoinHandle<()>>,
}

/// How a process ended.
#[derive(Debug)]
pub struct Exited {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub log: Vec<Line>,
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let (lines, log) = watch::channel(Vec::new());
        let reader = tokio::spawn(read(child.stderr.take().expect("it is piped"), lines));
        Self { child, log, reader: Some(reader) }
    }

    pub fn id(&self) -> u32 {
        self.child.id().expect("it has not been waited for")
    }

    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw).expect("a process has a number");
        kill_process(id, signal).expect("it runs");
    }

    /// Stops it by SIGSTOP; none of its threads runs when this is over, which takes longer than to send the signal.
    pub async fn freezes(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.id());
        let stands = |stat: String| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'));
        let all_stand = || {
            let threads = std::fs::read_dir(&tasks).expect("it is there").flatten();
            threads.flat_map(|thread| std::fs::read_to_string(thread.path().join("stat"))).all(stands)
        };
        let frozen = async {
            while !all_stand() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within("the stop of all threads", frozen).await;
    }

    /// Waits for the first line of its log with this in it.
    pub async fn says(&mut self, part: &str) -> Line {
        let said = within(part, self.log.wait_for(|lines| find(lines, part).is_some())).await;
        let line = said.map(|lines| find(&lines, part).cloned()).unwrap_or_else(|_| {
            panic!("the log ended without {part:?}:\n{}", text(&self.log.borrow()));
        });
        line.expect("it was there a moment ago")
    }

    /// Waits for a line after the first `skip` ones with this in it; returns how many lines there are up to it.
    pub async fn says_after(&self, part: &str, skip: usize) -> usize {
        let place = |lines: &[Line]| lines.iter().skip(skip).position(|line| line.text.contains(part));
        let mut log = self.log.clone();
        let said = within(part, log.wait_for(|lines| place(lines).is_some())).await;
        let lines = said.unwrap_or_else(|_| panic!("the log ended without {part:?}"));
        skip + place(&lines).expect("it was there a moment ago") + 1
    }

    /// What it has logged until now.
    pub fn log(&self) -> Vec<Line> {
        self.log.borrow().clone()
    }

    /// Waits until it has ended by itself.
    pub async fn exited(&mut self) -> Exited {
        let status = within("the end of the process", self.child.wait()).await.expect("it is ours");
        if let Some(reader) = self.reader.take() {
            within("the end of its log", reader).await.expect("reading does not panic");
        }
        Exited { code: status.code(), log: self.log() }
    }
}

impl Exited {
    /// The first line with this in it.
    pub fn said(&self, part: &str) -> &Line {
        find(&self.log, part).unwrap_or_else(|| panic!("{part:?} is not in\n{}", text(&self.log)))
    }

    pub fn text(&self) -> String {
        text(&self.log)
    }
}

impl Drop for Process {
    /// Who looks for the reason of a failure wants the log.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of a process:\n{}", text(&self.log.borrow()));
        }
    }
}

async fn read(stderr: ChildStderr, log: watch::Sender<Vec<Line>>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(text)) = lines.next_line().await {
        if std::env::var_os("RTCPUB_SHOW_LOG").is_some() {
            eprintln!("{text}");
        }
        log.send_modify(|log| log.push(Line { at: Instant::now(), text }));
    }
}

fn find<'l>(lines: &'l [Line], part: &str) -> Option<&'l Line> {
    lines.iter().find(|line| line.text.contains(part))
}

fn text(lines: &[Line]) -> String {
    lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n")
}

/// Makes a FIFO.
pub fn fifo(path: &Path) {
    let status = std::process::Command::new("mkfifo").arg(path).status().expect("coreutils");
    assert!(status.success(), "{}", path.display());
}
