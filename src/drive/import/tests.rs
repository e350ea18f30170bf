use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use tempfile::TempDir;
use toml_edit::DocumentMut;

use super::*;

const CHANNEL: &str = "c40hipepjh65aeq6ndj0";

fn car(channel: &str) -> Value {
    json!({
        "CAR_NAME": "Spider", "ChannelID": channel,
        "Calibration": {
            "THROTTLE_ZERO": 375, "FORWARD_ZERO": 399, "THROTTLE_MIN": 300, "THROTTLE_MAX": 440,
            "STEERING_ZERO": 399, "STEERING_MIN": 319, "STEERING_MAX": 479
        },
        "UI": {"THROTTLE_STEP": 20, "STEERING_STEP": 20}
    })
}

/// A folder with an old file.
fn folder(text: &str) -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (old, into) = (folder.path().join("calib_param.json"), folder.path().join("channels"));
    fs::write(&old, text).unwrap();
    (folder, old, into)
}

fn imported(text: &str, force: bool) -> (TempDir, PathBuf, Result<ImportReport, ImportError>) {
    let (folder, old, into) = folder(text);
    let result = import_calibration(&old, &into, force);
    (folder, into, result)
}

/// The problems as `car: key`.
fn problems(text: &str) -> Vec<String> {
    let (_folder, into, result) = imported(text, false);
    assert!(!into.exists(), "nothing is written when there is a problem");
    match result {
        Err(ImportError::Problems(problems)) => {
            problems.iter().map(|problem| format!("{}: {}", problem.car, problem.key)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_car_of_the_old_file_becomes_a_channel_file() {
    let text = json!({"SpiderCar6": car(CHANNEL), "SpiderCar7": car("c40hipepjh65aeq6ndj1")}).to_string();
    let (_folder, into, result) = imported(&text, false);
    let report = result.unwrap();
    assert_eq!(report.written.len(), 2);
    assert_eq!(report.ignored, Vec::<String>::new());

    let file = into.join(format!("{CHANNEL}.toml"));
    assert_eq!(report.written[0].file, file);
    let text = fs::read_to_string(&file).unwrap();
    let document: DocumentMut = text.parse().unwrap();
    let calibration = document["drive"]["calibration"].as_table().unwrap();
    let numbers: Vec<_> =
        calibration.iter().map(|(key, value)| (key.to_owned(), value.as_integer().unwrap())).collect();
    let expected = [
        ("throttle_zero", 375),
        ("forward_zero", 399),
        ("throttle_min", 300),
        ("throttle_max", 440),
        ("steering_zero", 399),
        ("steering_min", 319),
        ("steering_max", 479),
        ("throttle_steps", 20),
        ("steering_steps", 20),
    ];
    assert_eq!(numbers, expected.map(|(key, value)| (key.to_owned(), value)));
    assert_eq!(document["drive"]["actuator"].as_str(), Some("pca9685"));
}

#[test]
fn every_kind_of_nonsense_is_refused_by_car_and_key() {
    /// Puts `value` at the pointer, or takes what is there away.
    fn broken(pointer: &str, value: Option<Value>) -> String {
        let mut file = json!({ "Car": car(CHANNEL) });
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = file.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match value {
            Some(value) => parent.insert(key.into(), value),
            None => parent.remove(key),
        };
        file.to_string()
    }
    let table = [
        ("/Car/ChannelID", None, "Car: ChannelID"),
        ("/Car/ChannelID", Some(json!(6)), "Car: ChannelID"),
        ("/Car/ChannelID", Some(json!("")), "Car: ChannelID"),
        ("/Car/ChannelID", Some(json!("../../etc/passwd")), "Car: ChannelID"),
        ("/Car/Calibration", None, "Car: Calibration"),
        ("/Car/Calibration", Some(json!([1, 2])), "Car: Calibration"),
        ("/Car/UI", Some(json!(20)), "Car: UI"),
        ("/Car/Calibration/THROTTLE_ZERO", None, "Car: Calibration.THROTTLE_ZERO"),
        ("/Car/Calibration/THROTTLE_ZERO", Some(json!("375")), "Car: Calibration.THROTTLE_ZERO"),
        ("/Car/Calibration/THROTTLE_ZERO", Some(json!(375.5)), "Car: Calibration.THROTTLE_ZERO"),
        ("/Car/Calibration/THROTTLE_ZERO", Some(json!(null)), "Car: Calibration.THROTTLE_ZERO"),
        ("/Car/Calibration/STEERING_MAX", Some(json!(4096)), "Car: Calibration.STEERING_MAX"),
        ("/Car/Calibration/STEERING_MAX", Some(json!(-1)), "Car: Calibration.STEERING_MAX"),
        ("/Car/Calibration/THROTTLE_MIN", Some(json!(375)), "Car: Calibration.THROTTLE_MIN"),
        ("/Car/Calibration/FORWARD_ZERO", Some(json!(374)), "Car: Calibration.FORWARD_ZERO"),
        ("/Car/Calibration/THROTTLE_MAX", Some(json!(398)), "Car: Calibration.THROTTLE_MAX"),
        ("/Car/Calibration/STEERING_MIN", Some(json!(400)), "Car: Calibration.STEERING_MIN"),
        ("/Car/UI/THROTTLE_STEP", Some(json!(0)), "Car: UI.THROTTLE_STEP"),
        ("/Car/UI/STEERING_STEP", Some(json!(-20)), "Car: UI.STEERING_STEP"),
        ("/Car/UI/STEERING_STEP", None, "Car: UI.STEERING_STEP"),
        ("/Car", Some(json!("fast")), "Car: (all)"),
    ];
    for (pointer, value, expected) in table {
        let text = broken(pointer, value);
        assert_eq!(problems(&text), [expected], "{text}");
    }
    for empty in ["{}", "[]", "5"] {
        assert_eq!(problems(empty), ["(file): (all)"], "{empty}");
    }
}

#[test]
fn all_problems_of_all_cars_are_told_at_once() {
    let mut first = car(CHANNEL);
    first["Calibration"]["THROTTLE_ZERO"] = json!("fast");
    // The other axis is judged although this one is incomplete.
    first["Calibration"]["STEERING_ZERO"] = json!(500);
    first["UI"]["THROTTLE_STEP"] = json!(0);
    let mut second = car(CHANNEL);
    second["Calibration"]["THROTTLE_MAX"] = json!(10);
    let text = json!({"A": first, "B": second}).to_string();
    let expected = [
        "A: Calibration.THROTTLE_ZERO",
        "A: UI.THROTTLE_STEP",
        "A: Calibration.STEERING_MAX",
        "B: ChannelID",
        "B: Calibration.THROTTLE_MAX",
    ];
    assert_eq!(problems(&text), expected);
}

#[test]
fn a_problem_names_the_car_the_key_the_value_and_the_remedy_in_the_old_files_words() {
    let mut nonsense = car(CHANNEL);
    nonsense["Calibration"]["THROTTLE_MIN"] = json!(380);
    let (_folder, _, result) = imported(&json!({ "SpiderCar6": nonsense }).to_string(), false);
    let expected =
        "nothing was written:\n  SpiderCar6: Calibration.THROTTLE_MIN = 380: must be below THROTTLE_ZERO (375)";
    assert_eq!(result.unwrap_err().to_string(), expected);
}

#[test]
fn repeated_names_and_keys_are_refused_though_json_allows_them() {
    let good = car(CHANNEL).to_string();
    let other = car("c40hipepjh65aeq6ndj1").to_string();
    assert_eq!(problems(&format!("{{\"A\":{good},\"A\":{other}}}")), ["A: (name)"]);
    let twice = good.replace("\"THROTTLE_MIN\":300", "\"THROTTLE_MIN\":300,\"THROTTLE_MIN\":310");
    assert_eq!(problems(&format!("{{\"A\":{twice}}}")), ["A: Calibration.THROTTLE_MIN"]);
}

#[test]
fn what_means_nothing_to_us_is_named_and_left_out() {
    let mut more = car(CHANNEL);
    more["UI"]["COLOUR"] = json!("red");
    more["Camera"] = json!({"flip": 2});
    let (_folder, _, result) = imported(&json!({ "A": more }).to_string(), false);
    let report = result.unwrap();
    assert_eq!(report.ignored, ["A: Camera", "A: UI.COLOUR"]);
    assert!(report.to_string().contains("A: UI.COLOUR: not known, left out"), "{report}");
}

#[test]
fn what_is_not_json_is_told_with_its_place() {
    for junk in ["", "{", "\u{feff}{}", "{'A': 1}"] {
        let (_folder, into, result) = imported(junk, false);
        assert!(matches!(result, Err(ImportError::NotJson { .. })), "{junk:?}: {result:?}");
        assert!(!into.exists());
    }
    let (_folder, _, result) = imported(&" ".repeat(MAX_BYTES as usize + 1), false);
    assert!(result.unwrap_err().to_string().contains("longer than"));
}

#[test]
fn a_channel_file_that_is_there_is_left_alone_unless_forced_and_then_keeps_the_rest() {
    let text = json!({"A": car(CHANNEL), "B": car("c40hipepjh65aeq6ndj1")}).to_string();
    let (_folder, old, into) = folder(&text);
    let file = into.join(format!("{CHANNEL}.toml"));
    fs::create_dir(&into).unwrap();
    let mine = "[server] # mine\ntoken = \"secret\"\n\n[drive.calibration]\nthrottle_zero = 1 # wrong\n";
    fs::write(&file, mine).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();

    let error = import_calibration(&old, &into, false).unwrap_err().to_string();
    assert!(error.contains("--force") && error.contains(&file.display().to_string()), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), mine);
    assert_eq!(fs::read_dir(&into).unwrap().count(), 1, "the other car's file is not written either");

    let report = import_calibration(&old, &into, true).unwrap();
    assert_eq!(report.written.iter().map(|imported| imported.updated).collect::<Vec<_>>(), [true, false]);
    let forced = fs::read_to_string(&file).unwrap();
    assert!(forced.starts_with("[server] # mine\ntoken = \"secret\"\n"), "{forced}");
    assert!(forced.contains("throttle_zero = 375 # wrong"), "{forced}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_name_with_line_ends_stays_in_its_comment() {
    let (_folder, into, result) = imported(&json!({ "A\nactuator = 5": car(CHANNEL) }).to_string(), false);
    result.unwrap();
    let text = fs::read_to_string(into.join(format!("{CHANNEL}.toml"))).unwrap();
    assert!(text.parse::<DocumentMut>().is_ok(), "{text}");
    assert!(text.starts_with("# Channel c40hipepjh65aeq6ndj0: A actuator = 5, from"), "{text}");
}
