//! `rtcpub check`: what a configuration means on this machine, now.

mod boards;
mod cameras;
pub mod devices;
mod explain;

use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use url::Host;

use crate::config::{Config, Loaded, printable};
use crate::drive::settings::DriveConfig;
use crate::resolver::{Patience, Resolver};
use crate::rtc::settings::{IceServer, TurnServer, TurnTransport};
use crate::signal::settings::TlsConfig;
use crate::signal::tls::{CA_FILE_REMEDY, roots};

/// A resolver that takes longer than this has no use when the car is waiting.
const DNS_TIMEOUT: Duration = Duration::from_secs(5);

/// Explains a configuration in words, resolves the hosts and looks for the devices that it names, and lists what is
/// unwise. Blocks for five seconds at most.
pub fn report(loaded: &Loaded) -> String {
    let mut report = String::new();
    for (title, lines) in explain::sections(&loaded.config) {
        section(&mut report, title, &lines);
    }
    section(&mut report, "Pipeline", &cameras::pipelines(&loaded.config));
    let hosts = resolve(host_names(&loaded.config));
    section(&mut report, "Hosts", &hosts.iter().map(Resolved::to_line).collect::<Vec<_>>());
    section(&mut report, "On this machine", &files_and_devices(&loaded.config));
    let mut warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    warnings.extend(cameras::warnings(&loaded.config));
    section(&mut report, "Warnings", &warnings);
    report.push_str(match (warnings.len(), hosts.iter().all(|host| host.addresses.is_ok())) {
        (0, true) => "The configuration is right.\n",
        (_, true) => "The configuration is right; see the warnings.\n",
        (_, false) => "The configuration is right, but a host it names cannot be reached by name from here.\n",
    });
    report
}

fn section(report: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(report, "{title}");
    for line in lines {
        let _ = writeln!(report, "  {}", printable(line));
    }
    report.push('\n');
}

/// The names to resolve, each once, in the order of use. Addresses need no resolving.
fn host_names(config: &Config) -> Vec<String> {
    let server = config.signal.server.host_str().map(str::to_owned);
    let ice = config.rtc.ice.servers.iter().map(host_of);
    let mut names = Vec::new();
    for name in server.into_iter().chain(ice) {
        if matches!(Host::parse(&name), Ok(Host::Domain(_))) && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn host_of(server: &IceServer) -> String {
    server.address().host.to_string()
}

struct Resolved {
    name: String,
    /// The addresses, or why there are none.
    addresses: Result<Vec<IpAddr>, String>,
}

impl Resolved {
    fn to_line(&self) -> String {
        match &self.addresses {
            Ok(addresses) => {
                let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                format!("{} is {}", self.name, addresses.join(", "))
            }
            Err(reason) => format!(
                "{} does not resolve ({reason}): correct the name, or see whether this machine has a network and a name server",
                self.name
            ),
        }
    }
}

/// Asks for all names at once.
fn resolve(names: Vec<String>) -> Vec<Resolved> {
    let unresolved = |names: Vec<String>, reason: String| {
        names.into_iter().map(|name| Resolved { name, addresses: Err(reason.clone()) }).collect()
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return unresolved(names, error.to_string()),
    };
    let resolver = Resolver::default();
    let asked = names.into_iter().map(|name| resolve_one(&resolver, name));
    let resolved = runtime.block_on(futures_util::future::join_all(asked));
    // A resolver that still waits has a thread of its own, which cannot be stopped and is not waited for.
    runtime.shutdown_background();
    resolved
}

async fn resolve_one(resolver: &Resolver, name: String) -> Resolved {
    let found = resolver.addresses(&name, Patience { known: DNS_TIMEOUT, unknown: DNS_TIMEOUT }).await;
    let addresses = found.map(|resolved| resolved.addresses).map_err(|error| error.to_string());
    Resolved { name, addresses }
}

fn files_and_devices(config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    let turn = config.rtc.ice.servers.iter().filter_map(|server| match server {
        IceServer::Turn(TurnServer { transport: TurnTransport::Tls(judgement), .. }) => Some(judgement),
        _ => None,
    });
    for judgement in std::iter::once(&config.signal.tls).chain(turn) {
        if let TlsConfig::CaFile(path) = judgement {
            lines.push(ca_file(path));
        }
    }
    lines.extend(devices(&config.drive).into_iter().map(|path| match path.exists() {
        true => format!("{} is there", path.display()),
        false => {
            format!("{} is not there: enable it in the board's configuration, or correct the path", path.display())
        }
    }));
    lines
}

/// The whole file, as a connection reads it.
fn ca_file(path: &Path) -> String {
    match std::fs::read(path).map_err(|error| error.to_string()).and_then(|pem| roots(&pem)) {
        Ok(roots) => format!("{} holds {} certificate(s)", path.display(), roots.len()),
        Err(reason) => format!("{}: {reason}; {CA_FILE_REMEDY}", path.display()),
    }
}

fn devices(drive: &DriveConfig) -> Vec<&Path> {
    let lap_sensor = drive.lap_sensor.as_ref().map(|sensor| sensor.chip.as_path());
    let mut devices: Vec<_> = drive.actuator.devices().into_iter().chain(lap_sensor).collect();
    devices.dedup();
    devices
}
