//! What is generated from the command line's grammar: completions and manual pages.

use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::Cli;
use crate::exit::Exit;

/// Prints the completions for a shell.
///
/// # Errors
/// When `out` takes no more.
pub fn completions(shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rtcpub", &mut script);
    out.write_all(&script)
}

/// Prints the manual page, `rtcpub.1`.
///
/// # Errors
/// When `out` takes no more.
pub fn man_page(out: &mut dyn Write) -> io::Result<()> {
    let page = Man::new(Cli::command()).manual("rtcpub manual");
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_subcommands_section(out)?;
    page.render_extra_section(out)?;
    exit_status_and_files().to_writer(out)?;
    page.render_version_section(out)
}

/// Writes `rtcpub.1` and one page for each command (`rtcpub-run.1` …) into a folder.
///
/// # Errors
/// Those of the file system.
pub fn man_pages(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command(), dir)?;
    let mut root = std::fs::File::create(dir.join("rtcpub.1"))?;
    man_page(&mut root)
}

fn exit_status_and_files() -> Roff {
    let mut page = Roff::new();
    page.control("SH", ["EXIT STATUS"]);
    for exit in Exit::ALL {
        page.control("TP", []);
        page.text([roman(exit.code().to_string())]);
        page.text([roman(exit.meaning())]);
    }
    let entries = [
        ("FILES", "/etc/rtcpub/CHANNEL.toml", "A channel's configuration; config/example.toml describes every key."),
        ("ENVIRONMENT", "RTCPUB_CONFIG_DIR", "Another folder of channel files."),
        ("", "RTCPUB__SECTION__KEY", "Sets a key above the file, such as RTCPUB__CAMERA__FRAMERATE=60."),
        (
            "",
            "CREDENTIALS_DIRECTORY",
            "Secrets from systemd, in files named by their keys: server.token, ice.credential.",
        ),
        (
            "",
            "STATE_DIRECTORY, RUNTIME_DIRECTORY",
            "Where state and sockets go, in place of /var/lib/rtcpub and /run/rtcpub.",
        ),
        ("", "NO_COLOR", "No colours in the log."),
    ];
    for (section, term, text) in entries {
        if !section.is_empty() {
            page.control("SH", [section]);
        }
        page.control("TP", []);
        page.text([roman(term)]);
        page.text([roman(text)]);
    }
    page
}
