//! The real publisher with a real encoder, through network namespaces, to a real receiving peer; what happens to the
//! network in between is a scenario. Real time. Needs root, iproute2 and nftables. Shared with `benches/link`.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "tests and measurements use their own parts of it")]
#![allow(clippy::disallowed_methods, reason = "it measures")]

pub mod bare;
pub mod far;
pub mod names;
pub mod near;
pub mod net;
pub mod pictures;
pub mod wire;

use std::thread;
use std::time::{Duration, Instant};

use rtcpub::video::settings::Fec;
use tokio::runtime::Builder;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

pub use far::Agrees;
use net::{Net, Queue};
use pictures::Picture;

/// What happens to the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// The path towards the server carries this many kbit/s.
    Rate(u32),
    /// The publisher's own interface does: a modem in the car.
    OwnRate(u32),
    /// Of the datagrams this many percent are lost, both ways.
    Loss(u32),
    /// Nothing at all comes through.
    Outage,
    /// All comes through again.
    OutageOver,
    /// The publisher gets another address, and loses the one it had.
    NewAddress,
    /// The publisher gets an address on a network of its own, which leads nowhere else.
    SpareAddress,
    /// It loses that one.
    SpareAddressGone,
    /// The publisher gets a second network, which its default route leaves by from now on; the first one stays.
    OtherNetwork,
}

/// What happens to a session, from its first picture on.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub agrees: Agrees,
    /// The publisher's own limit.
    pub most_kbps: u32,
    pub fec: Fec,
    /// How long datagrams are on their way to the server and back.
    pub round_trip: Duration,
    pub seconds: u64,
    /// Second, event; in order.
    pub events: &'static [(u64, Event)],
}

impl Scenario {
    pub const fn new(
        name: &'static str,
        agrees: Agrees,
        most_kbps: u32,
        seconds: u64,
        events: &'static [(u64, Event)],
    ) -> Self {
        Self { name, agrees, most_kbps, fec: Fec::Off, round_trip: Duration::ZERO, seconds, events }
    }

    /// The same with the server this far away.
    pub const fn far_away(self, round_trip: Duration) -> Self {
        Self { round_trip, ..self }
    }

    /// The same with forward error correction.
    pub const fn protected(self) -> Self {
        Self { fec: Fec::FlexFec03, ..self }
    }
}

/// Everything one scenario left behind.
pub struct Measured {
    pub start: Instant,
    pub scenario: Scenario,
    pub far: far::Arrived,
    pub near: near::Did,
    /// Of the link towards the server, twenty times a second.
    pub queue: Vec<Queue>,
}

/// Two would share the processors, and spoil each other's times.
pub static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Runs a scenario.
pub fn measure(scenario: Scenario) -> Measured {
    let _alone = ONE_AT_A_TIME.blocking_lock();
    let net = Net::new();
    let (far, near) = (far::Shared::default(), near::Shared::default());
    let shutdown = CancellationToken::new();
    let (ready, config) = tokio::sync::oneshot::channel();
    let mut events = scenario.events.iter().peekable();
    let mut apply_due = |second: u64| {
        while let Some((_, event)) = events.next_if(|(at, _)| *at <= second) {
            net.apply(*event);
        }
    };
    apply_due(0);

    let (arrived, ended, enter) = (far.clone(), shutdown.clone(), net.far());
    let far_side = thread::spawn(move || {
        enter();
        runtime().block_on(async {
            tokio::select! {
                () = far::serve(scenario, arrived, ready) => {}
                () = ended.cancelled() => {}
            }
        });
    });
    let (did, ended, enter) = (near.clone(), shutdown.clone(), net.near());
    let near_side = thread::spawn(move || {
        enter();
        let config = config.blocking_recv().expect("the server is up");
        runtime().block_on(near::run(config, scenario, did, ended));
    });

    let waiting = Instant::now();
    while far.lock().expect("not poisoned").pictures.is_empty() {
        assert!(waiting.elapsed() < Duration::from_secs(30), "no picture comes");
        thread::sleep(Duration::from_millis(5));
    }
    let start = Instant::now();
    let mut queue = Vec::new();
    while start.elapsed() < Duration::from_secs(scenario.seconds) {
        apply_due(start.elapsed().as_secs());
        queue.push(net.queue());
        thread::sleep(Duration::from_millis(50));
    }
    shutdown.cancel();
    near_side.join().expect("no panic");
    far_side.join().expect("no panic");
    let far = std::mem::take(&mut *far.lock().expect("not poisoned"));
    let near = std::mem::take(&mut *near.lock().expect("not poisoned"));
    Measured { start, scenario, far, near, queue }
}

