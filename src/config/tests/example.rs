//! `config/example.toml` documents every key, and is right whichever of its lines are taken in.

use super::*;

const EXAMPLE: &str = include_str!("../../../config/example.toml");

/// A `key = value` line of the example, commented out or not.
struct Line {
    number: usize,
    /// `ice.servers[].url`
    key: String,
    value: String,
    commented: bool,
    /// The line of its `[table]`, when that is commented out.
    commented_header: Option<usize>,
}

fn lines() -> Vec<Line> {
    let (mut table, mut commented_header) = (String::new(), None);
    let mut lines = Vec::new();
    for (number, text) in EXAMPLE.lines().enumerate() {
        let (commented, content) = text.strip_prefix("# ").map_or((false, text), |content| (true, content));
        if let Some(header) = header(content) {
            table = header;
            commented_header = commented.then_some(number);
        } else if let Some((key, value)) = assignment(content) {
            let (key, value) = (schema::join(&table, key), value.to_owned());
            lines.push(Line { number, key, value, commented, commented_header });
        } else {
            assert!(commented || text.is_empty() || text == "#", "line {}: {text}", number + 1);
        }
    }
    lines
}

fn header(content: &str) -> Option<String> {
    let is_header = content.starts_with('[') && content.ends_with(']') && !content.contains(' ');
    let name = content.trim_matches(['[', ']']);
    is_header.then(|| if content.starts_with("[[") { format!("{name}[]") } else { name.to_owned() })
}

fn assignment(content: &str) -> Option<(&str, &str)> {
    let (key, value) = content.split_once(" = ")?;
    key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_').then_some((key, value))
}

/// The example with these of its commented lines taken in.
fn with(taken: &[&Line]) -> String {
    let numbers: Vec<_> = taken.iter().flat_map(|line| [Some(line.number), line.commented_header]).flatten().collect();
    let text = EXAMPLE.lines().enumerate().map(|(number, text)| match numbers.contains(&number) {
        true => text.trim_start_matches("# "),
        false => text,
    });
    text.collect::<Vec<_>>().join("\n")
}

fn example(text: String) -> Case<'static> {
    Case { read: &read_example, ..Case::of(text) }
}

fn read_example(path: &Path) -> io::Result<FileContent> {
    let is_certificate = path.extension().is_some_and(|extension| extension == "pem");
    let bytes = if is_certificate { certificate() } else { b"from-a-file".to_vec() };
    Ok(FileContent { bytes, world_readable: false })
}

const RELAY: &[&str] = &["ice.servers[].url", "ice.servers[].username", "ice.servers[].credential"];

const NAMED: &[&str] = &["cameras[].name"];

/// What else must be taken in with a key.
const COMPANIONS: &[(&str, &[&str])] = &[
    ("ice.username", &["ice.credential"]),
    ("ice.credential", &["ice.username"]),
    ("ice.credential_file", &["ice.username"]),
    ("ice.servers[].url", &["ice.servers[].username", "ice.servers[].credential"]),
    ("ice.servers[].username", &["ice.servers[].url", "ice.servers[].credential_file"]),
    ("ice.servers[].credential", &["ice.servers[].url", "ice.servers[].username"]),
    ("ice.servers[].credential_file", &["ice.servers[].url", "ice.servers[].username"]),
    ("ice.servers[].rest_secret", &["ice.servers[].url"]),
    ("ice.servers[].rest_secret_file", &["ice.servers[].url"]),
    ("ice.servers[].rest_ttl_s", RELAY),
    ("ice.servers[].tls_ca_file", RELAY),
    ("ice.servers[].tls_pin_sha256", RELAY),
    ("ice.servers[].tls_insecure", RELAY),
    ("camera.idle", &["camera.rear.kind"]),
    ("camera.switch_on_reverse", &["camera.rear.kind"]),
    ("cameras[].kind", NAMED),
    ("cameras[].pipeline", NAMED),
    ("cameras[].device", NAMED),
    ("cameras[].format", NAMED),
    ("cameras[].controls", NAMED),
    ("cameras[].sensor", NAMED),
    ("cameras[].flip", NAMED),
    ("cameras[].rotation", NAMED),
    ("cameras[].width", NAMED),
    ("cameras[].height", NAMED),
    ("cameras[].framerate", NAMED),
    ("cameras[].bitrate_kbps", NAMED),
    ("cameras[].encoder", NAMED),
    ("drive.pca9685.oe_chip", &["drive.pca9685.oe_line"]),
    ("drive.pca9685.oe_line", &["drive.pca9685.oe_chip"]),
];

