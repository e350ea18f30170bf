//! The terminal in raw mode, and back.

use std::io::{self, IsTerminal, Stdin, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// Alternate screen on and off, and the cursor to its top with everything cleared (ECMA-48, xterm).
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
const CLEAR: &str = "\x1b[H\x1b[2J";

/// The terminal of this process: keys come one by one, Ctrl-C among them. As it was before when dropped.
pub(super) struct Terminal {
    input: Stdin,
    before: Termios,
}

/// What there is to read.
pub(super) enum Wake {
    /// So many bytes were typed.
    Typed(usize),
    /// Someone else has news.
    News,
    /// The terminal was closed, or the process is asked to end.
    Ended,
}

impl Terminal {
    /// Takes the terminal. `None` when standard input or output is none.
    pub(super) fn take() -> io::Result<Option<Self>> {
        let input = io::stdin();
        if !input.is_terminal() || !io::stdout().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&input)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&input, OptionalActions::Flush, &raw)?;
        let mut terminal = Self { input, before };
        terminal.say(ENTER)?;
        Ok(Some(terminal))
    }

    /// Shows this text and nothing else.
    pub(super) fn show(&mut self, text: &str) -> io::Result<()> {
        self.say(&format!("{CLEAR}{}", text.replace('\n', "\r\n")))
    }

    /// Waits for keys, for `news`, or for `ended` to become readable or be closed.
    pub(super) fn wait(&mut self, buffer: &mut [u8], news: impl AsFd, ended: impl AsFd) -> io::Result<Wake> {
        let mut events = [
            PollFd::new(&ended, PollFlags::IN),
            PollFd::new(&self.input, PollFlags::IN),
            PollFd::new(&news, PollFlags::IN),
        ];
        match poll(&mut events, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Wake::News),
            Err(error) => return Err(error.into()),
        }
        let [ended, typed, _] = events.map(|event| event.revents());
        if !ended.is_empty() {
            return Ok(Wake::Ended);
        }
        if typed.is_empty() {
            return Ok(Wake::News);
        }
        // Past the buffer of `Stdin`, which would keep keys for later.
        match rustix::io::read(&self.input, buffer) {
            Ok(0) | Err(_) => Ok(Wake::Ended),
            Ok(length) => Ok(Wake::Typed(length)),
        }
    }

    fn say(&mut self, text: &str) -> io::Result<()> {
        let mut output = io::stdout().lock();
        output.write_all(text.as_bytes())?;
        output.flush()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.say(LEAVE);
        let _ = tcsetattr(&self.input, OptionalActions::Now, &self.before);
    }
}
