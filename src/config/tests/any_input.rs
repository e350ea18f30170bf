//! Any bytes whatever are read or refused; nothing panics and no problem is without words.

use proptest::prelude::*;

use super::*;

/// Lines that come near to being a configuration.
fn almost_toml() -> impl Strategy<Value = String> {
    let keys: Vec<String> = Schema::of_sections().keys().map(|(key, _)| key.to_owned()).collect();
    let key = proptest::sample::select(keys);
    let value = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| format!("{n:?}")),
        (0..600_i64).prop_map(|n| n.to_string()),
        any::<bool>().prop_map(|yes| yes.to_string()),
        "[a-z0-9:/?=.,\\[\\]]{0,20}".prop_map(|text| format!("\"{text}\"")),
        ".{0,20}",
        Just("[4, 17]".to_owned()),
        Just("[{ url = \"turn:a\", username = \"u\", credential = \"c\" }]".to_owned()),
        Just("{}".to_owned()),
        Just("wss://host".to_owned()),
    ];
    let line = (key, value, 0..4_u8).prop_map(|(key, value, form)| {
        let (table, name) = key.rsplit_once('.').unwrap_or(("", &key));
        match form {
            0 => format!("{key} = {value}\n"),
            1 => format!("[{table}]\n{name} = {value}\n"),
            2 => format!("[[{table}]]\n{name} = {value}\n"),
            _ => format!("{name} = {value}\n"),
        }
    });
    proptest::collection::vec(line, 0..12).prop_map(|lines| lines.concat())
}

fn read_anything(file: Vec<u8>, variable: (String, String), flag: (String, String)) {
    let mut case = Case::of(file);
    case.environment.push((variable.0.into(), variable.1.into()));
    case.flags.push(Setting { flag: "--set".into(), key: flag.0, value: flag.1 });
    let sources = case.sources();
    let _ = parse_drive(&sources);
    match parse(&sources) {
        Ok(loaded) => assert!(!show(&loaded.effective).is_empty()),
        Err(problems) => {
            assert!(problems.iter().all(|problem| !problem.remedy.is_empty()));
            assert!(problems.to_string().lines().count() >= problems.iter().count());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_read_or_refused(
        file in proptest::collection::vec(any::<u8>(), 0..200),
        name in "RTCPUB__[A-Z_]{0,20}", value in ".{0,30}", key in ".{0,30}", text in ".{0,30}",
    ) {
        read_anything(file, (name, value), (key, text));
    }

    #[test]
    fn almost_right_files_are_read_or_refused(
        file in almost_toml(), variable in almost_toml(), key in "[a-z0-9_.]{0,20}",
    ) {
        let name = variable.split(" = ").next().unwrap_or_default().replace('.', "__").to_uppercase();
        read_anything(file.into_bytes(), (format!("RTCPUB__{name}"), variable.clone()), (key, variable));
    }

    #[test]
    fn every_message_is_one_printable_line(text in any::<String>(), name in ".{0,20}") {
        let case = Case::of(LEAST)
            .with_flag("camera.kind", &text)
            .with_flag("bridge.socket", &text.repeat(50))
            .with_flag(&text, &text)
            .with_variable(&format!("RTCPUB__{name}"), &text);
        let problems = case.parse().expect_err("the camera is of no kind");
        for problem in problems.iter() {
            prop_assert!(!problem.to_string().contains(char::is_control), "{}", problem);
        }
    }
}
