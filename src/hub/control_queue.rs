//! What waits to be sent to a publisher on `stream`. A link that stalls and returns must not play old commands back, so
//! within one driver and one axis (or one topic and key) the newest replaces what still waits.

use std::collections::VecDeque;

use super::stream_message::{Kind, StreamMessage};

/// Messages waiting for one publisher. Full: the oldest that is no stop is dropped.
pub const CAPACITY: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub struct ControlQueue {
    waiting: VecDeque<StreamMessage>,
}

impl ControlQueue {
    /// Adds a message behind the others, replacing the one it outdates.
    pub fn push(&mut self, message: StreamMessage) {
        self.waiting.retain(|waiting| !outdates(&message, waiting));
        if self.waiting.len() == CAPACITY {
            let victim = self.waiting.iter().position(|waiting| !is_stop(waiting)).unwrap_or(0);
            self.waiting.remove(victim);
        }
        self.waiting.push_back(message);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next message to send.
    pub fn pop(&mut self) -> Option<StreamMessage> {
        self.waiting.pop_front()
    }
}

/// Never across drivers: the stop of a driver who left must reach the car before the first command of the next.
fn outdates(new: &StreamMessage, old: &StreamMessage) -> bool {
    let same_lane = match (&new.kind, &old.kind) {
        (Kind::Motion { axis: new, .. }, Kind::Motion { axis: old, .. }) => new == old,
        (new, old) => new == old,
    };
    same_lane && new.stamp.session == old.stamp.session
}

fn is_stop(message: &StreamMessage) -> bool {
    matches!(message.kind, Kind::EmergencyStop | Kind::Motion { neutral: true, .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::stream_message::{Stamp, neutral};

    fn message(text: &str) -> StreamMessage {
        StreamMessage::parse(text.to_owned()).expect("a message")
    }

    fn drain(queue: &mut ControlQueue) -> Vec<String> {
        std::iter::from_fn(|| queue.pop()).map(|message| message.text).collect()
    }

    #[test]
    fn a_burst_on_one_axis_leaves_its_newest_command() {
        let mut queue = ControlQueue::default();
        for value in 1..=20 {
            queue.push(message(&format!(r#"{{"motion":{{"key":"forward","value":{value}}}}}"#)));
            queue.push(message(&format!(r#"{{"motion":{{"key":"left","value":{value}}}}}"#)));
        }
        let back = r#"{"motion":{"key":"back","value":3}}"#;
        queue.push(message(back));
        assert_eq!(drain(&mut queue), [r#"{"motion":{"key":"left","value":20}}"#, back]);
    }

    #[test]
    fn the_stop_of_one_driver_is_not_outdated_by_the_next_driver() {
        let mut queue = ControlQueue::default();
        let stop = neutral(&Stamp { session: Some("old".into()), seq: Some(4) });
        stop.clone().into_iter().for_each(|message| queue.push(message));
        let first = r#"{"motion":{"key":"forward","value":9},"seq":0,"session":"new"}"#;
        queue.push(message(first));
        assert_eq!(drain(&mut queue), [stop[0].text.as_str(), stop[1].text.as_str(), first]);
    }

    #[test]
    fn different_topics_wait_side_by_side_in_order() {
        let mut queue = ControlQueue::default();
        let texts = [
            r#"{"estop":{"key":"latch","value":1}}"#,
            r#"{"speed":{"key":"maxSpeed","value":400}}"#,
            r#"{"estop":{"key":"clear","value":1}}"#,
            r#"{"motion":{"key":"left","value":0}}"#,
        ];
        texts.iter().for_each(|text| queue.push(message(text)));
        assert_eq!(drain(&mut queue), texts);
    }

    #[test]
    fn a_full_queue_drops_the_oldest_that_is_no_stop() {
        let mut queue = ControlQueue::default();
        let stop = r#"{"estop":{"key":"latch","value":1}}"#;
        queue.push(message(stop));
        for key in 0..CAPACITY {
            queue.push(message(&format!(r#"{{"light":{{"key":"k{key}","value":1}}}}"#)));
        }
        let left = drain(&mut queue);
        assert_eq!(left.len(), CAPACITY);
        assert_eq!(left[0], stop);
        assert_eq!(left[1], r#"{"light":{"key":"k1","value":1}}"#, "k0 was dropped");
    }
}
