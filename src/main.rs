//! The whole life of the process: arguments, configuration, logs, the command, the exit code.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use rtcpub::cli::{self, ChannelArgs, Cli, Command, RunArgs, generate};
use rtcpub::config::{self, Loaded, Problems};
use rtcpub::exit::{Exit, Failure};
use rtcpub::logging::{self, complain};
use rtcpub::{app, check};

fn main() -> ExitCode {
    logging::log_panics();
    let cli = Cli::parse();
    let exit = match catch_unwind(AssertUnwindSafe(|| perform(cli.command))) {
        Ok(Ok(())) => Exit::Ok,
        Ok(Err(error)) => report(&error),
        Err(_) => Exit::Panic,
    };
    exit.into()
}

fn perform(command: Command) -> Result<()> {
    match command {
        Command::Run(RunArgs { channel: args, trace_latency }) => {
            let loaded = load(&args)?;
            let log = logging::start(&loaded.config.log.filter)?;
            loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            app::run(loaded, args.file(&config_dir()), args.settings(), trace_latency, log)
        }
        Command::Demo(args) => {
            let log = logging::start(&args.log_level)?;
            app::demo(args, log)
        }
        Command::Hub(args) => {
            let log = logging::start(&args.log_level)?;
            app::hub(args, log)
        }
        Command::Status(args) => app::status(&args),
        Command::Check(args) => print(&check::report(&load(&args)?)),
        Command::Probe(args) => app::probe(load(&args)?),
        Command::PrintConfig(args) => print(&config::show(&load(&args)?.effective)),
        Command::Devices { json } => print(&check::devices::report(json)),
        Command::Snapshot { file, camera, channel } => app::snapshot(&load(&channel)?.config, camera.as_deref(), &file),
        Command::Park(args) => app::park(&args.file(&config_dir()), args.settings()),
        Command::Calibrate(args) => app::calibrate(&args.file(&config_dir()), args.settings()),
        Command::ImportCalibration(args) => app::import_calibration(&args, &config_dir()),
        Command::Completions { shell } => print_by(|out| generate::completions(shell, out)),
        Command::Man { dir: None } => print_by(generate::man_page),
        Command::Man { dir: Some(dir) } => {
            generate::man_pages(&dir).with_context(|| format!("cannot write manual pages to {}", dir.display()))
        }
    }
}

fn load(args: &ChannelArgs) -> Result<Loaded, Problems> {
    config::load(Some(&args.file(&config_dir())), args.settings())
}

fn config_dir() -> PathBuf {
    std::env::var_os(cli::CONFIG_DIR_VARIABLE).map_or_else(|| cli::CONFIG_DIR.into(), PathBuf::from)
}

fn print(text: &str) -> Result<()> {
    print_by(|out| out.write_all(text.as_bytes()))
}

/// Prints to standard output. A reader who has seen enough (`| head`) is no error.
fn print_by(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut out = io::stdout().lock();
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Says what went wrong, a line each, and decides the exit code.
fn report(error: &anyhow::Error) -> Exit {
    if let Some(problems) = error.downcast_ref::<Problems>() {
        problems.to_string().lines().for_each(|line| complain(&format!("rtcpub: {line}")));
        return Exit::BadConfiguration;
    }
    complain(&format!("rtcpub: {error:#}").replace('\n', " "));
    error.downcast_ref::<Failure>().map_or(Exit::Failed, |failure| failure.exit)
}
