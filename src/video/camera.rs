//! From camera settings to a description of the source: text that `gst-launch-1.0` takes, and what must be known to run it.

use std::path::Path;

use super::encoder::{CONTROLS, Memory};
use super::error::{CameraFault, VideoError};
use super::modes::{Format, Taken};
use super::settings::{
    CameraConfig, CsiConfig, Flip, Framerate, Orientation, Rotation, SensorChoice, Size, Source, UsbConfig,
};

/// GStreamer name of the element that opens the camera.
pub const CAMERA_NAME: &str = "camera";
/// GStreamer name of the last element of every source.
pub const PACE_NAME: &str = "pace";
/// GStreamer name of the `appsrc` that draws the test picture.
pub const TEST_PICTURE_NAME: &str = "test-picture";

/// A source of pictures, ready to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceDescription {
    /// The elements, as `gst-launch-1.0` takes them. The last is the `identity` named [`PACE_NAME`]: it holds pictures back
    /// until they are due, which a live source does by itself and a file does not.
    pub launch_text: String,
    /// Whether the pictures are drawn by this program, at the moment each is due.
    pub drawn: bool,
    /// What comes out.
    pub output: Output,
}

/// What comes out of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Raw pictures.
    Raw(Memory),
    /// H.264 from the camera itself, which nothing here can steer.
    H264,
}

/// What decides about a source beside the camera's settings.
pub struct Surroundings<'a> {
    /// Raw formats that the encoder takes, the one that costs least first.
    pub raw_formats: &'a [&'a str],
    /// Where the encoder takes its pictures from.
    pub memory: Memory,
    /// The device node and mode that were chosen, for a camera that V4L2 knows.
    pub device: Option<(&'a Path, Taken)>,
    /// Whether pictures must have the settings' size whatever the camera gives: another camera's follow them.
    pub fit: bool,
    /// Whether an element is installed.
    pub has: &'a dyn Fn(&str) -> bool,
}

/// Describes the source of `camera`; raw pictures leave it with the settings' size (a V4L2 camera's: with that of its
/// mode), at no more than their rate, in one of the encoder's `raw_formats`.
///
/// # Errors
/// When no element for a CSI camera is installed, or cannot be told which camera is meant.
pub fn describe(camera: &CameraConfig, around: &Surroundings<'_>) -> Result<SourceDescription, VideoError> {
    let (text, output) = match (&camera.source, around.device) {
        (Source::Test, _) => {
            let caps = drawn_caps(camera.size, camera.framerate);
            (format!("appsrc name={TEST_PICTURE_NAME} format=time caps={caps}"), Output::Raw(Memory::System))
        }
        (Source::Usb(usb), Some((device, mode))) => v4l2(camera, usb, device, mode, around),
        (Source::Usb(_), None) => unreachable!("a V4L2 camera is looked for before it is described"),
        (Source::Pipeline(description), _) => {
            (format!("{description} ! {}", adapter(camera, around, Some(camera.size))), Output::Raw(Memory::System))
        }
        (Source::Csi(csi), _) => self::csi(camera, csi, around)?,
    };
    Ok(SourceDescription {
        launch_text: format!("{text} ! identity name={PACE_NAME} sync=true silent=true"),
        drawn: camera.source == Source::Test,
        output,
    })
}

/// The test picture is drawn in I420, which every encoder of the table takes.
fn drawn_caps(size: Size, framerate: Framerate) -> String {
    format!(
        "video/x-raw,format=I420,{},framerate={}/1,pixel-aspect-ratio=1/1,interlace-mode=progressive",
        sides(size),
        framerate.per_second()
    )
}