/// Keys that exclude others, and are left out when all are taken in together.
const ALTERNATIVES: &[&str] = &[
    "server.token_file",
    "ice.credential_file",
    "ice.rest_secret",
    "ice.rest_secret_file",
    "ice.servers[].credential_file",
    "ice.servers[].rest_secret",
    "ice.servers[].rest_secret_file",
    "ice.servers[].tls_pin_sha256",
    "tls.pin_sha256",
    "channels.metric.max_packet_life_time_ms",
    "channels.stream.max_packet_life_time_ms",
    "camera.kind",
    "camera.controls",
    "camera.rear.kind",
    "camera.rear.controls",
    "cameras[].kind",
    "cameras[].controls",
];

/// The text with the `kind` of this table's camera taken in and set.
fn of_kind(text: &str, table: &str, kind: &str) -> String {
    let line = lines().into_iter().find(|line| line.key == schema::join(table, "kind")).expect("it is shown").number;
    let set = |(number, text): (usize, &str)| match number == line {
        true => format!("kind = \"{kind}\"\n"),
        false => format!("{text}\n"),
    };
    text.lines().enumerate().map(set).collect()
}

#[test]
fn the_example_is_right_as_it_is() {
    let loaded = example(EXAMPLE.to_owned()).loaded();
    assert_eq!(loaded.warnings, [], "the file is called by an id here");
    assert_eq!(loaded.config.drive.lap_sensor, None);
}

#[test]
fn the_example_shows_every_key_there_is_once() {
    let mut shown: Vec<_> = lines().into_iter().map(|line| line.key).collect();
    shown.sort();
    let schema = Schema::of_sections();
    let known = schema.keys().filter(|(_, kind)| *kind != schema::Kind::Tables).map(|(key, _)| key);
    assert_eq!(shown, known.collect::<Vec<_>>());
}

#[test]
fn the_example_shows_the_default_of_every_key_that_has_one() {
    let loaded = Case::of(LEAST).loaded();
    for line in lines().iter().filter(|line| line.commented) {
        let Some(row) = loaded.effective.iter().find(|row| row.key == line.key) else { continue };
        if row.origin != Origin::Default || row.value == Shown::Unset {
            continue;
        }
        let integer = |text: &str| {
            let document: toml_edit::DocumentMut = format!("x = {text}").parse().expect("TOML");
            document["x"].as_integer()
        };
        let default = row.value.to_string();
        let same = line.value == default || integer(&default).is_some_and(|n| integer(&line.value) == Some(n));
        assert!(same, "{}: the example shows {}, the default is {}", line.key, line.value, row.value);
    }
}

#[test]
fn each_commented_line_of_the_example_is_right_when_it_is_taken_in() {
    let lines = lines();
    for line in lines.iter().filter(|line| line.commented) {
        let companions = COMPANIONS.iter().find(|(key, _)| *key == line.key).map_or(&[][..], |(_, keys)| keys);
        let mut taken: Vec<_> = lines.iter().filter(|other| companions.contains(&other.key.as_str())).collect();
        taken.push(line);
        let mut text = with(&taken);
        match line.key.as_str() {
            "camera.pipeline" => text = of_kind(&text, "camera", "pipeline"),
            "camera.controls" => text = of_kind(&text, "camera", "usb"),
            "camera.rear.pipeline" => text = of_kind(&text, "camera.rear", "pipeline"),
            "camera.rear.controls" => text = of_kind(&text, "camera.rear", "usb"),
            "cameras[].pipeline" => text = of_kind(&text, "cameras[]", "pipeline"),
            "cameras[].controls" => text = of_kind(&text, "cameras[]", "usb"),
            _ => {}
        }
        let loaded = example(text).parse().unwrap_or_else(|problems| panic!("{}: {problems}", line.key));
        let key = line.key.replace("[]", "[0]");
        let row = loaded.effective.iter().find(|row| row.key == key).expect("it is read");
        let at = Origin::File { path: PATH.into(), position: Some(Position { line: line.number + 1, column: 1 }) };
        assert_eq!(row.origin, at, "{key}");
    }
}

#[test]
fn all_commented_lines_of_the_example_that_go_together_are_right_together() {
    let lines = lines();
    let together: Vec<_> = lines.iter().filter(|line| !ALTERNATIVES.contains(&line.key.as_str())).collect();
    let text = of_kind(&of_kind(&with(&together), "camera", "pipeline"), "camera.rear", "pipeline");
    let text = of_kind(&text, "cameras[]", "pipeline");
    let text = text.replace("actuator = \"simulated\"", "actuator = \"pca9685\"");
    let loaded = example(text).loaded();
    assert!(loaded.config.drive.lap_sensor.is_some() && loaded.config.drive.bridge.is_some());
    assert!(loaded.config.drive.actuator.of::<crate::drive::pca9685::Pca9685Config>().is_some());
}
