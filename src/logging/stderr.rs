//! Standard error, on which nobody waits: a line for which there is no room now is lost, and counted.
//!
//! Every thread logs, that of the drive included. A log whose reader hangs (a pager, a stopped terminal, a journal that
//! is restarted) would hold each of them up at its next line, and with it whatever stops the car.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing_subscriber::fmt::MakeWriter;

/// What a pipe takes without waiting once it says that it takes anything (`PIPE_BUF`, pipe(7)); a socket or a terminal
/// takes more.
const AT_ONCE: usize = 4096;

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// What did not get through. One for the process, for there is one standard error.
static LOST: Mutex<Lost> = Mutex::new(Lost { lines: 0, torn: false });

/// Writes lines to standard error; makes itself a writer for each event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stderr;

#[derive(Debug)]
struct Lost {
    lines: u64,
    /// The last line is there in part only.
    torn: bool,
}

impl Write for Stderr {
    /// Takes a whole line, always.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // One thread at a time, so that the room one has found is not taken by another.
        let mut lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
        lost.write(&mut io::stderr().lock(), line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Stderr {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

impl Lost {
    fn write(&mut self, out: &mut (impl Write + AsFd), line: &[u8]) {
        if !has_room(out) {
            self.lines += 1;
            return;
        }
        if std::mem::take(&mut self.torn) {
            let _ = out.write_all(b"\n");
        }
        match std::mem::take(&mut self.lines) {
            0 => {}
            lines => drop(writeln!(out, "({lines} lines of the log are lost: nobody read them)")),
        }
        for (index, part) in line.chunks(AT_ONCE).enumerate() {
            if !has_room(out) {
                self.lines += 1;
                self.torn = index > 0;
                return;
            }
            // Whatever goes wrong here, there is no other place to tell it.
            let _ = out.write_all(part);
        }
    }
}

/// A file and a closed pipe have room: what becomes of the write shows when it is made.
fn has_room(out: &impl AsFd) -> bool {
    let mut polled = [PollFd::new(out, PollFlags::OUT)];
    !matches!(poll(&mut polled, Some(&NOW)), Ok(0))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn lost() -> Lost {
        Lost { lines: 0, torn: false }
    }

    #[test]
    fn a_reader_who_is_there_reads_every_line() {
        let (mut reader, mut writer) = io::pipe().expect("a pipe");
        let mut lost = lost();
        lost.write(&mut writer, b"first\n");
        lost.write(&mut writer, b"second\n");
        drop(writer);
        let mut read = String::new();
        reader.read_to_string(&mut read).expect("text");
        assert_eq!(read, "first\nsecond\n");
    }

    #[test]
    fn nobody_waits_for_a_reader_who_is_not_and_he_reads_how_much_he_missed() {
        let (mut reader, mut writer) = io::pipe().expect("a pipe");
        let mut lost = lost();
        let line = [&[b'.'; 99], b"\n".as_slice()].concat();
        // Far more than a pipe holds.
        let lines = 10_000;
        (0..lines).for_each(|_| lost.write(&mut writer, &line));
        let missed = usize::try_from(lost.lines).expect("a count");
        assert!(missed > 0);

        let mut held = vec![0; (lines - missed) * line.len()];
        reader.read_exact(&mut held).expect("what was not lost is there");
        lost.write(&mut writer, b"now\n");
        drop(writer);
        let mut read = String::new();
        reader.read_to_string(&mut read).expect("text");
        assert_eq!(read, format!("({missed} lines of the log are lost: nobody read them)\nnow\n"));
    }

    #[test]
    fn a_line_that_was_torn_does_not_swallow_the_next() {
        let (mut reader, mut writer) = io::pipe().expect("a pipe");
        let mut lost = lost();
        let longer_than_a_pipe = vec![b'x'; 1 << 20];
        lost.write(&mut writer, &longer_than_a_pipe);
        assert!(lost.torn);
        let mut held = vec![0; 1 << 16];
        let held = reader.read(&mut held).expect("something is there");
        assert!(held > 0);
        lost.write(&mut writer, b"next\n");
        drop(writer);
        let mut read = String::new();
        reader.read_to_string(&mut read).expect("text");
        // How much of the torn line is left to read depends on the size the system gives a pipe.
        let rest = read.trim_start_matches('x');
        assert_eq!(rest, "\n(1 lines of the log are lost: nobody read them)\nnext\n");
    }

    #[test]
    fn a_closed_pipe_is_no_reason_to_end() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        drop(reader);
        lost().write(&mut writer, b"nobody\n");
    }
}
