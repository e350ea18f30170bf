//! From camera settings to a description of the source: text that `gst-launch-1.0` takes, and what must be known to run it.

use super::settings::{CameraConfig, Framerate, Size, Source};

/// GStreamer name of the last element of every source.
pub const PACE_NAME: &str = "pace";
/// GStreamer name of the `appsrc` that draws the test picture.
pub const TEST_PICTURE_NAME: &str = "test-picture";

/// A source of raw pictures, ready to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceDescription {
    /// The elements, as `gst-launch-1.0` takes them. The last is the `identity` named [`PACE_NAME`]: it holds pictures back
    /// until they are due, which a live source does by itself and a file does not.
    pub launch_text: String,
    /// Whether the pictures are drawn by this program, at the moment each is due.
    pub drawn: bool,
}

/// Describes the source of `camera`; its pictures leave it with the settings' size, at no more than their rate, in one of
/// the encoder's `raw_formats`.
pub fn describe(camera: &CameraConfig, raw_formats: &[&str]) -> SourceDescription {
    let pace = format!("identity name={PACE_NAME} sync=true silent=true");
    match &camera.source {
        Source::Test => SourceDescription {
            launch_text: format!(
                "appsrc name={TEST_PICTURE_NAME} format=time caps={} ! {pace}",
                drawn_caps(camera.size, camera.framerate)
            ),
            drawn: true,
        },
        Source::Pipeline(description) => SourceDescription {
            launch_text: format!("{description} ! {} ! {pace}", adapter(camera, raw_formats)),
            drawn: false,
        },
    }
}

/// The test picture is drawn in I420, which every encoder of the table takes.
fn drawn_caps(size: Size, framerate: Framerate) -> String {
    format!(
        "video/x-raw,format=I420,width={},height={},framerate={}/1,pixel-aspect-ratio=1/1,interlace-mode=progressive",
        size.width(),
        size.height(),
        framerate.per_second()
    )
}

/// Converters hand buffers through untouched when there is nothing to convert, so they may always be there. The rate is
/// only ever lowered: repeating pictures would hold each back until the next is there.
fn adapter(camera: &CameraConfig, raw_formats: &[&str]) -> String {
    format!(
        "videoconvert ! videoscale ! videorate drop-only=true ! \
         video/x-raw,format=(string){{{}}},width={},height={},framerate=(fraction)[0/1,{}/1],pixel-aspect-ratio=1/1",
        raw_formats.join(","),
        camera.size.width(),
        camera.size.height(),
        camera.framerate.per_second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(source: Source) -> CameraConfig {
        let (size, framerate) = (Size::new(640, 360), Framerate::new(30));
        CameraConfig::new(source, size.expect("a valid size"), framerate.expect("a valid rate"))
    }

    #[test]
    fn the_test_picture_is_drawn_here() {
        let source = describe(&camera(Source::Test), &["I420"]);
        assert!(source.drawn);
        assert_eq!(
            source.launch_text,
            "appsrc name=test-picture format=time caps=video/x-raw,format=I420,width=640,height=360,framerate=30/1,\
             pixel-aspect-ratio=1/1,interlace-mode=progressive ! identity name=pace sync=true silent=true"
        );
    }

    #[test]
    fn a_description_is_taken_as_it_is_and_adapted_to_the_settings() {
        let source = describe(&camera(Source::Pipeline("v4l2src ! video/x-raw".into())), &["I420", "NV12"]);
        assert!(!source.drawn);
        assert_eq!(
            source.launch_text,
            "v4l2src ! video/x-raw ! videoconvert ! videoscale ! videorate drop-only=true ! \
             video/x-raw,format=(string){I420,NV12},width=640,height=360,framerate=(fraction)[0/1,30/1],pixel-aspect-ratio=1/1 \
             ! identity name=pace sync=true silent=true"
        );
    }
}
