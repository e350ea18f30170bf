//! A configuration in words. Pure.

use std::time::Duration;

use crate::config::Config;
use crate::drive::settings::{DriveConfig, LimitsConfig, MaxSpeedConfig, Pulse, StopBehaviour, VehicleConfig};
use crate::rtc::settings::{DeliveryLimit, IcePolicy, IceServer, Reliability, RtcConfig, TurnCredential, TurnServer};
use crate::signal::settings::{SignalConfig, TlsConfig, Trickle};
use crate::video::further::FurtherCamera;
use crate::video::settings::{DeviceChoice, EncoderChoice, Idle, SensorChoice, Source, VideoConfig};

/// Title and lines of each part.
pub(super) fn sections(config: &Config) -> Vec<(&'static str, Vec<String>)> {
    vec![
        ("Server", server(&config.signal)),
        ("Connection", connection(&config.rtc)),
        ("Picture", pictures(config)),
        ("Car", car(&config.drive)),
        ("Telemetry", telemetry(config)),
        ("Log", vec![format!("{}, on standard error.", config.log.filter.as_str())]),
    ]
}

fn telemetry(config: &Config) -> Vec<String> {
    let topics: Vec<_> = config.telemetry.topics.iter().map(|topic| topic.name()).collect();
    let mut lines = vec![match topics[..] {
        [] => "Tells viewers nothing beyond events.".to_owned(),
        _ => format!("Tells viewers of {} every {}.", topics.join(", "), time(config.telemetry.period)),
    }];
    if let Some(metrics) = &config.metrics {
        lines.push(format!("Prometheus may ask at http://{}/metrics.", metrics.listen));
    }
    lines.push(format!("rtcpub status asks at {}.", config.status.socket.display()));
    lines
}

fn server(signal: &SignalConfig) -> Vec<String> {
    let parameters: Vec<_> = signal.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let parameters = if parameters.is_empty() { "no parameters".to_owned() } else { parameters.join(", ") };
    let port = signal.server.port_or_known_default().unwrap_or_default();
    let host = signal.server.host_str().unwrap_or_default();
    let mut lines = vec![
        format!(
            "Publishes channel {} to {}://{host}:{port} with {parameters}.",
            signal.channel,
            signal.server.scheme()
        ),
        certificate(signal),
    ];
    if signal.token.is_some() {
        lines.push("Shows the server a token.".to_owned());
    }
    lines.push(match signal.trickle {
        Trickle::None => "Waits for all candidates and puts them into the offer.".to_owned(),
        Trickle::Candidate => "Sends candidates as they are found, in the old style (candidate).".to_owned(),
        Trickle::Candidate2 => "Sends candidates as they are found (candidate2).".to_owned(),
    });
    lines.push(format!(
        "Pings every {}; gives up after {} without an answer or {} without any traffic; tries again at once, then after {} \
         and ever longer up to {}.",
        time(signal.ping_interval),
        time(signal.answer_timeout),
        time(signal.silence_timeout),
        time(signal.retry_min),
        time(signal.retry_max),
    ));
    lines
}

fn certificate(signal: &SignalConfig) -> String {
    if signal.server.scheme() == "ws" {
        return "The wire is not encrypted (ws://).".to_owned();
    }
    match &signal.tls {
        TlsConfig::SystemRoots => "Trusts certificates that this system's roots vouch for.".to_owned(),
        TlsConfig::CaFile(path) => format!("Trusts certificates that {} vouches for, and no others.", path.display()),
        TlsConfig::Pin(pin) => {
            let digits: String = pin.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("Trusts the one certificate whose SHA-256 is {digits}.")
        }
        TlsConfig::Insecure => "Trusts any certificate: anyone on the way can pose as the server.".to_owned(),
    }
}

