//! Imported channel files, as the daemon reads them.

use std::fs;

use rtcpub::config::{self, Setting};
use rtcpub::drive::import::import_calibration;
use rtcpub::drive::pca9685::Pca9685Config;
use rtcpub::drive::settings::Pulse;

/// The reference's example (`shared/reference/vehicle.md`).
const OLD: &str = r#"{"SpiderCar6": {"CAR_NAME": "Spider", "ChannelID": "c40hipepjh65aeq6ndj0",
    "Calibration": {"THROTTLE_ZERO": 375, "FORWARD_ZERO": 399, "THROTTLE_MIN": 300, "THROTTLE_MAX": 440,
                    "STEERING_ZERO": 399, "STEERING_MIN": 319, "STEERING_MAX": 479},
    "UI": {"THROTTLE_STEP": 20, "STEERING_STEP": 25}}}"#;

#[test]
fn an_imported_file_drives_the_old_car_and_needs_a_server_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = folder.path().join("calib_param.json");
    fs::write(&old, OLD).expect("a file");
    let report = import_calibration(&old, folder.path(), false).expect("it makes sense");
    let file = &report.written[0].file;

    let drive = config::load_drive(Some(file), Vec::new()).expect("the car is complete");
    let raw = drive.vehicle.calibration.raw();
    let pulses = [
        raw.throttle_zero,
        raw.forward_zero,
        raw.throttle_min,
        raw.throttle_max,
        raw.steering_zero,
        raw.steering_min,
        raw.steering_max,
    ];
    assert_eq!(pulses.map(Pulse::ticks), [375, 399, 300, 440, 399, 319, 479]);
    assert_eq!((raw.throttle_steps, raw.steering_steps), (20, 25));
    // The reference: bus 1, address 0x40, 60 Hz, throttle on channel 0 and steering on 1.
    let board: &Pca9685Config = drive.actuator.of().expect("a PCA9685");
    assert_eq!((board.bus.to_str(), board.address, board.frequency_hz), (Some("/dev/i2c-1"), 0x40, 60));
    assert_eq!((board.throttle_channel, board.steering_channel), (0, 1));

    let problems = config::load(Some(file), Vec::new()).expect_err("the old file names no server").to_string();
    assert!(problems.contains("server.url"), "{problems}");
    let url = Setting { flag: "--set".into(), key: "server.url".into(), value: "wss://host".into() };
    let loaded = config::load(Some(file), vec![url]).expect("nothing else is missing");
    assert_eq!(loaded.config.signal.channel.as_str(), "c40hipepjh65aeq6ndj0");
}
