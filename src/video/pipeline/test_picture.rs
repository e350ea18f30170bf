//! Feeds the test picture into its source bin: empty buffers leave an `appsrc`, `identity` holds each back until it is due,
//! and only then is it replaced by a picture, so that the clock in the picture is the moment of capture.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSrc, AppSrcCallbacks};

use crate::video::camera::TEST_PICTURE_NAME;
use crate::video::error::VideoError;
use crate::video::overlay::{Drawing, Stamp, TestPicture};
use crate::video::settings::CameraConfig;

/// Buffers made at once. One is enough while the encoder is done with a picture before the next is due; more are made when
/// it is not.
const POOLED_BUFFERS: u32 = 1;

/// Makes the `appsrc` of `bin` give a buffer a frame, and draws into each after `pace` has let it through.
pub(super) fn draw_into(
    bin: &gst::Bin,
    pace: &gst::Element,
    camera: &CameraConfig,
    drawing: Drawing,
) -> Result<(), VideoError> {
    let source = bin.by_name(TEST_PICTURE_NAME).and_downcast::<AppSrc>().expect("the description has it");
    let picture = TestPicture::new(camera.size);
    let pool = Pool::new(source.caps().as_ref(), picture.buffer_size())
        .map_err(|error| VideoError::GStreamer { problem: error.to_string() })?;
    let mut schedule = Schedule { interval: camera.framerate.interval(), last: None };
    let need_data = move |source: &AppSrc, _wanted: u32| {
        let mut buffer = gst::Buffer::new();
        let fields = buffer.get_mut().expect("a new buffer is not shared");
        // None until the pipeline has its clock: the first picture is due at once.
        let running = source.current_running_time().map_or(Duration::ZERO, Duration::from);
        fields.set_pts(to_clock_time(schedule.next(running)));
        fields.set_duration(to_clock_time(schedule.interval));
        // Only refused when the pipeline stops.
        let _ = source.push_buffer(buffer);
    };
    source.set_callbacks(AppSrcCallbacks::builder().need_data(need_data).build());

    let due = pace.static_pad("src").expect("identity has a source pad");
    let frames = AtomicU32::new(0);
    due.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        // Not `Drop`: the bindings free the buffer for it, and GStreamer would free it again.
        let Some(buffer) = info.buffer_mut() else { return gst::PadProbeReturn::Handled };
        // No memory to draw into: the pipeline stops, or the machine has none left.
        let Ok(mut drawn) = pool.0.acquire_buffer(None) else { return gst::PadProbeReturn::Handled };
        let stamp = Stamp { frame: frames.fetch_add(1, Relaxed), drawn_at: wall_clock() };
        fill(&mut drawn, buffer, |pixels| picture.draw(pixels, stamp, &drawing));
        *buffer = drawn;
        gst::PadProbeReturn::Ok
    });
    Ok(())
}

/// Makes `drawn` a picture that is due when `due` is.
fn fill(drawn: &mut gst::Buffer, due: &gst::BufferRef, draw: impl FnOnce(&mut [u8])) {
    let drawn = drawn.get_mut().expect("nobody else has a buffer fresh from the pool");
    drawn.set_pts(due.pts());
    drawn.set_duration(due.duration());
    draw(&mut drawn.map_writable().expect("system memory is writable"));
}

#[expect(clippy::disallowed_methods, reason = "the picture shows the wall clock at the moment it is drawn")]
fn wall_clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn to_clock_time(time: Duration) -> Option<gst::ClockTime> {
    gst::ClockTime::try_from(time).ok()
}

/// When pictures are due, on the pipeline's running clock.
struct Schedule {
    interval: Duration,
    last: Option<Duration>,
}

impl Schedule {
    /// When the next one is. After a stall (a stopped process) the missed ones are left out instead of being drawn in a
    /// burst.
    fn next(&mut self, now: Duration) -> Duration {
        let due = match self.last {
            None => now,
            Some(last) => {
                let missed = now.saturating_sub(last).as_nanos() / self.interval.as_nanos().max(1);
                last + self.interval * u32::try_from(missed).unwrap_or(u32::MAX).max(1)
            }
        };
        self.last = Some(due);
        due
    }
}

/// Buffers are used again, so that their pages are touched once.
struct Pool(gst::BufferPool);

impl Pool {
    fn new(caps: Option<&gst::Caps>, bytes: usize) -> Result<Self, gst::glib::BoolError> {
        let pool = gst::BufferPool::new();
        let mut config = pool.config();
        let bytes = u32::try_from(bytes).expect("the largest picture is 96 MiB");
        config.set_params(caps, bytes, POOLED_BUFFERS, 0);
        pool.set_config(config)?;
        pool.set_active(true)?;
        Ok(Self(pool))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = self.0.set_active(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(40);

    fn millis(schedule: &mut Schedule, now: u64) -> u128 {
        schedule.next(Duration::from_millis(now)).as_millis()
    }

    #[test]
    fn pictures_are_due_at_even_distances_whatever_the_time_they_are_asked_for() {
        let mut schedule = Schedule { interval: INTERVAL, last: None };
        let due = [5, 6, 50, 90, 124].map(|now| millis(&mut schedule, now));
        assert_eq!(due, [5, 45, 85, 125, 165]);
    }

    #[test]
    fn pictures_missed_in_a_stall_are_left_out() {
        let mut schedule = Schedule { interval: INTERVAL, last: None };
        let due = [0, 1, 1_000, 1_001, 1_040].map(|now| millis(&mut schedule, now));
        assert_eq!(due, [0, 40, 1_000, 1_040, 1_080]);
    }
}
