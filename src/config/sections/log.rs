//! `[log]`

use crate::config::LogConfig;
use crate::config::reader::{Read, Reader};
use crate::logging::LogFilter;

pub(super) fn read(reader: &mut Reader<'_>) -> Read<LogConfig> {
    let given = reader.parsed("log.level", LogFilter::parse)?;
    let filter = given.unwrap_or_else(|| {
        let default = LogFilter::default();
        reader.derive("log.level", default.as_str(), crate::config::Origin::Default);
        default
    });
    Ok(LogConfig { filter })
}
