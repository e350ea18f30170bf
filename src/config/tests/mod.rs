//! Claims about configurations as a whole.

mod any_input;
mod cameras;
mod example;
mod fourth_actuator;
mod junk;
mod layering;
mod secrets;
mod values;

use std::ffi::OsString;
use std::io;
use std::path::Path;

use super::*;

/// The path of every file in these tests.
const PATH: &str = "/etc/rtcpub/c40hipepjh65aeq6ndj0.toml";

/// The least that a file must say.
const LEAST: &str = "[server]\nurl = \"wss://host\"\n";

/// A configuration to be read.
struct Case<'a> {
    file: Vec<u8>,
    world_readable: bool,
    environment: Vec<(OsString, OsString)>,
    flags: Vec<Setting>,
    read: ReadFile<'a>,
}

impl<'a> Case<'a> {
    fn of(file: impl AsRef<[u8]>) -> Self {
        let file = file.as_ref().to_vec();
        Self { file, world_readable: false, environment: vec![], flags: vec![], read: &no_files }
    }

    fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    fn with_flag(mut self, key: &str, value: &str) -> Self {
        self.flags.push(Setting { flag: "--set".into(), key: key.into(), value: value.into() });
        self
    }

    fn sources(self) -> Sources<'a> {
        let content = FileContent { bytes: self.file, world_readable: self.world_readable };
        Sources {
            file: Some(ChannelFile { path: PATH.into(), content }),
            environment: self.environment,
            flags: self.flags,
            read: self.read,
        }
    }

    fn parse(self) -> Result<Loaded, Problems> {
        parse(&self.sources())
    }

    fn loaded(self) -> Loaded {
        self.parse().unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn problems(self) -> Vec<String> {
        let problems = self.parse().expect_err("the configuration is wrong");
        problems.to_string().lines().map(str::to_owned).collect()
    }
}

fn no_files(_: &Path) -> io::Result<FileContent> {
    Err(io::ErrorKind::NotFound.into())
}

/// Of some issuer, as a CA file holds it.
fn certificate() -> Vec<u8> {
    let made = rcgen::generate_simple_self_signed(vec!["issuer".to_owned()]).expect("a name");
    made.cert.pem().into_bytes()
}

/// The effective value of a key, as printed, and its origin.
fn effective(loaded: &Loaded, key: &str) -> (String, String) {
    let row = loaded.effective.iter().find(|row| row.key == key);
    let row = row.unwrap_or_else(|| panic!("{key} is not among the effective values"));
    (row.value.to_string(), row.origin.to_string())
}