fn v4l2(
    camera: &CameraConfig,
    usb: &UsbConfig,
    device: &Path,
    mode: Taken,
    around: &Surroundings<'_>,
) -> (String, Output) {
    let mut source = format!("v4l2src name=camera device={}", quoted(&device.display().to_string()));
    if !usb.controls.is_empty() {
        source.push_str(&format!(" {CONTROLS}=\"{}\"", controls_text(&usb.controls)));
    }
    let shape = format!("{},framerate={}/{}", sides(mode.size), mode.rate.frames, mode.rate.seconds);
    let adapter = || adapter(camera, around, around.fit.then_some(camera.size));
    match mode.format {
        Format::Raw(format) => {
            (format!("{source} ! video/x-raw,format={format},{shape} ! {}", adapter()), Output::Raw(Memory::System))
        }
        Format::Mjpeg => {
            let decoder = jpeg_decoder(around.has);
            (format!("{source} ! image/jpeg,{shape} ! {decoder} ! {}", adapter()), Output::Raw(Memory::System))
        }
        Format::H264 => (format!("{source} ! video/x-h264,{shape}"), Output::H264),
    }
}

/// Controls of a camera as [`CONTROLS`] takes them.
pub fn controls_text(controls: &[(String, i32)]) -> String {
    let assignments = controls.iter().map(|(name, value)| format!(",{name}={value}"));
    format!("controls{}", assignments.collect::<String>())
}

/// Hardware first: the Jetson's, then what V4L2 has, then libjpeg-turbo.
fn jpeg_decoder(has: &dyn Fn(&str) -> bool) -> &'static str {
    if has("nvv4l2decoder") && has("nvvidconv") {
        "nvv4l2decoder mjpeg=1 ! nvvidconv ! video/x-raw"
    } else if has("v4l2jpegdec") {
        "v4l2jpegdec"
    } else {
        "jpegdec"
    }
}

fn csi(camera: &CameraConfig, csi: &CsiConfig, around: &Surroundings<'_>) -> Result<(String, Output), VideoError> {
    if (around.has)("nvarguscamerasrc") {
        return argus(camera, csi, around);
    }
    if (around.has)("libcamerasrc") {
        return libcamera(camera, csi, around);
    }
    Err(fault(
        "neither nvarguscamerasrc (Jetson) nor libcamerasrc is installed: install gstreamer1.0-libcamera (Debian, Raspberry \
         Pi OS) or nvidia-l4t-gstreamer (JetPack)",
        CameraFault::NoElement,
    ))
}

/// Jetson: the sensor's pictures stay in the memory of the image processor, which also turns and scales them.
fn argus(camera: &CameraConfig, csi: &CsiConfig, around: &Surroundings<'_>) -> Result<(String, Output), VideoError> {
    let sensor = match &csi.sensor {
        SensorChoice::Auto => 0,
        SensorChoice::Id(id) => *id,
        SensorChoice::Name(_) => {
            return Err(fault("this board's CSI cameras have numbers, not names: give 0, 1, …", CameraFault::Property));
        }
    };
    let captured = sides(camera.captured_size());
    let turn = nvvidconv_method(camera.orientation);
    let rate = camera.framerate.per_second();
    let (features, formats) = match around.memory {
        Memory::Nvmm => ("(memory:NVMM)", "NV12".to_owned()),
        Memory::System => ("", format!("(string){{{}}}", around.raw_formats.join(","))),
    };
    Ok((
        format!(
            "nvarguscamerasrc name=camera sensor-id={sensor} ! \
             video/x-raw(memory:NVMM),{captured},framerate={rate}/1,format=NV12 ! nvvidconv flip-method={turn} ! \
             video/x-raw{features},format={formats},{}",
            sides(camera.size)
        ),
        Output::Raw(around.memory),
    ))
}

