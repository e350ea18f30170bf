use super::*;
use crate::video::modes::Rate;
use crate::video::settings::PixelFormat;

fn camera(source: Source) -> CameraConfig {
    let (size, framerate) = (Size::new(640, 360), Framerate::new(30));
    CameraConfig::new(source, size.expect("a valid size"), framerate.expect("a valid rate"))
}

fn turned(source: Source, flip: Flip, rotation: Rotation) -> CameraConfig {
    CameraConfig { orientation: Orientation { flip, rotation }, ..camera(source) }
}

/// On a board that has these elements, with an encoder that takes pictures from this memory.
fn on(camera: &CameraConfig, elements: &[&str], memory: Memory) -> Result<SourceDescription, VideoError> {
    let has = |element: &str| elements.contains(&element);
    describe(camera, &Surroundings { raw_formats: &["I420", "NV12"], memory, device: None, fit: false, has: &has })
}

fn v4l2_text(usb: UsbConfig, format: Format, elements: &[&str]) -> (String, Output) {
    let has = |element: &str| elements.contains(&element);
    let mode = Taken {
        format,
        size: Size::new(640, 480).expect("a valid size"),
        rate: Rate { frames: 30_000, seconds: 1001 },
    };
    let device = Some((Path::new("/dev/video2"), mode));
    let around = Surroundings { raw_formats: &["I420"], memory: Memory::System, device, fit: false, has: &has };
    let described = describe(&camera(Source::Usb(usb)), &around).expect("it can be described");
    (described.launch_text, described.output)
}

const PACE: &str = " ! identity name=pace sync=true silent=true";

#[test]
fn the_test_picture_is_drawn_here() {
    let source = on(&camera(Source::Test), &[], Memory::System).expect("it can be described");
    assert!(source.drawn);
    assert_eq!(
        source.launch_text,
        "appsrc name=test-picture format=time caps=video/x-raw,format=I420,width=640,height=360,framerate=30/1,\
         pixel-aspect-ratio=1/1,interlace-mode=progressive ! identity name=pace sync=true silent=true"
    );
}

#[test]
fn a_description_is_taken_as_it_is_and_adapted_to_the_settings() {
    let source = on(&camera(Source::Pipeline("v4l2src ! video/x-raw".into())), &[], Memory::System);
    let source = source.expect("it can be described");
    assert!(!source.drawn);
    assert_eq!(
        source.launch_text,
        "v4l2src ! video/x-raw ! videoconvert ! videoscale ! videorate drop-only=true ! \
         video/x-raw,format=(string){I420,NV12},width=640,height=360,framerate=(fraction)[0/1,30/1],pixel-aspect-ratio=1/1 \
         ! identity name=pace sync=true silent=true"
    );
}

#[test]
fn a_v4l2_camera_is_asked_for_the_chosen_mode_and_nothing_is_scaled() {
    let adapter = "videoconvert ! videorate drop-only=true ! \
                   video/x-raw,format=(string){I420},framerate=(fraction)[0/1,30/1]";
    let shape = "width=640,height=480,framerate=30000/1001";
    let source = "v4l2src name=camera device=/dev/video2";
    let table = [
        (Format::Raw("YUY2"), &[][..], format!("{source} ! video/x-raw,format=YUY2,{shape} ! {adapter}{PACE}")),
        (Format::Mjpeg, &[], format!("{source} ! image/jpeg,{shape} ! jpegdec ! {adapter}{PACE}")),
        (Format::Mjpeg, &["v4l2jpegdec"], format!("{source} ! image/jpeg,{shape} ! v4l2jpegdec ! {adapter}{PACE}")),
        (
            Format::Mjpeg,
            &["nvv4l2decoder", "nvvidconv"],
            format!(
                "{source} ! image/jpeg,{shape} ! nvv4l2decoder mjpeg=1 ! nvvidconv ! video/x-raw ! {adapter}{PACE}"
            ),
        ),
    ];
    for (format, elements, expected) in table {
        assert_eq!(v4l2_text(UsbConfig::default(), format, elements), (expected, Output::Raw(Memory::System)));
    }
    let (text, output) = v4l2_text(UsbConfig { format: PixelFormat::H264, ..UsbConfig::default() }, Format::H264, &[]);
    assert_eq!((text, output), (format!("{source} ! video/x-h264,{shape}{PACE}"), Output::H264));
}

