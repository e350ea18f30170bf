//! The rows: what is known of each encoder.

use super::kinds::{BitrateControl, BitrateSteps, BitrateUnit, BitsPer, EncoderRow, KeyFrameControl, Memory, Value};

/// Encoders, best first: the order of the automatic choice.
pub static TABLE: &[EncoderRow] = &[
    // Jetson with NVENC.
    EncoderRow {
        element: "nvv4l2h264enc",
        hardware: true,
        properties: &[
            // CBR.
            ("control-rate", Value::Text("1")),
            // Constrained baseline, fastest preset, highest clocks.
            ("profile", Value::Text("0")),
            ("preset-level", Value::Text("1")),
            ("maxperf-enable", Value::Text("1")),
            ("insert-sps-pps", Value::Text("1")),
            ("insert-vui", Value::Text("1")),
            ("num-B-Frames", Value::Text("0")),
            // Pictures leave in the order they came: no decoder holds one back.
            ("poc-type", Value::Text("2")),
            ("iframeinterval", Value::GroupOfPictures),
            ("idrinterval", Value::GroupOfPictures),
        ],
        controls: &[],
        bitrate: &[BitrateControl::Property { name: "bitrate", unit: BitrateUnit::Bps }],
        steps: None,
        // Not run: taken for one that errs on the side of less.
        bits_per: BitsPer::Second,
        resizes: false,
        key_frame: KeyFrameControl::Signal("force-IDR"),
        raw_formats: &["NV12"],
        memory: Memory::Nvmm,
        output: "video/x-h264,stream-format=byte-stream,alignment=au",
        level_in_caps: false,
        parse: true,
        packages: &[("JetPack", "nvidia-l4t-gstreamer")],
    },
    // Raspberry Pi up to 4 (bcm2835-codec), and other V4L2 memory-to-memory encoders.
    EncoderRow {
        element: "v4l2h264enc",
        hardware: true,
        properties: &[("gop-size", Value::LongGroupOfPictures)],
        controls: &[
            ("repeat_sequence_header", Value::Text("1")),
            // CBR.
            ("video_bitrate_mode", Value::Text("1")),
            // 1 hangs the Pi's encoder.
            ("h264_i_frame_period", Value::LongGroupOfPictures),
        ],
        bitrate: &[
            // From GStreamer 1.30.
            BitrateControl::Property { name: "bitrate", unit: BitrateUnit::Bps },
            BitrateControl::Control { name: "video_bitrate" },
        ],
        // The Pi's firmware: 25 000 … 25 000 000 bit/s in steps of 25 000.
        steps: Some(BitrateSteps { min_kbps: 25, max_kbps: 25_000, step_kbps: 25 }),
        // Not run: taken for one that errs on the side of less.
        bits_per: BitsPer::Second,
        resizes: false,
        key_frame: KeyFrameControl::EventOrControl("force_key_frame"),
        raw_formats: &["NV12", "I420"],
        // Its io-modes stay "auto", by which it copies each picture into a buffer of its own. "dmabuf-import" as its
        // output-io-mode would save that and break here. It demands as many memories in a buffer as the device has
        // planes, one for the Pi's NV12, where libcamerasrc gives two of one dma-buf
        // (gst_v4l2_allocator_import_dmabuf of gst-plugins-good 1.22, FrameWrap of libcamera 0.0.3). A UVC camera's
        // buffers are of vmalloc, and this codec needs contiguous ones (raspberrypi/linux, "staging/bcm2835-camera:
        // Add support for DMABUFs"). Cameras export dma-bufs by themselves where they can
        // (gst_v4l2_object_setup_pool). Not run.
        memory: Memory::System,
        output: OUTPUT_CAPS,
        level_in_caps: true,
        parse: true,
        packages: &[("Debian, Ubuntu, Raspberry Pi OS", "gstreamer1.0-plugins-good")],
    },
    // Jetson up to JetPack 4 and Raspberry Pi OS up to Buster.
    EncoderRow {
        element: "omxh264enc",
        hardware: true,
        properties: &[
            // Constant.
            ("control-rate", Value::Text("2")),
            ("insert-sps-pps", Value::Text("true")),
            ("inline-header", Value::Text("true")),
            ("iframeinterval", Value::GroupOfPictures),
            ("interval-intraframes", Value::GroupOfPictures),
        ],
        controls: &[],
        bitrate: &[
            BitrateControl::Property { name: "target-bitrate", unit: BitrateUnit::Bps },
            BitrateControl::Property { name: "bitrate", unit: BitrateUnit::Bps },
        ],
        steps: None,
        // Not run: taken for one that errs on the side of less.
        bits_per: BitsPer::Second,
        resizes: false,
        key_frame: KeyFrameControl::Event,
        raw_formats: &["NV12", "I420"],
        memory: Memory::System,
        output: "video/x-h264,stream-format=byte-stream,alignment=au",
        level_in_caps: false,
        parse: true,
        packages: &[("JetPack up to 4", "nvidia-l4t-gstreamer"), ("Raspberry Pi OS up to 10", "gstreamer1.0-omx-rpi")],
    },
    EncoderRow {
        element: "x264enc",
        hardware: false,
        properties: &[
            // No lookahead, no frame threads, no B-frames: a frame is out before the next one is in.
            ("tune", Value::Text("zerolatency")),
            // The fastest preset that deblocks, and with motion vectors finer than a pixel.
            ("speed-preset", Value::Text("superfast")),
            ("bframes", Value::Text("0")),
            ("b-adapt", Value::Text("false")),
            ("rc-lookahead", Value::Text("0")),
            ("sync-lookahead", Value::Text("0")),
            // Slices of one frame side by side: latency is divided, not multiplied, by the number of threads.
            ("sliced-threads", Value::Text("true")),
            ("threads", Value::Threads),
            ("key-int-max", Value::GroupOfPictures),
            // A key frame may take this many milliseconds of the link. Shorter makes it mush, longer makes it late.
            ("vbv-buf-capacity", Value::Text("120")),
            // RTP marks the end of an access unit; a delimiter would be six bytes a frame for nothing.
            ("aud", Value::Text("false")),
            // A camera swept over a scene must not cause key frames nobody asked for.
            ("option-string", Value::Text("scenecut=0")),
        ],
        controls: &[],
        bitrate: &[BitrateControl::Property { name: "bitrate", unit: BitrateUnit::Kbps }],
        steps: None,
        // Measured.
        bits_per: BitsPer::Frame,
        resizes: true,
        key_frame: KeyFrameControl::Event,
        raw_formats: &["I420", "NV12"],
        memory: Memory::System,
        output: OUTPUT_CAPS,
        level_in_caps: false,
        parse: false,
        packages: &[
            ("Debian, Ubuntu, Raspberry Pi OS, JetPack", "gstreamer1.0-plugins-ugly"),
            ("Fedora with RPM Fusion", "gstreamer1-plugins-ugly"),
        ],
    },
    EncoderRow {
        element: "openh264enc",
        hardware: false,
        properties: &[
            ("complexity", Value::Text("low")),
            ("rate-control", Value::Text("bitrate")),
            ("scene-change-detection", Value::Text("false")),
            ("background-detection", Value::Text("false")),
            // Without this its rate control gives up on hard scenes and sends many times the bit rate (measured).
            ("enable-frame-skip", Value::Text("true")),
            ("slice-mode", Value::Text("auto")),
            ("multi-thread", Value::Threads),
            ("gop-size", Value::GroupOfPictures),
        ],
        controls: &[],
        bitrate: &[BitrateControl::Property { name: "bitrate", unit: BitrateUnit::Bps }],
        steps: None,
        // Measured.
        bits_per: BitsPer::Second,
        resizes: true,
        key_frame: KeyFrameControl::Event,
        raw_formats: &["I420"],
        memory: Memory::System,
        output: OUTPUT_CAPS,
        level_in_caps: false,
        parse: false,
        packages: &[
            ("Debian 12, Ubuntu 24.04 and later", "gstreamer1.0-plugins-bad"),
            ("Fedora", "gstreamer1-plugin-openh264"),
        ],
    },
];

/// Not an encoder: the camera has coded its pictures itself. They are put into shape and nothing can be asked of them.
pub static PASSTHROUGH: EncoderRow = EncoderRow {
    element: "h264parse",
    hardware: true,
    properties: &[("config-interval", Value::Text("-1"))],
    controls: &[],
    bitrate: &[BitrateControl::None],
    steps: None,
    bits_per: BitsPer::Second,
    resizes: false,
    key_frame: KeyFrameControl::None,
    raw_formats: &[],
    memory: Memory::System,
    output: "video/x-h264,stream-format=byte-stream,alignment=au",
    level_in_caps: false,
    parse: false,
    packages: &[("Debian, Ubuntu, Raspberry Pi OS, JetPack", "gstreamer1.0-plugins-bad")],
};

/// What a WebRTC peer takes: RFC 6184 packets are made from whole access units, and every browser decodes this profile.
pub(super) const OUTPUT_CAPS: &str = "video/x-h264,profile=constrained-baseline,stream-format=byte-stream,alignment=au";
