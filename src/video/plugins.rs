//! Which package has a GStreamer element, for whoever lacks it. Pure.

use super::encoder;

/// Elements that this program's own descriptions name, or an operator's are likely to: by Debian's package, which
/// Ubuntu, Raspberry Pi OS and JetPack have too, and by Fedora's.
const PACKAGES: &[(&[&str], &str, Option<&str>)] = &[
    (
        &["appsrc", "decodebin", "videoconvert", "videorate", "videoscale", "videotestsrc"],
        "gstreamer1.0-plugins-base",
        Some("gstreamer1-plugins-base"),
    ),
    (
        &[
            "jpegdec",
            "jpegenc",
            "rtph264depay",
            "rtspsrc",
            "souphttpsrc",
            "v4l2convert",
            "v4l2jpegdec",
            "v4l2src",
            "videoflip",
        ],
        "gstreamer1.0-plugins-good",
        Some("gstreamer1-plugins-good"),
    ),
    (&["h264parse", "jpegparse", "openh264dec"], "gstreamer1.0-plugins-bad", Some("gstreamer1-plugins-bad-free")),
    (&["avdec_h264", "avdec_mjpeg"], "gstreamer1.0-libav", Some("gstreamer1-plugin-libav")),
    (&["libcamerasrc"], "gstreamer1.0-libcamera", Some("libcamera-gstreamer")),
    (&["nvarguscamerasrc", "nvv4l2camerasrc", "nvv4l2decoder", "nvvidconv"], "nvidia-l4t-gstreamer", None),
];

/// The package to install for an element; `None` for one that is not known here.
pub fn package_of(element: &str) -> Option<String> {
    if let Some(row) = encoder::row(element) {
        return Some(encoder::packages_of([row]));
    }
    let (_, debian, fedora) = PACKAGES.iter().find(|(elements, ..)| elements.contains(&element))?;
    Some(match fedora {
        Some(fedora) => format!("{debian} (Debian, Ubuntu, Raspberry Pi OS, JetPack) or {fedora} (Fedora)"),
        None => format!("{debian} (JetPack)"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_named_with_its_package_by_distribution() {
        let table = [
            ("jpegdec", Some("gstreamer1.0-plugins-good (Debian, Ubuntu, Raspberry Pi OS, JetPack)")),
            ("jpegdec", Some("gstreamer1-plugins-good (Fedora)")),
            ("nvvidconv", Some("nvidia-l4t-gstreamer (JetPack)")),
            ("x264enc", Some("gstreamer1.0-plugins-ugly")),
            ("nosuchthing", None),
        ];
        for (element, part) in table {
            let package = package_of(element);
            match part {
                Some(part) => assert!(package.as_ref().is_some_and(|package| package.contains(part)), "{package:?}"),
                None => assert_eq!(package, None),
            }
        }
    }
}
