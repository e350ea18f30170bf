//! A channel's own place among files.

use std::fmt::Write;

use ring::digest::{SHA256, digest};

use crate::signal::settings::ChannelId;

/// Longest readable form of an id; beyond it the name would not fit a socket's path (107 bytes).
const LONGEST: usize = 64;

/// A channel's id as the name of one file or folder: letters, digits, `-`, `_` and `.` stay, the rest is
/// percent-encoded, a dot in front too (so it is never `..` or hidden). Ids that would become longer than 64 bytes end
/// in a digest instead. Different ids have different names.
pub fn path_component(channel: &ChannelId) -> String {
    let mut name = String::new();
    for byte in channel.as_str().bytes() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (byte == b'.' && !name.is_empty());
        if plain {
            name.push(byte.into());
        } else {
            let _ = write!(name, "%{byte:02X}");
        }
    }
    if name.len() <= LONGEST {
        return name;
    }
    let digest = digest(&SHA256, channel.as_str().as_bytes());
    name.truncate(LONGEST - 17);
    name.push('+');
    digest.as_ref()[..8].iter().for_each(|byte| {
        let _ = write!(name, "{byte:02x}");
    });
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_channel_id_leaves_its_folder_or_shares_a_name() {
        let ids = ["c40hipepjh65aeq6ndj0", "..", ".", "../../etc", "a/b", "a%2Fb", "a_b", ".hidden", "ä", "car.1"];
        let names: Vec<_> = ids.iter().map(|id| path_component(&ChannelId::new(*id).expect("valid"))).collect();
        let expected = [
            "c40hipepjh65aeq6ndj0",
            "%2E.",
            "%2E",
            "%2E.%2F..%2Fetc",
            "a%2Fb",
            "a%252Fb",
            "a_b",
            "%2Ehidden",
            "%C3%A4",
            "car.1",
        ];
        assert_eq!(names, expected);
        let [long, longer] = [200, 201].map(|n| path_component(&ChannelId::new("x".repeat(n)).expect("valid")));
        assert_eq!((long.len(), longer.len()), (LONGEST, LONGEST));
        assert_ne!(long, longer);
    }
}
