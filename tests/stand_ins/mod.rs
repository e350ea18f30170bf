//! The stand-in elements. What is set or asked of them is noted, and in which memory pictures come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, OnceLock, PoisonError};

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer::subclass::prelude::*;
use gstreamer_base::subclass::BaseTransformMode;
use gstreamer_base::subclass::prelude::*;

static NOTES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn note(what: String) {
    NOTES.lock().unwrap_or_else(PoisonError::into_inner).push(what);
}

/// Whether this was set or asked.
pub(crate) fn was_done(what: &str) -> bool {
    NOTES.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|note| note == what)
}

/// The memories of the pictures that passed a pad, by `ELEMENT.PAD`.
static MEMORIES: Mutex<BTreeMap<String, BTreeSet<usize>>> = Mutex::new(BTreeMap::new());

fn note_memories(pad: &gst::Pad, element: &str) {
    let name = format!("{element}.{}", pad.name());
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let memories = info.buffer().into_iter().flat_map(|buffer| buffer.iter_memories());
        let places = memories.map(|memory| memory.as_ptr() as usize);
        let mut all = MEMORIES.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(name.clone()).or_default().extend(places);
        gst::PadProbeReturn::Ok
    });
}

/// Forgets them: an encoder has been tried with pictures that are no camera's.
pub(crate) fn forget_memories() {
    MEMORIES.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// Whether pictures passed the second pad, each in memory in which some have passed the first.
pub(crate) fn nothing_was_copied(from: &str, to: &str) -> bool {
    let all = MEMORIES.lock().unwrap_or_else(PoisonError::into_inner);
    let places = |pad| all.get(pad).cloned().unwrap_or_default();
    !places(to).is_empty() && places(to).is_subset(&places(from))
}

/// Makes these elements known to this process.
pub(crate) fn register(elements: &[&str]) {
    gst::init().expect("GStreamer");
    let rank = gst::Rank::NONE;
    gst::Element::register(None, "standinmemory", rank, Memory::static_type()).expect("registered");
    for element in elements {
        let (name, broken) = element.split_once(':').map_or((*element, false), |(name, _)| (name, true));
        if broken {
            gst::Element::register(None, name, rank, BrokenEncoder::static_type()).expect("registered");
            continue;
        }
        let kind = match name {
            "nvarguscamerasrc" => Argus::static_type(),
            "nvvidconv" => Converter::static_type(),
            "nvv4l2h264enc" => Nvenc::static_type(),
            "libcamerasrc" => Libcamera::static_type(),
            "v4l2convert" => Isp::static_type(),
            "v4l2h264enc" => V4l2::static_type(),
            "omxh264enc" => Omx::static_type(),
            other => panic!("no stand-in for {other}"),
        };
        gst::Element::register(None, name, rank, kind).expect("registered");
    }
}

/// Takes pictures from either memory into either: here they all lie in the same.
mod memory {
    use super::*;

    #[derive(Default)]
    pub struct MemoryImp;

    #[glib::object_subclass]
    impl ObjectSubclass for MemoryImp {
        const NAME: &'static str = "StandInMemory";
        type Type = Memory;
        type ParentType = gstreamer_base::BaseTransform;
    }

    impl ObjectImpl for MemoryImp {}
    impl GstObjectImpl for MemoryImp {}

    impl ElementImpl for MemoryImp {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: OnceLock<gst::subclass::ElementMetadata> = OnceLock::new();
            Some(METADATA.get_or_init(|| gst::subclass::ElementMetadata::new("memory", "Video", "stands in", "rtcpub")))
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: OnceLock<Vec<gst::PadTemplate>> = OnceLock::new();
            TEMPLATES.get_or_init(|| {
                let caps: gst::Caps = "video/x-raw(memory:NVMM); video/x-raw".parse().expect("caps");
                let pad = |name, direction| {
                    gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps).expect("a template")
                };
                vec![pad("sink", gst::PadDirection::Sink), pad("src", gst::PadDirection::Src)]
            })
        }
    }

    impl BaseTransformImpl for MemoryImp {
        const MODE: BaseTransformMode = BaseTransformMode::AlwaysInPlace;
        const PASSTHROUGH_ON_SAME_CAPS: bool = true;
        const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

        fn transform_caps(
            &self,
            _direction: gst::PadDirection,
            caps: &gst::Caps,
            filter: Option<&gst::Caps>,
        ) -> Option<gst::Caps> {
            let mut either = gst::Caps::new_empty();
            let all = either.get_mut().expect("not shared");
            for structure in caps.iter() {
                all.append_structure(structure.to_owned());
                all.append_structure_full(structure.to_owned(), Some(gst::CapsFeatures::new(["memory:NVMM"])));
            }
            Some(match filter {
                Some(filter) => filter.intersect_with_mode(&either, gst::CapsIntersectMode::First),
                None => either,
            })
        }

        fn transform_ip(&self, _buffer: &mut gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
            Ok(gst::FlowSuccess::Ok)
        }
    }
}

