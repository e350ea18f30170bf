use std::io;

use clap::CommandFactory;

use super::generate::man_page;
use super::*;
use crate::exit::Exit;

fn parsed(line: &str) -> Result<Command, clap::Error> {
    Cli::try_parse_from(line.split(' ')).map(|cli| cli.command)
}

#[test]
fn the_grammar_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_help_with_examples() {
    for command in Cli::command().get_subcommands().chain([&Cli::command()]) {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("rtcpub ") && help.starts_with("Examples:"), "{}", command.get_name());
    }
}

#[test]
fn every_example_in_the_help_is_a_command_line_that_is_understood() {
    let commands = Cli::command();
    let helps = commands.get_subcommands().chain([&commands]).filter_map(|command| command.get_after_help());
    let mut examples = 0;
    for help in helps.map(ToString::to_string) {
        for line in help.lines().filter_map(|line| line.trim_start().split_once("rtcpub ").map(|(_, line)| line)) {
            let ends = ["  ", " >", " |"].map(|end| line.find(end).unwrap_or(line.len()));
            let line = &line[..ends.into_iter().min().unwrap_or(line.len())];
            parsed(&format!("rtcpub {line}")).unwrap_or_else(|error| panic!("{line}: {error}"));
            examples += 1;
        }
    }
    assert!(examples > 15, "only {examples} examples were found");
}

#[test]
fn a_hub_and_a_demo_are_for_this_machine_unless_told_otherwise() {
    let Command::Hub(hub) = parsed("rtcpub hub").expect("a hub") else { panic!("it is the hub") };
    let Command::Demo(demo) = parsed("rtcpub demo").expect("a demo") else { panic!("it is the demo") };
    for address in [hub.listen_http, hub.listen_https, demo.http, demo.https] {
        assert!(address.ip().is_loopback(), "{address}");
    }
}

#[test]
fn a_channel_s_file_lies_in_the_folder_of_channel_files() {
    let rows = [
        ("rtcpub run c40", "/etc/rtcpub/c40.toml"),
        ("rtcpub run car.v2", "/etc/rtcpub/car.v2.toml"),
        ("rtcpub check --config ../x.toml", "../x.toml"),
    ];
    for (line, file) in rows {
        let (Command::Run(RunArgs { channel: args, .. }) | Command::Check(args)) = parsed(line).expect(line) else {
            panic!("{line}")
        };
        assert_eq!(args.file(Path::new(CONFIG_DIR)), Path::new(file));
    }
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused() {
    for line in [
        "rtcpub",
        "rtcpub run",
        "rtcpub run a b",
        "rtcpub run a --config b",
        "rtcpub run ../x",
        "rtcpub run ..",
        "rtcpub run a --set camera.width",
        "rtcpub hub --listen-http nowhere",
        "rtcpub demo --log-level inof",
        "rtcpub completions ksh",
        "rtcpub run a --token x",
    ] {
        let error = parsed(line).expect_err(line);
        assert_eq!(error.exit_code(), i32::from(Exit::Usage.code()), "{line}");
    }
}

#[test]
fn convenient_flags_set_their_keys_below_set() {
    let line = "rtcpub run c40 --set log.level=warn --server wss://a --simulate --log-level debug --set a=b=c";
    let Command::Run(RunArgs { channel: args, trace_latency: false }) = parsed(line).expect(line) else {
        panic!("{line}")
    };
    let settings: Vec<_> =
        args.settings().into_iter().map(|set| format!("{} {} {}", set.flag, set.key, set.value)).collect();
    let expected = [
        "--log-level log.level debug",
        "--server server.url wss://a",
        "--simulate drive.actuator simulated",
        "--set log.level warn",
        "--set a b=c",
    ];
    assert_eq!(settings, expected);
}

#[test]
fn every_key_that_a_flag_sets_exists() {
    let Command::Run(run) = parsed("rtcpub run c40 --log-level debug --server wss://a --simulate").expect("run") else {
        panic!("run")
    };
    let line = "rtcpub demo --width 1280 --height 720 --framerate 60 --bitrate-kbps 1500";
    let Command::Demo(demo) = parsed(line).expect(line) else { panic!("{line}") };
    let sources = crate::config::Sources {
        file: None,
        environment: vec![],
        flags: [
            run.channel.settings(),
            demo.settings(),
            vec![flag("--set", "channel", Some("c".to_owned())).expect("given")],
        ]
        .concat(),
        read: &|_| Err(io::ErrorKind::NotFound.into()),
    };
    let config = crate::config::parse(&sources).unwrap_or_else(|problems| panic!("{problems}")).config;
    assert_eq!(config.video.camera.size.to_string(), "1280x720");
}

#[test]
fn the_hub_keeps_its_certificate_where_the_system_keeps_state() {
    /// Command line, environment, folder.
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<&'a str>);
    let rows: [Row<'_>; 6] = [
        ("rtcpub hub --state-dir /x", &[("STATE_DIRECTORY", "/s"), ("HOME", "/h")], Some("/x")),
        ("rtcpub hub", &[("STATE_DIRECTORY", "/s/a:/s/b"), ("HOME", "/h")], Some("/s/a")),
        ("rtcpub hub", &[("XDG_STATE_HOME", "/xdg"), ("HOME", "/h")], Some("/xdg/rtcpub")),
        ("rtcpub hub", &[("XDG_STATE_HOME", ""), ("HOME", "/h")], Some("/h/.local/state/rtcpub")),
        ("rtcpub hub", &[("HOME", "")], None),
        ("rtcpub hub", &[], None),
    ];
    for (line, environment, expected) in rows {
        let Command::Hub(args) = parsed(line).expect(line) else { panic!("{line}") };
        let variable = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        assert_eq!(args.state_dir(variable).as_deref(), expected.map(Path::new), "{line} {environment:?}");
    }
}

#[test]
fn the_manual_has_every_command_every_exit_code_and_the_files() {
    let mut page = Vec::new();
    man_page(&mut page).expect("memory takes everything");
    let page = String::from_utf8(page).expect("a manual is text").replace("\\-", "-");
    for command in Cli::command().get_subcommands() {
        assert!(page.contains(&format!("rtcpub-{}(1)", command.get_name())), "{}", command.get_name());
    }
    for exit in Exit::ALL {
        assert!(page.contains(&format!("{}\n{}", exit.code(), exit.meaning())), "{exit:?}");
    }
    assert!(page.contains("/etc/rtcpub/CHANNEL.toml"));
}