/// Raspberry Pi: the image processor (`v4l2convert`) where there is one, else software.
fn libcamera(
    camera: &CameraConfig,
    csi: &CsiConfig,
    around: &Surroundings<'_>,
) -> Result<(String, Output), VideoError> {
    let mut source = "libcamerasrc name=camera".to_owned();
    match &csi.sensor {
        SensorChoice::Auto | SensorChoice::Id(0) => {}
        SensorChoice::Id(_) => {
            return Err(fault(
                "libcamera's cameras have names, not numbers: `cam -l` lists them",
                CameraFault::Property,
            ));
        }
        SensorChoice::Name(name) => source.push_str(&format!(" camera-name={}", quoted(name))),
    }
    let caps = format!(
        "video/x-raw,{},format=NV12,colorimetry=bt709,interlace-mode=progressive,framerate={}/1",
        sides(camera.captured_size()),
        camera.framerate.per_second()
    );
    let converter = if (around.has)("v4l2convert") && !camera.orientation.swaps_sides() {
        format!("v4l2convert{}", v4l2convert_controls(camera.orientation))
    } else {
        adapter(camera, around, Some(camera.size))
    };
    Ok((format!("{source} ! {caps} ! {converter}"), Output::Raw(Memory::System)))
}

/// Converters hand buffers through untouched when there is nothing to convert, so they may always be there. The rate is
/// only ever lowered: repeating pictures would hold each back until the next is there.
fn adapter(camera: &CameraConfig, around: &Surroundings<'_>, size: Option<Size>) -> String {
    let turn = match videoflip_method(camera.orientation) {
        "none" => String::new(),
        method => format!(" ! videoflip method={method}"),
    };
    let (scale, size) = match size {
        Some(size) => (" ! videoscale", format!("{},", sides(size))),
        None => ("", String::new()),
    };
    let pixels = if size.is_empty() { "" } else { ",pixel-aspect-ratio=1/1" };
    format!(
        "videoconvert{turn}{scale} ! videorate drop-only=true ! \
         video/x-raw,format=(string){{{}}},{size}framerate=(fraction)[0/1,{}/1]{pixels}",
        around.raw_formats.join(","),
        camera.framerate.per_second()
    )
}

/// `GstVideoFlipMethod`.
fn videoflip_method(orientation: Orientation) -> &'static str {
    use {Flip as F, Rotation as R};

    match (orientation.flip, orientation.rotation) {
        (F::None, R::R0) => "none",
        (F::None, R::R90) => "clockwise",
        (F::None, R::R180) => "rotate-180",
        (F::None, R::R270) => "counterclockwise",
        (F::Horizontal, R::R0) | (F::Vertical, R::R180) => "horizontal-flip",
        (F::Vertical, R::R0) | (F::Horizontal, R::R180) => "vertical-flip",
        (F::Vertical, R::R90) | (F::Horizontal, R::R270) => "upper-left-diagonal",
        (F::Horizontal, R::R90) | (F::Vertical, R::R270) => "upper-right-diagonal",
    }
}

/// The numbers of `nvvidconv flip-method` (NVIDIA Accelerated GStreamer guide); not those of `videoflip`.
fn nvvidconv_method(orientation: Orientation) -> u8 {
    match videoflip_method(orientation) {
        "counterclockwise" => 1,
        "rotate-180" => 2,
        "clockwise" => 3,
        "horizontal-flip" => 4,
        "upper-right-diagonal" => 5,
        "vertical-flip" => 6,
        "upper-left-diagonal" => 7,
        _ => 0,
    }
}

/// The image processor of a Raspberry Pi mirrors, and does not turn by a quarter.
fn v4l2convert_controls(orientation: Orientation) -> &'static str {
    match videoflip_method(orientation) {
        "horizontal-flip" => " extra-controls=\"controls,horizontal_flip=1\"",
        "vertical-flip" => " extra-controls=\"controls,vertical_flip=1\"",
        "rotate-180" => " extra-controls=\"controls,horizontal_flip=1,vertical_flip=1\"",
        _ => "",
    }
}

fn sides(size: Size) -> String {
    format!("width={},height={}", size.width(), size.height())
}

/// A text as `gst-launch-1.0` takes it, whatever is in it.
fn quoted(text: &str) -> String {
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "/_.-".contains(c));
    if plain { text.to_owned() } else { format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")) }
}

fn fault(problem: &str, fault: CameraFault) -> VideoError {
    VideoError::Camera { key: "camera.sensor", problem: problem.to_owned(), fault }
}

#[cfg(test)]
mod tests;
