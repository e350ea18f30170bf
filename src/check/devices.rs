//! `rtcpub devices`: what this machine has, as a table or as JSON.

use std::fmt::Write;

use serde::Serialize;

use crate::video::devices::{self, Node};
use crate::video::pipeline::inspect;

/// Everything that can be configured here.
#[derive(Debug, Serialize)]
struct Machine {
    cameras: Vec<Camera>,
    encoders: Vec<Encoder>,
    i2c_buses: Vec<String>,
    gpio_chips: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Camera {
    device: String,
    card: String,
    by_id: Vec<String>,
    usb: bool,
    modes: Vec<String>,
    controls: Vec<Control>,
}

#[derive(Debug, Serialize)]
struct Control {
    name: String,
    minimum: i64,
    maximum: i64,
    default: i64,
}

#[derive(Debug, Serialize)]
struct Encoder {
    name: &'static str,
    usable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// As a table for people, or as JSON for programs. Tries each encoder for a moment.
pub fn report(json: bool) -> String {
    let machine = Machine::read();
    if json {
        let text = serde_json::to_string_pretty(&machine).expect("strings and numbers always serialise");
        return text + "\n";
    }
    machine.table()
}

impl Machine {
    fn read() -> Self {
        Self {
            cameras: devices::nodes().into_iter().filter_map(camera).collect(),
            encoders: encoders(),
            i2c_buses: nodes("i2c-"),
            gpio_chips: nodes("gpiochip"),
        }
    }

    fn table(&self) -> String {
        let mut text = String::new();
        section(&mut text, "Cameras", &self.cameras.iter().flat_map(Camera::lines).collect::<Vec<_>>());
        let encoder = |encoder: &Encoder| match &encoder.reason {
            None => format!("{:<15} usable", encoder.name),
            Some(reason) => format!("{:<15} {reason}", encoder.name),
        };
        section(&mut text, "Encoders", &self.encoders.iter().map(encoder).collect::<Vec<_>>());
        section(&mut text, "I2C buses", &self.i2c_buses);
        section(&mut text, "GPIO chips", &self.gpio_chips);
        text
    }
}

impl Camera {
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{}  {:?}", self.device, self.card)];
        lines.extend(self.by_id.iter().map(|name| format!("  name     {name}")));
        lines.extend(self.modes.iter().map(|mode| format!("  mode     {mode}")));
        let control = |control: &Control| {
            let Control { name, minimum, maximum, default } = control;
            format!("  control  {name} = {default} ({minimum} … {maximum})")
        };
        lines.extend(self.controls.iter().map(control));
        lines
    }
}

fn camera(node: Node) -> Option<Camera> {
    let modes = devices::modes(&node.path, None).ok().filter(|modes| !modes.is_empty())?;
    let controls = devices::controls(&node.path).into_iter().map(|control| Control {
        name: control.name,
        minimum: control.minimum,
        maximum: control.maximum,
        default: control.default,
    });
    Some(Camera {
        device: node.path.display().to_string(),
        card: node.card,
        by_id: node.by_id,
        usb: node.usb,
        modes: modes.iter().map(ToString::to_string).collect(),
        controls: controls.collect(),
    })
}

fn encoders() -> Vec<Encoder> {
    match inspect::encoders() {
        Ok(encoders) => encoders
            .into_iter()
            .map(|(row, usable)| Encoder { name: row.element, usable: usable.is_ok(), reason: usable.err() })
            .collect(),
        Err(error) => vec![Encoder { name: "GStreamer", usable: false, reason: Some(error.to_string()) }],
    }
}

fn nodes(prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let named =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| name.starts_with(prefix));
    let mut nodes: Vec<_> = named.map(|name| format!("/dev/{name}")).collect();
    nodes.sort();
    nodes
}

fn section(text: &mut String, title: &str, lines: &[String]) {
    let _ = writeln!(text, "{title}");
    for line in lines {
        let _ = writeln!(text, "  {}", crate::config::printable(line));
    }
    if lines.is_empty() {
        text.push_str("  none\n");
    }
}
