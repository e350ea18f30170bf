use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use super::super::settings::RawCalibration;
use super::file::store;
use super::*;

fn pulse(ticks: u16) -> Pulse {
    Pulse::new(ticks).unwrap()
}

fn calibration() -> Calibration {
    Calibration::new(RawCalibration::example()).unwrap()
}

fn config(initial: Option<u16>, ceiling: u16) -> MaxSpeedConfig {
    MaxSpeedConfig { initial: initial.map(pulse), ceiling: pulse(ceiling), state_file: "unused".into() }
}

#[test]
fn a_driver_may_set_anything_from_forward_zero_to_the_ceiling() {
    let mut max_speed = MaxSpeed::configured(&config(None, 430), &calibration());
    assert_eq!(max_speed.get(), pulse(430), "throttle_max is 440, but the ceiling holds");
    for (asked, accepted) in [(398, false), (399, true), (420, true), (430, true), (431, false), (u16::MAX, false)] {
        assert_eq!(max_speed.set(asked).is_ok(), accepted, "{asked}");
    }
    assert_eq!(max_speed.get(), pulse(430));
    let refusal = max_speed.set(450).unwrap_err();
    assert_eq!(refusal.to_string(), "450 is above the ceiling of 430 ticks");
    let refusal = max_speed.set(0).unwrap_err();
    assert_eq!(refusal.to_string(), "0 is below forward_zero, 399 ticks, where the car starts to roll");
}

#[test]
fn the_configured_value_is_the_initial_one_else_throttle_max_within_the_range() {
    let table =
        [(None, 440, 440), (None, 500, 440), (Some(420), 440, 420), (Some(480), 450, 450), (Some(10), 440, 399)];
    for (initial, ceiling, expected) in table {
        assert_eq!(MaxSpeed::configured(&config(initial, ceiling), &calibration()).get(), pulse(expected));
    }
}

#[test]
fn a_ceiling_below_forward_zero_lets_nothing_beyond_it() {
    let mut max_speed = MaxSpeed::configured(&config(None, 390), &calibration());
    assert_eq!(max_speed.get(), pulse(390));
    assert!([380, 390, 395, 399, 420].iter().all(|asked| max_speed.set(*asked).is_err()));
}

#[test]
fn a_reload_keeps_the_drivers_value_as_far_as_the_new_ceiling_has_it() {
    let mut max_speed = MaxSpeed::configured(&config(None, 440), &calibration());
    max_speed.set(425).unwrap();
    max_speed.reconfigure(&config(Some(400), 430), &calibration());
    assert_eq!(max_speed.get(), pulse(425));
    max_speed.reconfigure(&config(Some(400), 410), &calibration());
    assert_eq!(max_speed.get(), pulse(410));
}

#[test]
fn a_kept_value_stays_as_far_as_the_range_has_it_and_never_becomes_the_full_one() {
    let mut raised = RawCalibration::example();
    raised.forward_zero = pulse(410);
    let raised = Calibration::new(raised).unwrap();
    for (kept, expected, refused) in [(405, 410, true), (420, 420, false), (440, 430, true)] {
        let mut max_speed = MaxSpeed::configured(&config(None, 430), &raised);
        assert_eq!(max_speed.restore(pulse(kept)).is_some(), refused, "{kept}");
        assert_eq!(max_speed.get(), pulse(expected), "{kept}");
    }
}

#[test]
fn what_is_stored_is_loaded_again_and_nothing_else_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/max-speed");
    assert_eq!(load(&path).unwrap(), None);
    for ticks in [420, 0, 4095] {
        store(&path, pulse(ticks)).unwrap();
        assert_eq!(load(&path).unwrap(), Some(pulse(ticks)));
    }
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn a_leftover_of_a_power_cut_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("max-speed");
    store(&path, pulse(420)).unwrap();
    fs::write(folder.path().join("max-speed.new"), "42").unwrap();
    assert_eq!(load(&path).unwrap(), Some(pulse(420)));
    store(&path, pulse(421)).unwrap();
    assert_eq!(load(&path).unwrap(), Some(pulse(421)));
}

#[test]
fn whatever_is_not_a_whole_value_is_reported_as_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("max-speed");
    let long = "4".repeat(1 << 20);
    for content in
        ["", "420", "42o\n", "+420\n", "-1\n", "4096\n", "99999\n", "420\n\n", "420\n420\n", "\0\0\0\n", &long]
    {
        fs::write(&path, content).unwrap();
        assert!(matches!(load(&path), Err(MaxSpeedFileError::Corrupt { .. })), "{content:.20?}");
    }
    fs::write(&path, b"\xff\xfe\n").unwrap();
    assert!(matches!(load(&path), Err(MaxSpeedFileError::Corrupt { .. })));
}

#[test]
fn a_state_file_that_cannot_be_read_or_written_is_reported_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(load(folder.path()), Err(MaxSpeedFileError::Read { .. })), "a folder in its place");
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let below_a_file = file.join("max-speed");
    let error = store(&below_a_file, pulse(420)).unwrap_err();
    assert!(error.to_string().contains(below_a_file.to_str().unwrap()), "{error}");
    assert!(store(Path::new("/proc/max-speed"), pulse(420)).is_err());
}

#[test]
fn the_keeper_keeps_the_newest_value_before_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("max-speed");
    let keeper = Keeper::spawn(path.clone(), |error| panic!("{error}")).unwrap();
    for ticks in 400..=440 {
        keeper.handle().keep(pulse(ticks));
    }
    keeper.shutdown(Duration::from_secs(10));
    assert_eq!(load(&path).unwrap(), Some(pulse(440)));
}

#[test]
fn the_keeper_reports_a_failure_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("place");
    fs::write(&place, "in the way").unwrap();
    let path = place.join("max-speed");
    let (report, reports) = mpsc::channel();
    let keeper = Keeper::spawn(path.clone(), move |error| report.send(error).unwrap()).unwrap();
    keeper.handle().keep(pulse(420));
    let error = reports.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(error.starts_with("cannot keep maxSpeed in "), "{error}");
    fs::remove_file(&place).unwrap();
    keeper.handle().keep(pulse(421));
    keeper.shutdown(Duration::from_secs(10));
    assert_eq!(load(&path).unwrap(), Some(pulse(421)));
}
