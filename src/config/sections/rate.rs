//! `[rate]`

use crate::config::reader::{Read, Reader};
use crate::video::settings::{Bitrate, Fec, Framerate, RateConfig};

/// `start` is `encoder.bitrate_kbps`, which the other two rates lie around.
pub(super) fn read(reader: &mut Reader<'_>, start: Read<Bitrate>) -> Read<RateConfig> {
    const RANGE: std::ops::RangeInclusive<u32> = Bitrate::MIN_KBPS..=Bitrate::MAX_KBPS;
    let least = reader.integer_if_given("rate.min_kbps", RANGE);
    let most = reader.integer_if_given("rate.max_kbps", RANGE);
    let bits_per_pixel = reader.decimal("rate.bits_per_pixel", 0.0..=1.0, RateConfig::BITS_PER_PIXEL);
    let slowest = reader.integer("rate.slowest_framerate", 1..=Framerate::MAX, RateConfig::SLOWEST.per_second());
    let fec = reader.choice("rate.fec", &[("off", Fec::Off), ("flexfec-03", Fec::FlexFec03)]);
    let (least, most, start) = (least?, most?, start?);

    let defaults = RateConfig::up_to(start);
    let mut limit = |key, given: Option<u32>, default: Bitrate| {
        if given.is_none() {
            reader.derive_integer(key, default.kbps(), "encoder.bitrate_kbps");
        }
        given.map_or(default, |kbps| Bitrate::from_kbps(kbps).expect("the range is that of Bitrate"))
    };
    let least = limit("rate.min_kbps", least, defaults.min());
    let most = limit("rate.max_kbps", most, defaults.max());
    if least > start {
        let remedy =
            format!("must not be more than encoder.bitrate_kbps, {}: a session starts with that", start.kbps());
        return Err(reader.problem("rate.min_kbps", remedy));
    }
    let Some(config) = RateConfig::new(start, least, most) else {
        let remedy =
            format!("must not be less than encoder.bitrate_kbps, {}: a session starts with that", start.kbps());
        return Err(reader.problem("rate.max_kbps", remedy));
    };
    let slowest = Framerate::new(slowest?).expect("the range is that of Framerate");
    Ok(config.with_floor(bits_per_pixel?, slowest).with_fec(fec?))
}