fn connection(rtc: &RtcConfig) -> Vec<String> {
    let mut lines = Vec::new();
    if rtc.ice.servers.is_empty() {
        lines.push("No STUN or TURN server: both ends must reach each other directly.".to_owned());
    }
    for server in &rtc.ice.servers {
        let user = match server {
            IceServer::Stun(_) => String::new(),
            IceServer::Turn(TurnServer { credential: TurnCredential::Static { username, .. }, .. }) => {
                format!(" as {username}")
            }
            IceServer::Turn(_) => " by credentials made anew for each session".to_owned(),
        };
        lines.push(format!("Uses {}{user}.", server.url()));
    }
    lines.push(match rtc.ice.policy {
        IcePolicy::All => "Any candidate may be used: host, server reflexive, relayed.".to_owned(),
        IcePolicy::Relay => "Only relayed candidates are used.".to_owned(),
    });
    lines.push(format!("Telemetry (metric) is {}.", reliability(rtc.metric)));
    lines.push(format!("Control (stream) is {}.", reliability(rtc.stream)));
    lines
}

fn reliability(reliability: Reliability) -> String {
    let order = if reliability.ordered { "ordered" } else { "unordered" };
    let limit = match reliability.limit {
        DeliveryLimit::Reliable => "reliable".to_owned(),
        DeliveryLimit::Retransmits(times) => format!("given up after {times} retransmissions"),
        DeliveryLimit::Lifetime(life) => format!("given up after {}", time(life)),
    };
    format!("{order} and {limit}")
}

fn pictures(config: &Config) -> Vec<String> {
    let mut lines = picture(&config.video);
    for FurtherCamera { name, video } in &config.cameras {
        lines.push(format!("Beside it, as a track of its own called {name}:"));
        lines.extend(picture(video).into_iter().map(|line| format!("  {line}")));
    }
    lines
}

fn picture(video: &VideoConfig) -> Vec<String> {
    let (camera, encoder) = (&video.camera, &video.encoder);
    let choice = match &encoder.choice {
        EncoderChoice::Auto => "the best H.264 encoder that works here".to_owned(),
        EncoderChoice::Named(name) => name.clone(),
    };
    let mut lines = vec![format!("Shows {}.", source(&camera.source))];
    if let Some(rear) = &video.rear {
        let when = if rear.on_reverse { "while driving back, or when it is selected" } else { "when it is selected" };
        let idle = match rear.idle {
            Idle::Warm => "both run all the time",
            Idle::Stopped => "only the one that is shown runs",
        };
        lines.push(format!("Shows {} {when}; {idle}.", source(&rear.source)));
    }
    lines.extend([
        format!("Size {} at {} frames a second.", camera.size, camera.framerate.per_second()),
        format!(
            "Coded by {choice} at {}; a key frame on request and at least every {}.",
            encoder.bitrate,
            time(encoder.key_frame_interval)
        ),
    ]);
    lines
}

fn source(source: &Source) -> String {
    match source {
        Source::Test => "a moving test pattern".to_owned(),
        Source::Pipeline(description) => format!("gst-launch-1.0 {}", shown(description)),
        Source::Usb(usb) => match &usb.device {
            DeviceChoice::Auto => "the first USB camera".to_owned(),
            DeviceChoice::Path(path) => format!("the camera at {}", path.display()),
            DeviceChoice::Name(name) => format!("the camera called {name:?}"),
        },
        Source::Csi(csi) => match &csi.sensor {
            SensorChoice::Auto => "the first CSI camera".to_owned(),
            SensorChoice::Id(id) => format!("CSI camera {id}"),
            SensorChoice::Name(name) => format!("the CSI camera called {name:?}"),
        },
    }
}

fn shown(description: &str) -> String {
    crate::config::without_passwords(description)
}

/// What pulses are explained by where nobody makes them: that of the reference's car.
const TYPICAL_FREQUENCY_HZ: u16 = 60;

