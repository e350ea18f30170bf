//! `[channels.metric]` and `[channels.stream]`; `[ice]` is next door

use std::time::Duration;

use url::Url;

use super::ice;
use crate::config::reader::{Read, Reader};
use crate::rtc::settings::{DeliveryLimit, Reliability, RtcConfig};

pub(super) fn read(reader: &mut Reader<'_>, server: Option<&Url>) -> Read<RtcConfig> {
    let ice = ice::read(reader, server);
    let metric = reliability(reader, "channels.metric");
    let stream = reliability(reader, "channels.stream");
    Ok(RtcConfig { ice: ice?, metric: metric?, stream: stream? })
}

fn reliability(reader: &mut Reader<'_>, table: &str) -> Read<Reliability> {
    let retransmits_key = format!("{table}.max_retransmits");
    let ordered = reader.boolean(&format!("{table}.ordered"), true);
    let retransmits = reader.integer_if_given(&retransmits_key, 0..=u16::MAX);
    let lifetime = reader.integer_if_given(&format!("{table}.max_packet_life_time_ms"), 0..=u16::MAX);
    let limit = match (retransmits?, lifetime?) {
        (None, None) => DeliveryLimit::Reliable,
        (Some(times), None) => DeliveryLimit::Retransmits(times),
        (None, Some(millis)) => DeliveryLimit::Lifetime(Duration::from_millis(millis.into())),
        (Some(_), Some(_)) => {
            let remedy = "a channel has this limit or max_packet_life_time_ms, not both: keep one";
            return Err(reader.problem(&retransmits_key, remedy));
        }
    };
    Ok(Reliability { ordered: ordered?, limit })
}