glib::wrapper! {
    pub struct Memory(ObjectSubclass<memory::MemoryImp>)
        @extends gstreamer_base::BaseTransform, gst::Element, gst::Object;
}

/// What a stand-in does when it is told to make a key frame by the event.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum OnEvent {
    Obey,
    /// As v4l2h264enc of GStreamer before 1.22.4.
    Ignore,
}

fn force(bin: &gst::Bin) {
    let Some(x264) = bin.by_name("x264") else { return };
    let order = gst::Structure::builder("GstForceKeyUnit").field("all-headers", true).field("count", 0_u32).build();
    x264.send_event(gst::event::CustomUpstream::new(order));
}

fn retune(bin: &gst::Bin, bps: u32) {
    if let Some(x264) = bin.by_name("x264") {
        x264.set_property("bitrate", bps / 1000);
    }
}

/// A bin by a description, with the pads and properties of the real element.
macro_rules! stand_in {
    ($module:ident, $type:ident, $element:literal, $inner:expr, $sink:expr, $src:expr, $on_event:expr, [$($property:expr),*]) => {
        mod $module {
            use super::*;

            #[derive(Default)]
            pub struct Imp;

            #[glib::object_subclass]
            impl ObjectSubclass for Imp {
                const NAME: &'static str = concat!("StandIn", stringify!($type));
                type Type = super::$type;
                type ParentType = gst::Bin;
            }

            impl ObjectImpl for Imp {
                fn constructed(&self) {
                    self.parent_constructed();
                    let bin = self.obj();
                    let inner = gst::parse::bin_from_description($inner, true).expect("the stand-in's parts are installed");
                    bin.add(&inner).expect("added");
                    for name in ["sink", "src"] {
                        if let Some(target) = inner.static_pad(name) {
                            let template = bin.pad_template(name).expect("as many templates as pads");
                            let ghost = gst::GhostPad::builder_from_template_with_target(&template, &target);
                            let ghost = ghost.expect("it fits").build();
                            note_memories(ghost.upcast_ref(), $element);
                            bin.add_pad(&ghost).expect("added");
                        }
                    }
                }

                fn properties() -> &'static [glib::ParamSpec] {
                    static PROPERTIES: OnceLock<Vec<glib::ParamSpec>> = OnceLock::new();
                    PROPERTIES.get_or_init(|| vec![$($property),*])
                }

                fn signals() -> &'static [glib::subclass::Signal] {
                    static SIGNALS: OnceLock<Vec<glib::subclass::Signal>> = OnceLock::new();
                    SIGNALS.get_or_init(|| {
                        let force_idr = glib::subclass::Signal::builder("force-IDR").action().run_last();
                        vec![
                            force_idr
                                .class_handler(|values| {
                                    note(concat!($element, ".force-IDR").to_owned());
                                    force(&values[0].get::<gst::Bin>().expect("the element"));
                                    None
                                })
                                .build(),
                        ]
                    })
                }

                fn set_property(&self, _id: usize, value: &glib::Value, property: &glib::ParamSpec) {
                    let bin = self.obj();
                    let bin = bin.upcast_ref::<gst::Bin>();
                    if let Ok(structure) = value.get::<gst::Structure>() {
                        for (name, value) in structure.iter() {
                            let number = value.get::<i32>().unwrap_or_default();
                            note(format!("{}.{name}={number}", $element));
                            match name.as_str() {
                                "video_bitrate" => retune(bin, number as u32),
                                "force_key_frame" => force(bin),
                                _ => {}
                            }
                        }
                        return;
                    }
                    let shown = value.get::<u32>().map_or_else(|_| format!("{value:?}"), |number| number.to_string());
                    note(format!("{}.{}={shown}", $element, property.name()));
                    if property.name() == "bitrate" {
                        retune(bin, value.get::<u32>().expect("unsigned"));
                    }
                }

                fn property(&self, _id: usize, property: &glib::ParamSpec) -> glib::Value {
                    property.default_value().clone()
                }
            }

            impl GstObjectImpl for Imp {}

            impl ElementImpl for Imp {
                fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
                    static METADATA: OnceLock<gst::subclass::ElementMetadata> = OnceLock::new();
                    Some(METADATA.get_or_init(|| gst::subclass::ElementMetadata::new($element, "Video", "stands in", "rtcpub")))
                }

                fn pad_templates() -> &'static [gst::PadTemplate] {
                    static TEMPLATES: OnceLock<Vec<gst::PadTemplate>> = OnceLock::new();
                    TEMPLATES.get_or_init(|| {
                        let sides = [("sink", gst::PadDirection::Sink, $sink), ("src", gst::PadDirection::Src, $src)];
                        let given = sides.into_iter().filter(|(_, _, caps)| !caps.is_empty());
                        given
                            .map(|(name, direction, caps): (_, _, &str)| {
                                let caps: gst::Caps = caps.parse().expect("caps");
                                gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps).expect("a template")
                            })
                            .collect()
                    })
                }

                fn send_event(&self, event: gst::Event) -> bool {
                    let forces = event.structure().is_some_and(|structure| structure.name() == "GstForceKeyUnit");
                    if !forces {
                        return self.parent_send_event(event);
                    }
                    if $on_event == OnEvent::Obey {
                        force(self.obj().upcast_ref());
                    }
                    true
                }
            }

            impl BinImpl for Imp {}
        }

        glib::wrapper! {
            pub struct $type(ObjectSubclass<$module::Imp>) @extends gst::Bin, gst::Element, gst::Object,
                @implements gst::ChildProxy;
        }
    };
}

