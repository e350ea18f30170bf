//! Opens and closes the cameras of a pipeline that has two, as the selection asks. What to do when is
//! [`views`](crate::video::views)' to decide.

use std::sync::Arc;
use std::time::Instant;

use super::{START_DEADLINE, now, on_a_thread};
use crate::video::error::VideoError;
use crate::video::pipeline::Cameras;
use crate::video::settings::{VideoConfig, View};
use crate::video::views::{Chore, Seats, Views};

/// Attends to the cameras until the selected one is lost; for ever where there is only one.
pub(super) async fn attend(cameras: Option<Arc<Cameras>>, config: &VideoConfig, views: &Views) -> VideoError {
    let (Some(cameras), Some(rear)) = (cameras, &config.rear) else { return std::future::pending().await };
    let stall = config.camera.stall;
    let mut seats = Seats::new(rear.idle, cameras.first(), now());
    let (mut selection, mut shown, mut broken) = (views.selection(), views.shown(), cameras.broken());
    let mut told: Option<VideoError> = None;
    loop {
        let (selected, visible) = (*selection.borrow_and_update(), *shown.borrow_and_update());
        for (view, fault) in View::ALL.into_iter().zip(broken.borrow_and_update().iter()) {
            if let Some(fault) = fault {
                seats.broke(view);
                if view != selected {
                    tell(&mut told, view, fault);
                }
            }
        }
        if let Some(chore) = seats.chore(selected, visible, now()) {
            let done = carry_out(&cameras, chore).await;
            match (chore, done) {
                (Chore::Open(view), Ok(())) => {
                    tracing::info!(camera = view.name(), "camera opened");
                    seats.opened(view, now());
                }
                (Chore::Close(view), Ok(())) => seats.closed(view, now()),
                (Chore::Open(view), Err(fault)) if view != views.selected() => {
                    seats.failed(view, now());
                    tell(&mut told, view, &fault);
                }
                (_, Err(fault)) => return fault,
            }
            continue;
        }
        if seats.is_overdue(selected, visible, stall, now()) {
            return VideoError::Stalled { within: stall };
        }
        let again = seats.poll_timeout(selected, stall);
        tokio::select! {
            _ = selection.changed() => {}
            _ = shown.changed() => {}
            _ = broken.changed() => {}
            () = until(again) => {}
        }
    }
}

async fn carry_out(cameras: &Arc<Cameras>, chore: Chore) -> Result<(), VideoError> {
    let cameras = cameras.clone();
    let done = on_a_thread(START_DEADLINE, move || cameras.carry_out(chore)).await;
    done.unwrap_or(Err(VideoError::StartTimedOut { within: START_DEADLINE }))
}

/// Once a change, not once an attempt.
fn tell(told: &mut Option<VideoError>, view: View, fault: &VideoError) {
    if told.as_ref() != Some(fault) {
        tracing::warn!(camera = view.name(), error = %fault, "the camera that is not shown is lost; it is tried for again");
        *told = Some(fault.clone());
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
