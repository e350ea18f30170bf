//! What is known of boards and versions and is better known before the first drive (`shared/reference/gstreamer-encoders.md`).

use std::fs;

use crate::video::devices;
use crate::video::pipeline::inspect;
use crate::video::settings::{EncoderChoice, PixelFormat, Source, VideoConfig};

/// How the cards of a Raspberry Pi's codec (QUERYCAP) begin.
const PI_ENCODER: &str = "bcm2835-codec";

/// What is unwise about this picture on this board; its camera is described by the keys of `table`.
pub(super) fn warnings(video: &VideoConfig, table: &str) -> Vec<String> {
    let board = Board {
        model: fs::read_to_string("/proc/device-tree/model").unwrap_or_default(),
        pi_encoder: devices::nodes().iter().any(|node| node.card.starts_with(PI_ENCODER)),
        gstreamer: inspect::version(),
        governors: governors(),
    };
    board.warnings(video, table)
}

#[derive(Debug, Default)]
struct Board {
    model: String,
    /// Whether there is the encoder of a Raspberry Pi up to 4.
    pi_encoder: bool,
    gstreamer: Option<(u32, u32, u32)>,
    /// Device and governor of a Jetson's video hardware.
    governors: Vec<(String, String)>,
}

impl Board {
    fn warnings(&self, video: &VideoConfig, table: &str) -> Vec<String> {
        let mut warnings = Vec::new();
        let may_use = |element: &str| match &video.encoder.choice {
            EncoderChoice::Auto => true,
            EncoderChoice::Named(name) => name == element,
        };
        if let Some(version @ (1, 22, 0..=3)) = self.gstreamer.filter(|_| may_use("v4l2h264enc") && self.pi_encoder) {
            warnings.push(format!(
                "GStreamer {}.{}.{} does not pass key frame requests on to v4l2h264enc: they are made by its control instead",
                version.0, version.1, version.2
            ));
        }
        if matches!(&video.camera.source, Source::Usb(usb) if usb.format == PixelFormat::H264) {
            warnings.push(format!(
                "{table}.format = \"h264\": the camera codes by itself; its bit rate does not follow the link, and a new viewer waits for its next key frame"
            ));
        }
        // Those from the 5 on have none: told by what is there, since no list of models is ever whole.
        let without = self.model.contains("Raspberry Pi") && !self.pi_encoder || self.model.contains("Orin Nano");
        if without && video.encoder.choice == EncoderChoice::Auto {
            warnings.push(format!(
                "{} has no H.264 encoder: x264enc on the processor is used",
                self.model.trim_end_matches('\0')
            ));
        }
        for (device, governor) in self.governors.iter().filter(|(_, governor)| governor != "performance") {
            warnings.push(format!(
                "{device} runs by governor \"{governor}\": \"performance\" takes about 12 ms off the delay (jetson_clocks does not set it)"
            ));
        }
        warnings
    }
}

fn governors() -> Vec<(String, String)> {
    let devices = fs::read_dir("/sys/class/devfreq").into_iter().flatten().flatten();
    let video = devices.filter(|device| {
        let name = device.file_name().to_string_lossy().into_owned();
        name.contains("vic") || name.contains("nvenc")
    });
    let governor = |device: fs::DirEntry| {
        let governor = fs::read_to_string(device.path().join("governor")).ok()?;
        Some((device.file_name().to_string_lossy().into_owned(), governor.trim().to_owned()))
    };
    video.filter_map(governor).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::video::settings::{Bitrate, CameraConfig, EncoderConfig, Framerate, Size, UsbConfig};

    fn video(source: Source, encoder: EncoderChoice) -> VideoConfig {
        let size = Size::new(640, 480).expect("a valid size");
        VideoConfig {
            camera: CameraConfig::new(source, size, Framerate::new(30).expect("a valid rate")),
            rear: None,
            encoder: EncoderConfig {
                choice: encoder,
                bitrate: Bitrate::from_kbps(800).expect("a valid rate"),
                key_frame_interval: Duration::from_secs(10),
            },
        }
    }

    #[test]
    fn each_board_is_warned_of_what_concerns_it_and_nothing_else() {
        let model = "Raspberry Pi 4 Model B Rev 1.4\0".to_owned();
        let pi4 = Board { model, pi_encoder: true, gstreamer: Some((1, 22, 0)), ..Board::default() };
        let newer = Board { gstreamer: Some((1, 26, 0)), pi_encoder: true, ..Board::default() };
        let pi5 = Board { model: "Raspberry Pi 5 Model B\0".into(), ..Board::default() };
        let module = Board { model: "Raspberry Pi Compute Module 5 Rev 1.0\0".into(), ..Board::default() };
        let nano = Board { model: "NVIDIA Jetson Orin Nano Developer Kit\0".into(), ..Board::default() };
        let governors = vec![("15340000.vic".to_owned(), "nvhost_podgov".to_owned())];
        let jetson = Board { governors, ..Board::default() };
        let coded = Source::Usb(UsbConfig { format: PixelFormat::H264, ..UsbConfig::default() });
        let software = EncoderChoice::Named("x264enc".into());
        let table = [
            (&pi4, Source::Test, EncoderChoice::Auto, Some("key frame requests")),
            (&pi4, Source::Test, software.clone(), None),
            (&pi5, Source::Test, software, None),
            (&newer, Source::Test, EncoderChoice::Auto, None),
            (&pi5, Source::Test, EncoderChoice::Auto, Some("Raspberry Pi 5 Model B has no H.264 encoder")),
            (&module, Source::Test, EncoderChoice::Auto, Some("Compute Module 5 Rev 1.0 has no H.264 encoder")),
            (&nano, Source::Test, EncoderChoice::Auto, Some("Orin Nano Developer Kit has no H.264 encoder")),
            (&jetson, Source::Test, EncoderChoice::Auto, Some("nvhost_podgov")),
            (&newer, coded, EncoderChoice::Auto, Some("does not follow the link")),
        ];
        for (board, source, encoder, part) in table {
            let warnings = board.warnings(&video(source, encoder), "camera");
            match part {
                None => assert!(warnings.is_empty(), "{warnings:?}"),
                Some(part) => assert!(warnings.len() == 1 && warnings[0].contains(part), "{part}: {warnings:?}"),
            }
        }
    }
}
