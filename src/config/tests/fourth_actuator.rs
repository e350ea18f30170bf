//! A fourth kind of actuator, added as `drive/actuator/kind.rs` says: this file, and what would be its `mod` line and
//! row in `drive/mod.rs`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::config::tests::{Case, LEAST};
use crate::config::{Outcome, read_with};
use crate::drive::KINDS;
use crate::drive::actuator::kind::{ActuatorConfig, ActuatorKind, ActuatorSettings, Read, Refused, Table};
use crate::drive::actuator::{Actuator, ActuatorError, Output};
use crate::drive::bridge::Bridge;
use crate::drive::park::park;
use crate::drive::settings::{BridgeConfig, DriveConfig};

static KIND: ActuatorKind = ActuatorKind { name: "tractor", read };
/// All that the list of kinds needs.
static WITH_A_FOURTH: [&ActuatorKind; 4] = [KINDS[0], KINDS[1], KINDS[2], &KIND];

#[derive(Clone, Debug, PartialEq)]
struct TractorConfig {
    port: std::path::PathBuf,
    axles: u32,
}

fn read(table: &mut dyn Table) -> Read<ActuatorConfig> {
    let port = table.path("port", "/dev/ttyUSB0");
    let axles = table.integer("axles", 1..=8, 2);
    Ok(ActuatorConfig::new(TractorConfig { port: port?, axles: axles? }))
}

impl ActuatorSettings for TractorConfig {
    fn make(&self, _bridge: Option<&Bridge>) -> Result<Box<dyn Actuator>, Refused> {
        Ok(Box::new(Tractor(Arc::default())))
    }

    fn park(&self, neutral: &Output, _bridge: Option<&BridgeConfig>) -> Result<String, Refused> {
        if self.axles == 8 { Err("stuck".into()) } else { Ok(format!("at {}", neutral.pulses().throttle.ticks())) }
    }

    fn explain(&self) -> Vec<String> {
        vec![format!("A tractor with {} axles.", self.axles)]
    }

    fn devices(&self) -> Vec<&std::path::Path> {
        vec![&self.port]
    }

    fn pulse_frequency(&self) -> Option<u16> {
        Some(50)
    }
}

struct Tractor(Arc<Mutex<Vec<Output>>>);

impl Actuator for Tractor {
    fn name(&self) -> &'static str {
        "tractor"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn start(&mut self, neutral: &Output) -> Result<Duration, ActuatorError> {
        self.apply(neutral).map(|()| Duration::ZERO)
    }

    fn apply(&mut self, output: &Output) -> Result<(), ActuatorError> {
        self.0.lock().unwrap().push(*output);
        Ok(())
    }
}

fn outcome(text: &str) -> Outcome {
    read_with(&Case::of(format!("{LEAST}{text}")).sources(), &WITH_A_FOURTH)
}

fn drive(text: &str) -> DriveConfig {
    let Outcome { parts, problems, .. } = outcome(text);
    assert_eq!(problems.finish(), None);
    parts.drive.expect("no problem was reported")
}

const TRACTOR: &str = "[drive]\nactuator = \"tractor\"\n";

#[test]
fn it_is_chosen_and_its_own_keys_are_read_with_their_defaults_and_told() {
    let car = drive(&format!("{TRACTOR}[drive.tractor]\naxles = 3\n"));
    let expected = TractorConfig { port: "/dev/ttyUSB0".into(), axles: 3 };
    assert_eq!(car.actuator.of(), Some(&expected));
    let rows = outcome(TRACTOR).effective;
    assert!(rows.iter().any(|row| row.key == "drive.tractor.axles" && row.value.to_string() == "2"), "{rows:?}");
    assert_ne!(car.actuator, drive(TRACTOR).actuator);
    assert_ne!(car.actuator, drive("").actuator, "of another kind");
}

#[test]
fn mistakes_in_its_table_are_told_like_any_other_even_where_it_is_not_chosen() {
    for (text, expected) in [
        ("[drive.tractor]\naxles = 9\n", "drive.tractor.axles = 9: must be an integer from 1 to 8"),
        ("[drive.tractor]\naxle = 3\n", "did you mean drive.tractor.axles"),
        ("[drive]\nactuator = \"tracktor\"\n", "did you mean \"tractor\"?"),
    ] {
        let problems = outcome(text).problems.finish().expect("it is wrong").to_string();
        assert!(problems.contains(expected), "{problems}");
    }
}

#[test]
fn it_is_explained_made_and_parked_by_those_who_know_no_kind() {
    let car = drive(TRACTOR);
    assert_eq!(car.actuator.explain(), ["A tractor with 2 axles."]);
    assert_eq!(car.actuator.devices(), [std::path::Path::new("/dev/ttyUSB0")]);
    assert_eq!(car.actuator.pulse_frequency(), Some(50));
    assert_eq!(car.actuator.make(None).expect("nothing is wrong").name(), "tractor");
    assert_eq!(park(&car).expect("it does not fail"), "parked: at 375");
    let stuck = drive(&format!("{TRACTOR}[drive.tractor]\naxles = 8\n"));
    assert_eq!(park(&stuck).expect_err("it fails").to_string(), "not parked: stuck");
}

#[test]
fn it_drives() {
    let car = drive(TRACTOR);
    let mut tractor = Tractor(Arc::default());
    let seen = tractor.0.clone();
    let neutral = crate::drive::vehicle::Vehicle::new(car.vehicle.clone(), car.max_speed.ceiling).neutral(now());
    tractor.start(&neutral).expect("it answers");
    tractor.apply(&neutral).expect("it answers");
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[expect(clippy::disallowed_methods, reason = "an output has a time")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
