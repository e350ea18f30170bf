//! The command line: its grammar and its help. What is generated from them is in [`generate`].

pub mod generate;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::Setting;
use crate::logging::LogFilter;
use crate::signal::settings::ChannelId;
use crate::status::ask::sockets;
use crate::status::settings::{RUNTIME_FOLDER, socket_path};

/// Where channel files lie, unless `RTCPUB_CONFIG_DIR` says otherwise.
pub const CONFIG_DIR: &str = "/etc/rtcpub";

/// The environment variable that names another folder of channel files.
pub const CONFIG_DIR_VARIABLE: &str = "RTCPUB_CONFIG_DIR";

/// Publishes a robot car's camera over WebRTC and drives the car, safely, from far away
#[derive(Debug, Parser)]
#[command(name = "rtcpub", version, after_help = ROOT_EXAMPLES, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Publish a channel until SIGTERM or SIGINT
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Show a live picture and a simulated car in a browser: a hub and a publisher in one process, on this machine only
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(DemoArgs),
    /// Serve channels and the viewer page on your own network, without a cloud
    #[command(after_help = HUB_EXAMPLES)]
    Hub(HubArgs),
    /// Ask running daemons how they are
    #[command(after_help = STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Explain a channel's configuration, resolve its hosts, and tell what is wrong or unwise
    #[command(after_help = CHECK_EXAMPLES)]
    Check(ChannelArgs),
    /// Try what a channel's file names: the pub server, STUN and TURN, a line each, with the remedy for what fails
    #[command(after_help = PROBE_EXAMPLES)]
    Probe(ChannelArgs),
    /// Print every effective value and where it comes from, secrets redacted
    #[command(after_help = PRINT_EXAMPLES)]
    PrintConfig(ChannelArgs),
    /// List this machine's cameras with their modes and controls, encoders, I2C buses and GPIO chips
    #[command(after_help = DEVICES_EXAMPLES)]
    Devices {
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Take one picture with a channel's camera
    #[command(after_help = SNAPSHOT_EXAMPLES)]
    Snapshot {
        /// The file to write, a JPEG
        #[arg(value_name = "FILE.jpg")]
        file: PathBuf,
        /// A camera beside the first, by its name
        #[arg(long, value_name = "NAME")]
        camera: Option<String>,
        /// Whose camera
        #[command(flatten)]
        channel: ChannelArgs,
    },
    /// Put every output of a channel's car to neutral, whatever state the daemon is in
    #[command(after_help = PARK_EXAMPLES)]
    Park(ChannelArgs),
    /// Find the pulses of a channel's car by hand and write them to its file
    #[command(after_help = CALIBRATE_EXAMPLES)]
    Calibrate(ChannelArgs),
    /// Make channel files out of an old calib_param.json
    #[command(after_help = IMPORT_EXAMPLES)]
    ImportCalibration(ImportArgs),
    /// Print the completions for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    #[command(after_help = MAN_EXAMPLES)]
    Man {
        /// Write one page for each command into this folder instead
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// How to publish a channel.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// The channel.
    #[command(flatten)]
    pub channel: ChannelArgs,
    /// Log once a telemetry period how long pictures take, from capture through encoder and packets to the network
    #[arg(long)]
    pub trace_latency: bool,
}

/// Which channel, and what to set above its file.
#[derive(Args, Clone, Debug)]
pub struct ChannelArgs {
    /// The channel's id: its file is /etc/rtcpub/CHANNEL.toml ($RTCPUB_CONFIG_DIR/CHANNEL.toml)
    #[arg(value_name = "CHANNEL", value_parser = parse_channel, required_unless_present = "config")]
    channel: Option<String>,
    /// The channel's file
    #[arg(long, value_name = "FILE", conflicts_with = "channel")]
    config: Option<PathBuf>,
    /// Set a key above file and environment, such as camera.framerate=60 (secrets are refused: a process list shows them)
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_setting)]
    settings: Vec<Setting>,
    /// What to log: error, warn, info, debug, trace, or directives (same as --set log.level=…)
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// The pub server (same as --set server.url=…)
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Drive a simulated car in place of the configured one (same as --set drive.actuator=simulated)
    #[arg(long)]
    simulate: bool,
}

impl ChannelArgs {
    /// The channel's file, given the folder of channel files.
    pub fn file(&self, config_dir: &Path) -> PathBuf {
        match (&self.config, &self.channel) {
            (Some(file), _) => file.clone(),
            (None, channel) => config_dir.join(format!("{}.toml", channel.as_deref().unwrap_or_default())),
        }
    }