#[test]
fn controls_are_set_by_name() {
    let controls = vec![("exposure_auto".to_owned(), 1), ("gain".to_owned(), -5)];
    let (text, _) = v4l2_text(UsbConfig { controls, ..UsbConfig::default() }, Format::Raw("YUY2"), &[]);
    assert!(text.contains("device=/dev/video2 extra-controls=\"controls,exposure_auto=1,gain=-5\" ! "), "{text}");
}

#[test]
fn a_jetsons_pictures_stay_in_its_own_memory_as_long_as_the_encoder_takes_them_there() {
    let jetson = ["nvarguscamerasrc", "nvvidconv", "libcamerasrc"];
    let csi = |sensor| camera(Source::Csi(CsiConfig { sensor }));
    let source = on(&csi(SensorChoice::Id(1)), &jetson, Memory::Nvmm).expect("it can be described");
    let capture = "nvarguscamerasrc name=camera sensor-id=1 ! \
                   video/x-raw(memory:NVMM),width=640,height=360,framerate=30/1,format=NV12 ! nvvidconv flip-method=0 ! ";
    let expected = format!("{capture}video/x-raw(memory:NVMM),format=NV12,width=640,height=360{PACE}");
    assert_eq!((source.launch_text, source.output), (expected, Output::Raw(Memory::Nvmm)));
    let source = on(&csi(SensorChoice::Id(1)), &jetson, Memory::System).expect("it can be described");
    let expected = format!("{capture}video/x-raw,format=(string){{I420,NV12}},width=640,height=360{PACE}");
    assert_eq!((source.launch_text, source.output), (expected, Output::Raw(Memory::System)));
}

#[test]
fn a_raspberry_pis_pictures_go_through_its_image_processor_when_it_has_one() {
    let csi = camera(Source::Csi(CsiConfig { sensor: SensorChoice::Name("/base/imx 219".into()) }));
    let capture = "libcamerasrc name=camera camera-name=\"/base/imx 219\" ! video/x-raw,width=640,height=360,format=NV12,\
                   colorimetry=bt709,interlace-mode=progressive,framerate=30/1 ! ";
    let pi4 = on(&csi, &["libcamerasrc", "v4l2convert"], Memory::System).expect("it can be described");
    assert_eq!(pi4.launch_text, format!("{capture}v4l2convert{PACE}"));
    let pi5 = on(&csi, &["libcamerasrc"], Memory::System).expect("it can be described");
    assert!(pi5.launch_text.starts_with(&format!("{capture}videoconvert ! ")), "{}", pi5.launch_text);
}

#[test]
fn a_board_without_csi_and_a_camera_that_cannot_be_named_so_are_refused() {
    let csi = |sensor| camera(Source::Csi(CsiConfig { sensor }));
    let table = [
        (csi(SensorChoice::Auto), &[][..], "gstreamer1.0-libcamera"),
        (csi(SensorChoice::Name("imx219".into())), &["nvarguscamerasrc"], "numbers"),
        (csi(SensorChoice::Id(1)), &["libcamerasrc"], "names"),
    ];
    for (camera, elements, part) in table {
        let refused = on(&camera, elements, Memory::System).expect_err("refused");
        assert!(refused.is_configuration() && refused.to_string().contains(part), "{refused}");
    }
}

#[test]
fn pictures_are_turned_where_it_costs_least() {
    let csi = || Source::Csi(CsiConfig::default());
    let file = || Source::Pipeline("x".into());
    let (jetson, pi) = (["nvarguscamerasrc"], ["libcamerasrc", "v4l2convert"]);
    let table: [(CameraConfig, &[&str], &[&str]); 7] = [
        (turned(csi(), Flip::None, Rotation::R180), &jetson, &["flip-method=2"]),
        (
            turned(csi(), Flip::None, Rotation::R90),
            &jetson,
            &["width=360,height=640,framerate", "flip-method=3", "format=(string){I420,NV12},width=640,height=360"],
        ),
        (turned(csi(), Flip::Vertical, Rotation::R90), &jetson, &["flip-method=7"]),
        (turned(csi(), Flip::None, Rotation::R180), &pi, &["controls,horizontal_flip=1,vertical_flip=1"]),
        (
            turned(csi(), Flip::None, Rotation::R270),
            &pi,
            &["videoflip method=counterclockwise", "width=360,height=640"],
        ),
        (turned(file(), Flip::Horizontal, Rotation::R0), &[], &["videoflip method=horizontal-flip"]),
        (turned(file(), Flip::Horizontal, Rotation::R90), &[], &["videoflip method=upper-right-diagonal"]),
    ];
    for (camera, elements, parts) in table {
        let text = on(&camera, elements, Memory::System).expect("it can be described").launch_text;
        for part in parts {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