fn runtime() -> tokio::runtime::Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads")
}

/// What a percentile is taken of.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = ((sorted.len().saturating_sub(1)) as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

impl Measured {
    fn at(&self, instant: Instant) -> f64 {
        instant.saturating_duration_since(self.start).as_secs_f64()
    }

    pub fn seconds(&self) -> f64 {
        self.queue.last().map_or(0.0, |queue| self.at(queue.at))
    }

    /// The pictures that arrived in these seconds.
    pub fn pictures(&self, from: f64, until: f64) -> Vec<Picture> {
        let within = |picture: &&Picture| {
            let at = self.at(picture.at);
            picture.at >= self.start && at >= from && at < until
        };
        self.far.pictures.iter().filter(within).copied().collect()
    }

    /// The longest time in these seconds without a picture, in milliseconds, and when it began.
    pub fn longest_gap(&self, from: f64, until: f64) -> (f64, f64) {
        let pictures = self.pictures(from, until);
        let gaps = pictures.windows(2).map(|pair| (self.at(pair[1].at) - self.at(pair[0].at), self.at(pair[0].at)));
        gaps.map(|(gap, at)| (gap * 1e3, at))
            .fold((0.0, 0.0), |longest, gap| if gap.0 > longest.0 { gap } else { longest })
    }

    /// How late pictures arrived, in milliseconds: against their own time, the most punctual one being on time.
    pub fn lateness_ms(&self, from: f64, until: f64) -> Vec<f64> {
        let late = |picture: &Picture| self.at(picture.at) - picture.timestamp as f64 / 90e3;
        let punctual = self.pictures(0.0, f64::INFINITY).iter().map(late).fold(f64::INFINITY, f64::min);
        self.pictures(from, until).iter().map(|picture| (late(picture) - punctual) * 1e3).collect()
    }

    /// From this second to the first picture after it.
    pub fn picture_after(&self, second: f64) -> Option<f64> {
        Some(self.at(self.pictures(second, f64::INFINITY).first()?.at) - second)
    }

    /// From this second to the first command that the car hears after it.
    pub fn command_after(&self, second: f64) -> Option<f64> {
        let heard = self.near.commands.iter().map(|(_, heard)| self.at(*heard));
        heard.filter(|at| *at >= second).min_by(f64::total_cmp).map(|at| at - second)
    }

    /// How long each command sent in these seconds took to the car, in milliseconds.
    pub fn control_ms(&self, from: f64, until: f64) -> Vec<f64> {
        let took = |(number, heard): &(usize, Instant)| {
            let sent = *self.far.commands.get(*number)?;
            let within = (from..until).contains(&self.at(sent)) && sent > self.start;
            within.then(|| heard.saturating_duration_since(sent).as_secs_f64() * 1e3)
        };
        self.near.commands.iter().filter_map(took).collect()
    }

    /// What went towards the link in these seconds, in kbit/s, headers of all layers included.
    pub fn offered_kbps(&self, from: f64, until: f64) -> f64 {
        let within: Vec<_> = self.queue.iter().filter(|queue| (from..until).contains(&self.at(queue.at))).collect();
        let (Some(first), Some(last)) = (within.first(), within.last()) else { return f64::NAN };
        (last.offered_bytes() - first.offered_bytes()) * 8.0 / (last.at - first.at).as_secs_f64() / 1e3
    }

    /// How long the link's queue took in these seconds, in milliseconds, reading for reading.
    pub fn queue_ms(&self, from: f64, until: f64) -> Vec<f64> {
        let within = self.queue.iter().filter(|queue| (from..until).contains(&self.at(queue.at)));
        within.map(|queue| queue.backlog_bytes as f64 * 8.0 / self.rate_kbps(self.at(queue.at))).collect()
    }

    /// What the link carries at this second.
    pub fn rate_kbps(&self, second: f64) -> f64 {
        let due = self.scenario.events.iter().filter(|(at, _)| *at as f64 <= second);
        due.fold(f64::INFINITY, |before, (_, event)| match event {
            Event::Rate(kbps) => f64::from(*kbps),
            _ => before,
        })
    }
}