    /// What the flags set, the convenient ones below `--set`.
    pub fn settings(&self) -> Vec<Setting> {
        let convenient = [
            flag("--log-level", "log.level", self.log_level.clone()),
            flag("--server", "server.url", self.server.clone()),
            flag("--simulate", "drive.actuator", self.simulate.then(|| "simulated".to_owned())),
        ];
        convenient.into_iter().flatten().chain(self.settings.clone()).collect()
    }
}

/// Whom to ask, and how to show it.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// The channel's id; without it, every channel that runs here
    #[arg(value_name = "CHANNEL", value_parser = parse_id)]
    channel: Option<ChannelId>,
    /// The daemon's status socket [default: $RUNTIME_DIRECTORY/CHANNEL.status.sock, else /run/rtcpub/CHANNEL.status.sock]
    #[arg(long, value_name = "FILE", conflicts_with = "channel")]
    socket: Option<PathBuf>,
    /// One JSON document a line
    #[arg(long)]
    pub json: bool,
    /// Ask again every second
    #[arg(long)]
    pub watch: bool,
}

impl StatusArgs {
    /// The sockets to ask at. `variable` looks up the environment.
    pub fn sockets(&self, variable: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
        let folders = variable("RUNTIME_DIRECTORY").filter(|folders| !folders.as_os_str().is_empty());
        let folder = folders.and_then(|folders| std::env::split_paths(&folders).next());
        match (&self.socket, &self.channel) {
            (Some(socket), _) => vec![socket.clone()],
            (None, Some(channel)) => vec![socket_path(folder, channel)],
            (None, None) => sockets(&folder.unwrap_or_else(|| RUNTIME_FOLDER.into())),
        }
    }
}

/// Options of the demo.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Address of the viewer page
    #[arg(long, value_name = "ADDRESS", default_value_t = HTTP)]
    pub http: SocketAddr,
    /// Address of the hub's WebSocket
    #[arg(long, value_name = "ADDRESS", default_value_t = HTTPS)]
    pub https: SocketAddr,
    /// Only print the address to open
    #[arg(long)]
    pub no_browser: bool,
    /// Width of the picture in pixels
    #[arg(long, value_name = "PIXELS")]
    width: Option<String>,
    /// Height of the picture in pixels
    #[arg(long, value_name = "PIXELS")]
    height: Option<String>,
    /// Frames a second
    #[arg(long, value_name = "FPS")]
    framerate: Option<String>,
    /// Bit rate of the picture in kbit/s
    #[arg(long, value_name = "KBPS")]
    bitrate_kbps: Option<String>,
    /// What to log: error, warn, info, debug, trace, or directives
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = LogFilter::parse)]
    pub log_level: LogFilter,
}

impl DemoArgs {
    /// What the flags set; range and type are judged with the rest of the configuration.
    pub fn settings(&self) -> Vec<Setting> {
        let given = [
            flag("--width", "camera.width", self.width.clone()),
            flag("--height", "camera.height", self.height.clone()),
            flag("--framerate", "camera.framerate", self.framerate.clone()),
            flag("--bitrate-kbps", "encoder.bitrate_kbps", self.bitrate_kbps.clone()),
        ];
        given.into_iter().flatten().collect()
    }
}

/// Options of the hub.
#[derive(Args, Clone, Debug)]
pub struct HubArgs {
    /// Address of the WebSocket for publishers and viewers; this machine only unless you say otherwise
    #[arg(long, value_name = "ADDRESS", default_value_t = HTTPS)]
    pub listen_https: SocketAddr,
    /// Address of the viewer page; this machine only unless you say otherwise
    #[arg(long, value_name = "ADDRESS", default_value_t = HTTP)]
    pub listen_http: SocketAddr,
    /// Folder in which the certificate is kept [default: $STATE_DIRECTORY, else $XDG_STATE_HOME/rtcpub, else
    /// ~/.local/state/rtcpub]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Name by which browsers may open the viewer page, beside addresses and this machine's own name; may be repeated
    #[arg(long = "allow-host", value_name = "NAME")]
    pub allowed_hosts: Vec<String>,
    /// File with the token that publishers must show
    #[arg(long, value_name = "FILE")]
    pub pub_token_file: Option<PathBuf>,
    /// File with the token that viewers must show
    #[arg(long, value_name = "FILE")]
    pub sub_token_file: Option<PathBuf>,
    /// What to log: error, warn, info, debug, trace, or directives
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = LogFilter::parse)]
    pub log_level: LogFilter,
}