const X264: &str = "standinmemory ! videoconvert ! x264enc name=x264 tune=zerolatency speed-preset=ultrafast \
                    key-int-max=1000 ! capsfilter caps=video/x-h264,profile=constrained-baseline";
const NVMM: &str = "video/x-raw(memory:NVMM),format={NV12,I420}";
const SYSTEM: &str = "video/x-raw,format={NV12,I420}";
const EITHER: &str = "video/x-raw(memory:NVMM); video/x-raw";
const RAW: &str = "video/x-raw";
const H264: &str = "video/x-h264,stream-format=byte-stream,alignment=au";
const NONE: &str = "";

fn number(name: &str) -> glib::ParamSpec {
    glib::ParamSpecUInt::builder(name).build()
}

fn switch(name: &str) -> glib::ParamSpec {
    glib::ParamSpecBoolean::builder(name).build()
}

fn controls() -> glib::ParamSpec {
    glib::ParamSpecBoxed::builder::<gst::Structure>("extra-controls").build()
}

stand_in!(
    argus,
    Argus,
    "nvarguscamerasrc",
    "videotestsrc is-live=true ! standinmemory",
    NONE,
    NVMM,
    OnEvent::Ignore,
    [number("sensor-id")]
);
stand_in!(
    converter,
    Converter,
    "nvvidconv",
    "standinmemory ! videoconvert ! videoscale ! standinmemory",
    EITHER,
    EITHER,
    OnEvent::Ignore,
    [number("flip-method")]
);
stand_in!(
    nvenc,
    Nvenc,
    "nvv4l2h264enc",
    X264,
    NVMM,
    H264,
    OnEvent::Ignore,
    [
        number("bitrate"),
        number("control-rate"),
        number("profile"),
        number("preset-level"),
        switch("maxperf-enable"),
        switch("insert-sps-pps"),
        switch("insert-vui"),
        number("iframeinterval"),
        number("idrinterval")
    ]
);
stand_in!(
    libcamera,
    Libcamera,
    "libcamerasrc",
    "videotestsrc is-live=true",
    NONE,
    RAW,
    OnEvent::Ignore,
    [glib::ParamSpecString::builder("camera-name").build()]
);
stand_in!(isp, Isp, "v4l2convert", "videoconvert ! videoscale", RAW, RAW, OnEvent::Ignore, [controls()]);
stand_in!(v4l2, V4l2, "v4l2h264enc", X264, SYSTEM, H264, OnEvent::Ignore, [controls()]);
stand_in!(
    omx,
    Omx,
    "omxh264enc",
    X264,
    SYSTEM,
    H264,
    OnEvent::Obey,
    [number("bitrate"), number("control-rate"), switch("insert-sps-pps"), number("iframeinterval")]
);
stand_in!(
    broken,
    BrokenEncoder,
    "nvv4l2h264enc",
    "standinmemory ! videoconvert ! identity error-after=1 ! x264enc",
    NVMM,
    H264,
    OnEvent::Ignore,
    [number("bitrate")]
);
