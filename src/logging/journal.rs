//! journald's own protocol: a datagram an event, with the event's fields beside its message
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>), so that `journalctl -t rtcpub RTCPUB_PEER=3` finds them.
//!
//! Our own and not the `tracing-journald` crate, which sends what it is given: there is no place in it for redaction.

use std::fmt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata};

use super::lines::priority;

const SOCKET: &str = "/run/systemd/journal/socket";
/// A field's name is at most so long (systemd.journal-fields(7)).
const LONGEST_NAME: usize = 64;

/// The socket to journald.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    /// `None` where there is no journald to talk to: the lines go to standard error then.
    pub(super) fn open() -> Option<Self> {
        Self::open_at(Path::new(SOCKET))
    }

    fn open_at(path: &Path) -> Option<Self> {
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect(path).ok()?;
        // A journald that does not keep up must not hold up the car.
        socket.set_nonblocking(true).ok()?;
        Some(Self { socket })
    }

    /// Whether it was taken.
    pub(super) fn send(
        &self,
        event: &Event<'_>,
        metadata: &Metadata<'_>,
        message: &str,
        redact: impl Fn(&str) -> String,
    ) -> bool {
        let mut entry = Entry { datagram: Vec::with_capacity(512), redact };
        entry.put("PRIORITY", &priority(*metadata.level()).to_string());
        entry.put("SYSLOG_IDENTIFIER", "rtcpub");
        entry.put("TARGET", metadata.target());
        if let (Some(file), Some(line)) = (metadata.file(), metadata.line()) {
            entry.put("CODE_FILE", file);
            entry.put("CODE_LINE", &line.to_string());
        }
        event.record(&mut entry);
        entry.put("MESSAGE", message);
        self.socket.send(&entry.datagram).is_ok()
    }
}

struct Entry<R> {
    datagram: Vec<u8>,
    redact: R,
}

impl<R> Entry<R> {
    /// The form for binary values: name, line feed, length in 64 bits little-endian, value, line feed.
    fn put(&mut self, name: &str, value: &str) {
        self.datagram.extend_from_slice(name.as_bytes());
        self.datagram.push(b'\n');
        self.datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.datagram.extend_from_slice(value.as_bytes());
        self.datagram.push(b'\n');
    }
}

impl<R: Fn(&str) -> String> Visit for Entry<R> {
    fn record_str(&mut self, field: &Field, value: &str) {
        // What the message holds already, and what `tracing-log` carries along for itself.
        if field.name() != "message" && !field.name().starts_with("log.") {
            // The name first: by it a value is known to be a secret.
            let shown = (self.redact)(&format!("{}={value}", field.name()));
            let shown = shown.split_once('=').map_or("", |(_, shown)| shown).to_owned();
            self.put(&name(field.name()), &shown);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// `tls.pin` → `RTCPUB_TLS_PIN`.
fn name(field: &str) -> String {
    let upper = field.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    "RTCPUB_".chars().chain(upper).take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;

    struct Send(Journal);

    impl<S: tracing::Subscriber> Layer<S> for Send {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let redact = |text: &str| text.replace("hunter2", "[redacted]");
            assert!(self.0.send(event, event.metadata(), "the line", redact));
        }
    }

    fn fields(mut datagram: &[u8]) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        while !datagram.is_empty() {
            let end = datagram.iter().position(|byte| *byte == b'\n').expect("a name");
            let (name, rest) = datagram.split_at(end);
            let (length, rest) = rest[1..].split_at(8);
            let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
            fields.insert(text(name), text(&rest[..length]));
            assert_eq!(rest[length], b'\n');
            datagram = &rest[length + 1..];
        }
        fields
    }

    #[test]
    fn an_event_reaches_journald_with_its_fields() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let journald = UnixDatagram::bind(&path).expect("a socket");
        let journal = Journal::open_at(&path).expect("it listens");
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Send(journal)), || {
            tracing::warn!(target: "rtcpub::rtc", peer = 3, tls.pin = "a\nb", token = "hunter2", "hello");
        });
        let mut datagram = [0; 4096];
        let length = journald.recv(&mut datagram).expect("a datagram");
        let fields = fields(&datagram[..length]);
        let rows = [
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "rtcpub"),
            ("TARGET", "rtcpub::rtc"),
            ("MESSAGE", "the line"),
            ("RTCPUB_PEER", "3"),
            ("RTCPUB_TLS_PIN", "a\nb"),
            ("RTCPUB_TOKEN", "[redacted]"),
            ("CODE_FILE", "src/logging/journal.rs"),
        ];
        for (name, value) in rows {
            assert_eq!(fields.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(Journal::open_at(Path::new("/nowhere")).is_none());
    }
}
