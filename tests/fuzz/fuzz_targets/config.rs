//! Any bytes are a channel file or a list of problems; a file that is accepted is accepted again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rtcpub::config::{ChannelFile, FileContent, Sources, parse};

fuzz_target!(|bytes: &[u8]| {
    let read = |_: &std::path::Path| Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    let file = ChannelFile {
        path: "/etc/rtcpub/c40hipepjh65aeq6ndj0.toml".into(),
        content: FileContent { bytes: bytes.to_vec(), world_readable: false },
    };
    let sources = Sources { file: Some(file), environment: Vec::new(), flags: Vec::new(), read: &read };
    match parse(&sources) {
        Ok(loaded) => assert_eq!(parse(&sources).as_ref(), Ok(&loaded)),
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
});
