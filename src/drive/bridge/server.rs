//! The bridge's thread: one `poll` over the socket, the programs, and the daemon's own wake-up.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_send_buffer_size;

use super::lines::{self, BridgeRequest, Incoming, LINE_LIMIT, Line, Outgoing, TooSlow, Word};
use super::{MAX_PROGRAMS, Shared};
use crate::unix_socket::Listening;

/// Kernel memory for lines on their way to one program. Small, so that what a slow program reads is not old: some
/// twenty lines, less than half a second of outputs. The kernel doubles it (socket(7)), and a longest line must fit.
const SEND_BUFFER: usize = 8 * 1024;

/// Outputs in a row that did not go out to a program that moves the car, half a second of them and what [`SEND_BUFFER`]
/// holds: it hangs, and the driver must hear that nothing moves.
const UNREAD_OUTPUTS: u32 = 25;

/// When accepting fails, e.g. for want of file descriptors, it is tried again after this long.
const ACCEPT_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Slow programs are logged at most this often.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The thread's state.
pub(super) struct Server<F> {
    pub(super) listening: Listening,
    pub(super) shared: Arc<Shared>,
    pub(super) on_request: F,
    programs: Vec<Program>,
    /// A program has said that it moves the car: who says nothing of it is not taken for one any more.
    mover_known: bool,
    /// Accepting failed: the socket would stay ready and the thread spin.
    deaf: bool,
    slow: SlowLog,
}

/// One connected program.
struct Program {
    stream: UnixStream,
    incoming: Incoming,
    outgoing: Outgoing,
    /// It closed its sending side, as `nc -d` does; it may still listen.
    only_listens: bool,
    /// It closed its receiving side: it is told nothing any more, and moves no car.
    only_speaks: bool,
    /// Whether it moves the car, where it has said so.
    moves: Option<bool>,
    /// Outputs in a row that took the place of one still waiting.
    unread: u32,
}

/// Why a program is disconnected.
enum Gone {
    Closed,
    TooSlow,
}

impl<F: FnMut(BridgeRequest)> Server<F> {
    pub(super) fn new(listening: Listening, shared: Arc<Shared>, on_request: F) -> Self {
        let (programs, slow) = (Vec::new(), SlowLog::default());
        Self { listening, shared, on_request, programs, mover_known: false, deaf: false, slow }
    }

    /// Until the bridge is dropped.
    pub(super) fn run(mut self) {
        while self.turn() {}
    }

    fn turn(&mut self) -> bool {
        let (news, timeout) = if self.deaf { (PollFlags::empty(), Some(&ACCEPT_AGAIN)) } else { (PollFlags::IN, None) };
        let mut polled =
            vec![PollFd::new(&self.shared.wake, PollFlags::IN), PollFd::new(&self.listening.listener, news)];
        polled.extend(self.programs.iter().map(Program::interest));
        match poll(&mut polled, timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                tracing::error!(%error, "the bridge cannot wait for its programs and ends");
                return false;
            }
        }
        let ready: Vec<PollFlags> = polled.iter().map(PollFd::revents).collect();
        drop(polled);

        self.serve(&ready[2..]);
        if !ready[0].is_empty() && !self.distribute() {
            return false;
        }
        // Before others come: the last one may have left and come back since the last turn.
        self.count();
        if self.deaf || !ready[1].is_empty() {
            self.deaf = self.accept().is_err();
        }
        self.count();
        true
    }

    /// Tells how many programs hear what the car is to do, and how many of them move it.
    fn count(&mut self) {
        self.mover_known |= self.programs.iter().any(|program| program.moves == Some(true));
        let movers = self.hearing().filter(|program| program.moves.unwrap_or(!self.mover_known)).count();
        self.shared.set_programs(self.hearing().count(), movers);
    }

    fn hearing(&self) -> impl Iterator<Item = &Program> {
        self.programs.iter().filter(|program| !program.only_speaks)
    }

    /// Reads from and writes to the programs that are ready.
    fn serve(&mut self, ready: &[PollFlags]) {
        let Self { programs, on_request, slow, .. } = self;
        let mut ready = ready.iter();
        programs.retain_mut(|program| {
            let Some(ready) = ready.next() else { return true };
            let mut outcome = Ok(());
            if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                outcome = program.read(on_request, ready.intersects(PollFlags::HUP | PollFlags::ERR));
            }
            if ready.contains(PollFlags::OUT) {
                outcome = outcome.and_then(|()| program.write());
            }
            outcome.map_err(|gone| slow.note(&gone)).is_ok()
        });
    }

    /// Hands what the daemon has to say to each program. `false` when the bridge is to end.
    fn distribute(&mut self) -> bool {
        let news = self.shared.take();
        if news.dropped > 0 {
            tracing::debug!(count = news.dropped, "lines for the bridge's programs came faster than they could go out");
        }
        let Self { programs, slow, .. } = self;
        programs.retain_mut(|program| {
            let told = program.tell(&news.lines, news.output.as_ref());
            told.map_err(|gone| slow.note(&gone)).is_ok()
        });
        !news.closing
    }

    fn accept(&mut self) -> io::Result<()> {
        for _ in 0..MAX_PROGRAMS {
            let accepted = match self.listening.listener.accept() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                accepted => accepted.and_then(|(stream, _)| self.welcome(stream)),
            };
            accepted.inspect_err(|error| tracing::debug!(%error, "a program could not connect to the bridge"))?;
        }
        Ok(())
    }

    fn welcome(&mut self, stream: UnixStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        set_socket_send_buffer_size(&stream, SEND_BUFFER)?;
        let mut program = Program {
            stream,
            incoming: Incoming::default(),
            outgoing: Outgoing::default(),
            only_listens: false,
            only_speaks: false,
            moves: None,
            unread: 0,
        };
        if self.programs.len() == MAX_PROGRAMS {
            let full = lines::error(&format!("{MAX_PROGRAMS} programs are connected already"));
            let _ = program.tell(&[full], None);
            return Ok(());
        }
        // Before the greeting: a program that has read it counts, and misses nothing that is said from then on.
        self.programs.push(program);
        self.count();
        let greeting = self.shared.greeting();
        if self.programs.last_mut().is_some_and(|program| program.tell(&greeting, None).is_err()) {
            self.programs.pop();
        }
        Ok(())
    }
}

