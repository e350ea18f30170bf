//! `[[cameras]]`

use super::video::{encoder_choice, orientation, size, source};
use crate::config::reader::{Read, Reader};
use crate::config::schema::{join, last};
use crate::video::further::{CameraName, FurtherCamera, MOST_FURTHER};
use crate::video::settings::{Bitrate, CameraConfig, EncoderChoice, EncoderConfig, Framerate, Source, VideoConfig};

const KEY: &str = "cameras";
const DEFAULT_KBPS: u32 = 400;

/// `first` is what `[camera]` and `[encoder]` say, as far as they are right.
pub(super) fn read(reader: &mut Reader<'_>, first: Read<&VideoConfig>) -> Read<Vec<FurtherCamera>> {
    let cameras = reader.tables(KEY, camera)?.unwrap_or_default();
    if cameras.len() > MOST_FURTHER {
        return Err(reader.problem(KEY, format!("must not have more than {MOST_FURTHER} elements")));
    }
    let first = first?;
    for index in 0..cameras.len() {
        differs(reader, first, &cameras, index)?;
    }
    Ok(cameras.into_iter().map(|camera| camera.beside(first)).collect())
}

/// What an element says.
struct Camera {
    name: CameraName,
    camera: CameraConfig,
    encoder: EncoderChoice,
    bitrate: Bitrate,
}

impl Camera {
    /// What it does not say for itself is as for the first.
    fn beside(self, first: &VideoConfig) -> FurtherCamera {
        let VideoConfig { camera, encoder, .. } = first;
        let camera = CameraConfig { stall: camera.stall, placeholder: camera.placeholder, ..self.camera };
        let key_frame_interval = encoder.key_frame_interval;
        let encoder = EncoderConfig { choice: self.encoder, bitrate: self.bitrate, key_frame_interval };
        FurtherCamera { name: self.name, video: VideoConfig { camera, rear: None, encoder } }
    }
}

fn camera(reader: &mut Reader<'_>, element: &str) -> Read<Camera> {
    let name_key = join(element, "name");
    let name = reader.parsed(&name_key, |text| {
        let wrong = || format!("must be 1 to 16 of a-z, 0-9 and \"-\", and not \"{}\"", CameraName::FIRST);
        CameraName::new(text).ok_or_else(wrong)
    });
    let source = source(reader, element);
    let size = size(reader, element);
    let framerate = reader.integer(&join(element, "framerate"), 1..=Framerate::MAX, 30);
    let orientation = orientation(reader, element);
    let kbps = Bitrate::MIN_KBPS..=Bitrate::MAX_KBPS;
    let bitrate = reader.integer(&join(element, "bitrate_kbps"), kbps, DEFAULT_KBPS);
    let encoder = encoder_choice(reader, &join(element, "encoder"));
    let Some(name) = name? else {
        return Err(reader.problem(&name_key, "missing: give it, such as \"left\"; viewers know the picture by it"));
    };
    let framerate = Framerate::new(framerate?).expect("the range is that of Framerate");
    let camera = CameraConfig { orientation: orientation?, ..CameraConfig::new(source?, size?, framerate) };
    let bitrate = Bitrate::from_kbps(bitrate?).expect("the range is that of Bitrate");
    Ok(Camera { name, camera, encoder: encoder?, bitrate })
}

/// Neither name nor device may be those of a camera before it.
fn differs(reader: &mut Reader<'_>, first: &VideoConfig, cameras: &[Camera], index: usize) -> Read<()> {
    let element = |index: usize| format!("{KEY}[{index}]");
    let (Camera { name, camera, .. }, before) = (&cameras[index], &cameras[..index]);
    if let Some(same) = before.iter().position(|other| other.name == *name) {
        let remedy = format!("is the name of {} as well: each camera has its own", element(same));
        return Err(reader.problem(&join(&element(index), "name"), remedy));
    }
    let of_first =
        [("camera", Some(&first.camera.source)), ("camera.rear", first.rear.as_ref().map(|rear| &rear.source))];
    let of_first = of_first.into_iter().filter_map(|(table, source)| Some((table.to_owned(), source?)));
    let others = before.iter().enumerate().map(|(index, other)| (element(index), &other.camera.source));
    let same = of_first.chain(others).find(|(_, source)| camera.source.is_same_device(source));
    let Some((table, _)) = same else { return Ok(()) };
    let (key, which) = match camera.source {
        Source::Csi(_) => ("sensor", "by its number or name"),
        _ => (last(camera.key()), "by its device node or name, as \"rtcpub devices\" lists them"),
    };
    let remedy = format!("is the camera of {table} as well, and one camera gives one picture: name another, {which}");
    Err(reader.problem(&join(&element(index), key), remedy))
}