fn car(drive: &DriveConfig) -> Vec<String> {
    let mut lines = drive.actuator.explain();
    let frequency = drive.actuator.pulse_frequency().unwrap_or(TYPICAL_FREQUENCY_HZ);
    lines.extend(vehicle(&drive.vehicle, frequency));
    lines.extend(stopping(drive));
    lines.extend(limits(&drive.gate.limits));
    lines.push(max_speed(&drive.max_speed));
    if let Some(sensor) = &drive.lap_sensor {
        let [first, second] = sensor.lines;
        lines.push(format!("Lap sensor on lines {first} and {second} of {}.", sensor.chip.display()));
    }
    if let Some(bridge) = &drive.bridge {
        lines.push(format!("Your own programs may connect to {}.", bridge.socket.display()));
    }
    lines
}

fn vehicle(vehicle: &VehicleConfig, frequency_hz: u16) -> Vec<String> {
    let raw = vehicle.calibration.raw();
    let pulse = |pulse: Pulse| format!("{} ({:.2} ms)", pulse.ticks(), pulse_ms(pulse, frequency_hz));
    let axis = |axis: crate::drive::settings::AxisConfig| {
        let invert = if axis.invert { ", inverted" } else { "" };
        if axis.trim == 0 { invert.to_owned() } else { format!("{invert}, trimmed by {}", axis.trim) }
    };
    vec![
        format!(
            "Throttle: stands at {}, rolls from {}, full forward {}, full reverse {}{}.",
            pulse(raw.throttle_zero),
            pulse(raw.forward_zero),
            pulse(raw.throttle_max),
            pulse(raw.throttle_min),
            axis(vehicle.throttle)
        ),
        format!(
            "Steering: straight at {}, full left {}, full right {}{}.",
            pulse(raw.steering_zero),
            pulse(raw.steering_max),
            pulse(raw.steering_min),
            axis(vehicle.steering)
        ),
        format!(
            "From forward into reverse: {} ticks below standing for {}, neutral for {}, then reverse.",
            vehicle.reverse.brake_ticks,
            time(vehicle.reverse.brake),
            time(vehicle.reverse.neutral)
        ),
    ]
}

/// One tick is 1/4096 of a period (PCA9685 datasheet §7.3.3).
fn pulse_ms(pulse: Pulse, frequency_hz: u16) -> f64 {
    f64::from(pulse.ticks()) * 1000.0 / (4096.0 * f64::from(frequency_hz))
}

fn stopping(drive: &DriveConfig) -> Vec<String> {
    let stop = match drive.gate.stop {
        StopBehaviour::Coast => "coasts".to_owned(),
        StopBehaviour::Brake(pulse) => format!("brakes for {}, then coasts", time(pulse)),
    };
    let again = if drive.gate.neutral_first { "once the stick has been at neutral" } else { "on the next command" };
    vec![format!(
        "Stops when no command has come for {} or anything else is wrong: it {stop}. It moves again {again}.",
        time(drive.gate.deadline)
    )]
}

fn limits(limits: &LimitsConfig) -> Vec<String> {
    let mut lines = Vec::new();
    if limits.throttle_cap < 1.0 {
        lines.push(format!("Throttle is capped at {:.0} %.", limits.throttle_cap * 100.0));
    }
    for (axis, slew) in [("Throttle", limits.throttle_slew), ("Steering", limits.steering_slew)] {
        lines.extend(slew.map(|slew| format!("{axis} changes by at most {slew} of full travel a second.")));
    }
    lines
}

fn max_speed(max_speed: &MaxSpeedConfig) -> String {
    let initial = match max_speed.initial {
        Some(pulse) => format!("{} until a driver sets another", pulse.ticks()),
        None => "full forward until a driver sets another".to_owned(),
    };
    format!(
        "maxSpeed: {initial}, never above {}; kept in {}.",
        max_speed.ceiling.ticks(),
        max_speed.state_file.display()
    )
}

fn time(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 { format!("{millis} ms") } else { format!("{} s", duration.as_secs_f64()) }
}
