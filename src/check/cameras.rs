//! What the cameras beside the first one mean on this machine: what would run for each, and what is unwise.

use std::path::PathBuf;

use super::boards;
use crate::config::{Config, without_passwords};
use crate::video::devices;
use crate::video::error::VideoError;
use crate::video::further::{CameraName, FurtherCamera};
use crate::video::modes::Wanted;
use crate::video::pipeline::inspect;
use crate::video::settings::{CameraConfig, Source, View};

/// What would run for each camera.
pub(super) fn pipelines(config: &Config) -> Vec<String> {
    let first = match config.cameras[..] {
        [] => String::new(),
        _ => format!("{}: ", CameraName::FIRST),
    };
    let mut lines = vec![first + &pipeline(inspect::command_line(&config.video))];
    lines.extend(config.cameras.iter().map(|FurtherCamera { name, video }| {
        format!("{name}: {}", pipeline(inspect::command_line(video).map_err(VideoError::of_further)))
    }));
    lines
}

/// To be pasted; or why nothing would run.
fn pipeline(line: Result<String, VideoError>) -> String {
    match line {
        Ok(line) => without_passwords(&line),
        Err(error) => format!("None now: {error}"),
    }
}

/// What is unwise about each, what concerns all told once.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = boards::warnings(&config.video, "camera");
    for FurtherCamera { name, video } in &config.cameras {
        let of_this = boards::warnings(video, "cameras[]").into_iter();
        let news: Vec<_> = of_this.filter(|warning| !warnings.contains(warning)).collect();
        warnings.extend(news.into_iter().map(|warning| format!("{name}: {warning}")));
    }
    warnings.extend(shared_devices(config));
    warnings
}

/// Two of them that are one device under two names.
fn shared_devices(config: &Config) -> Vec<String> {
    let first = ("camera".to_owned(), config.video.camera_of(View::Front));
    let rear = config.video.rear.as_ref().map(|_| ("camera.rear".to_owned(), config.video.camera_of(View::Rear)));
    let further = config.cameras.iter().map(|further| (further.name.to_string(), further.video.camera.clone()));
    let nodes: Vec<_> = std::iter::once(first)
        .chain(rear)
        .chain(further)
        .filter_map(|(name, camera)| Some((name, node(&camera)?)))
        .collect();
    let same = |(index, (name, node)): (usize, &(String, PathBuf))| {
        let (other, _) = nodes[..index].iter().find(|(_, other)| other == node)?;
        Some(format!("{name} and {other} are both {}: one camera gives one picture", node.display()))
    };
    nodes.iter().enumerate().filter_map(same).collect()
}

fn node(camera: &CameraConfig) -> Option<PathBuf> {
    let Source::Usb(usb) = &camera.source else { return None };
    let wanted = Wanted { size: camera.captured_size(), framerate: camera.framerate, format: usb.format };
    devices::find(&usb.device, wanted).ok().map(|(node, _)| node.path)
}