impl Program {
    fn interest(&self) -> PollFd<'_> {
        let mut interest = PollFlags::empty();
        interest.set(PollFlags::IN, !self.only_listens);
        interest.set(PollFlags::OUT, !self.outgoing.is_empty());
        PollFd::new(&self.stream, interest)
    }

    fn tell(&mut self, lines: &[Line], output: Option<&Line>) -> Result<(), Gone> {
        for line in lines {
            self.push(line.clone())?;
        }
        if let Some(output) = output.filter(|_| !self.only_speaks) {
            self.unread = if self.outgoing.set_output(output.clone()) { self.unread + 1 } else { 0 };
            if self.moves == Some(true) && self.unread >= UNREAD_OUTPUTS {
                return Err(Gone::TooSlow);
            }
        }
        self.write()
    }

    fn push(&mut self, line: Line) -> Result<(), Gone> {
        if self.only_speaks {
            return Ok(());
        }
        self.outgoing.push(line).map_err(|TooSlow| Gone::TooSlow)
    }

    /// One buffer full, so that no program keeps the thread; all that is left when it has `closed`.
    fn read(&mut self, on_request: &mut impl FnMut(BridgeRequest), closed: bool) -> Result<(), Gone> {
        let mut buffer = [0; LINE_LIMIT];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) if closed => return Err(Gone::Closed),
                Ok(0) => {
                    self.only_listens = true;
                    return Ok(());
                }
                Ok(length) => self.take(&buffer[..length], on_request)?,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) && !closed => {}
                Err(_) => return Err(Gone::Closed),
            }
            if !closed {
                return self.write();
            }
        }
    }

    fn take(&mut self, bytes: &[u8], on_request: &mut impl FnMut(BridgeRequest)) -> Result<(), Gone> {
        let mut problems = Vec::new();
        let moves = &mut self.moves;
        let fed = self.incoming.feed(bytes, |line| match lines::word(line) {
            Ok(Word::Ask(request)) => on_request(request),
            Ok(Word::Moves(said)) => *moves = Some(said),
            Err(problem) => problems.push(problem),
        });
        for problem in problems.iter().chain(fed.as_ref().err()) {
            self.push(lines::error(&problem.to_string()))?;
        }
        if fed.is_err() {
            self.write()?;
            return Err(Gone::Closed);
        }
        Ok(())
    }

    /// As much as the socket takes now.
    fn write(&mut self) -> Result<(), Gone> {
        while let Some(bytes) = self.outgoing.next() {
            match self.stream.write(bytes) {
                Ok(length) => self.outgoing.written(length),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // It has left, or closed its receiving side only. What it says is still to be read, and reading finds the end.
                Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                    self.only_speaks = true;
                    self.outgoing = Outgoing::default();
                }
                Err(_) => return Err(Gone::Closed),
            }
        }
        Ok(())
    }
}

/// A program that is slow again and again is one line now and then.
#[derive(Default)]
struct SlowLog {
    count: u64,
    logged_at: Option<Instant>,
}

impl SlowLog {
    #[expect(clippy::disallowed_methods, reason = "a shell: how often something is logged")]
    fn note(&mut self, gone: &Gone) {
        if matches!(gone, Gone::Closed) {
            return;
        }
        self.count += 1;
        let now = Instant::now();
        if self.logged_at.is_some_and(|at| now.duration_since(at) < LOG_EVERY) {
            return;
        }
        self.logged_at = Some(now);
        tracing::warn!(count = self.count, "a program on the bridge did not read its lines and was disconnected");
    }
}

#[cfg(test)]
mod tests;