impl HubArgs {
    /// The folder in which the certificate is kept. `variable` looks up the environment; `None` when neither the
    /// command line nor the environment names a folder.
    pub fn state_dir(&self, variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
        let set = |name: &str| variable(name).filter(|path| !path.as_os_str().is_empty());
        let systemd = || set("STATE_DIRECTORY").and_then(|folders| std::env::split_paths(&folders).next());
        let xdg = || set("XDG_STATE_HOME").map(|folder| folder.join("rtcpub"));
        let home = || set("HOME").map(|folder| folder.join(".local/state/rtcpub"));
        self.state_dir.clone().or_else(systemd).or_else(xdg).or_else(home)
    }
}

/// Which old file, and where its channel files go.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// The old file with all cars
    pub file: PathBuf,
    /// Folder in which channel files are made [default: /etc/rtcpub, or $RTCPUB_CONFIG_DIR]
    #[arg(long, value_name = "DIR")]
    pub into: Option<PathBuf>,
    /// Replace the calibration of channel files that are there already, and keep the rest of them
    #[arg(long)]
    pub force: bool,
}

const HTTPS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8267);
const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

fn flag(flag: &str, key: &str, value: Option<String>) -> Option<Setting> {
    Some(Setting { flag: flag.to_owned(), key: key.to_owned(), value: value? })
}

fn parse_setting(text: &str) -> Result<Setting, String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE, such as camera.framerate=60")?;
    Ok(Setting { flag: "--set".to_owned(), key: key.trim().to_owned(), value: value.to_owned() })
}

fn parse_id(text: &str) -> Result<ChannelId, String> {
    ChannelId::new(text).ok_or_else(|| "must be a channel's id".to_owned())
}

/// The id becomes the name of a file.
fn parse_channel(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && !text.contains(['/', '\0']) && text != "." && text != "..";
    is_name
        .then(|| text.to_owned())
        .ok_or_else(|| "must be a channel's id; for the path of a file use --config".to_owned())
}

const ROOT_EXAMPLES: &str = "\
Examples:
  rtcpub demo                          a picture and a simulated car in the browser, nothing to configure
  rtcpub check c40hipepjh65aeq6ndj0    is /etc/rtcpub/c40hipepjh65aeq6ndj0.toml right, and what would it do?
  rtcpub run c40hipepjh65aeq6ndj0      publish it";

const RUN_EXAMPLES: &str = "\
Examples:
  rtcpub run c40hipepjh65aeq6ndj0
  rtcpub run --config car.toml --simulate --log-level debug
  rtcpub run --config car.toml --set camera.framerate=60 --set encoder.bitrate_kbps=1500";

const STATUS_EXAMPLES: &str = "\
Examples:
  rtcpub status
  rtcpub status c40hipepjh65aeq6ndj0 --watch
  rtcpub status --json | jq .drive.state";

const DEMO_EXAMPLES: &str = "\
Examples:
  rtcpub demo
  rtcpub demo --width 1280 --height 720 --bitrate-kbps 1500 --no-browser";

const HUB_EXAMPLES: &str = "\
Examples:
  rtcpub hub
  rtcpub hub --listen-https 0.0.0.0:8267 --listen-http 0.0.0.0:8080 --pub-token-file /etc/rtcpub/pub.token";

const CHECK_EXAMPLES: &str = "\
Examples:
  rtcpub check c40hipepjh65aeq6ndj0
  rtcpub check --config config/example.toml";

const PROBE_EXAMPLES: &str = "\
Examples:
  rtcpub probe c40hipepjh65aeq6ndj0      exit code 0 when a session could be made";

const PRINT_EXAMPLES: &str = "\
Examples:
  rtcpub print-config c40hipepjh65aeq6ndj0
  RTCPUB__LOG__LEVEL=debug rtcpub print-config --config car.toml";

const DEVICES_EXAMPLES: &str = "\
Examples:
  rtcpub devices
  rtcpub devices --json";

const SNAPSHOT_EXAMPLES: &str = "\
Examples:
  rtcpub snapshot picture.jpg c40hipepjh65aeq6ndj0
  rtcpub snapshot left.jpg --camera left c40hipepjh65aeq6ndj0
  rtcpub snapshot picture.jpg --config car.toml --set camera.kind=usb";

const PARK_EXAMPLES: &str = "\
Examples:
  rtcpub park c40hipepjh65aeq6ndj0";

const CALIBRATE_EXAMPLES: &str = "\
Examples:
  rtcpub calibrate c40hipepjh65aeq6ndj0    (wheels off the ground)";

const IMPORT_EXAMPLES: &str = "\
Examples:
  rtcpub import-calibration calib_param.json
  rtcpub import-calibration calib_param.json --into ./channels";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  rtcpub completions bash > /usr/share/bash-completion/completions/rtcpub";

const MAN_EXAMPLES: &str = "\
Examples:
  rtcpub man | man -l -
  rtcpub man --dir /usr/share/man/man1";

#[cfg(test)]
mod tests;
