//! Measures what a TURN server's transport costs: real peers in this process, Debian's coturn on loopback.
//!
//! `cargo bench --bench turn` prints the README's table. The sessions are up at the same time and take turns frame by
//! frame, so that their differences are of one run.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a measuring program")]
#![allow(missing_docs, unreachable_pub, reason = "a program, not a library")]

#[path = "../tests/coturn/mod.rs"]
mod coturn;
#[path = "../tests/far/mod.rs"]
mod far;
#[path = "../tests/spider/mod.rs"]
mod spider;

use std::time::{Duration, Instant};

use coturn::Coturn;
use far::{Far, Publisher, picture};
use rtcpub::rtc::settings::{IceConfig, IcePolicy, IceServer, InterfaceFilter};
use spider::Server;

/// Frames of each session, 30 a second in all sessions together.
const FRAMES: u32 = 900;
/// A frame of 1.5 Mbit/s at 30 a second, in bytes.
const FRAME_BYTES: usize = 6250;
const INTERVAL: Duration = Duration::from_millis(33);
/// A frame that has not come after this long was lost.
const LOST: Duration = Duration::from_secs(1);
/// Load: a frame of 15 Mbit/s at 50 a second, in bytes.
const LOAD_FRAME_BYTES: usize = 37_500;
const LOAD_INTERVAL: Duration = Duration::from_millis(20);
const LOAD_SECONDS: u32 = 10;

struct Session {
    name: &'static str,
    publisher: Publisher,
    far: Far,
    number: u32,
    delays: Vec<Duration>,
    lost: u32,
}

impl Session {
    async fn start(name: &'static str, policy: IcePolicy, servers: Vec<IceServer>) -> Self {
        let server = Server::start().await;
        let ice = IceConfig { servers, policy, interfaces: InterfaceFilter::default() };
        let publisher = Publisher::start(server.signal_config(), ice);
        let (socket, _, _) = server.accept().await;
        let mut far = Far::serve(socket).await;
        far.channel("stream").await;
        // The socket's server must live as long as the session.
        std::mem::forget(server);
        Self { name, publisher, far, number: 0, delays: Vec::new(), lost: 0 }
    }

    /// One frame, from the encoder's hands to the last packet at the other end.
    async fn frame(&mut self, bytes: usize) {
        while self.far.packets.try_recv().is_ok() {}
        self.number += 1;
        let unit = picture(self.number, INTERVAL * self.number, bytes);
        let sent = unit.encoded_at;
        let _ = self.publisher.units.offer(unit);
        let last = async { while !self.far.packet().await.marker {} };
        match tokio::time::timeout(LOST, last).await {
            Ok(()) => self.delays.push(sent.elapsed()),
            Err(_) => self.lost += 1,
        }
    }

    fn quantile(&self, share: f64) -> f64 {
        let mut delays = self.delays.clone();
        delays.sort();
        delays[((delays.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let coturn = Coturn::start();
        delays(&coturn).await;
        println!();
        cost(&coturn).await;
        println!();
        for (name, server) in [("TCP", coturn.tcp()), ("TLS", coturn.tls())] {
            load(&coturn, name, server).await;
        }
    });
}

async fn delays(coturn: &Coturn) {
    let relay = |server| (IcePolicy::Relay, vec![server]);
    let ways = [
        ("direct", (IcePolicy::All, Vec::new())),
        ("TURN/UDP", relay(coturn.udp())),
        ("TURN/TCP", relay(coturn.tcp())),
        ("TURN/TLS", relay(coturn.tls())),
    ];
    let mut sessions = Vec::new();
    for (name, (policy, servers)) in ways {
        sessions.push(Session::start(name, policy, servers).await);
    }
    let mut ticks = tokio::time::interval(INTERVAL / sessions.len() as u32);
    for _ in 0..FRAMES {
        for session in &mut sessions {
            ticks.tick().await;
            session.frame(FRAME_BYTES).await;
        }
    }
    println!("| way | frame p50 | p95 | p99 | over TURN/UDP, p50 | lost |\n|---|---|---|---|---|---|");
    let udp = sessions[1].quantile(0.5);
    for session in &sessions {
        println!(
            "| {} | {:.2} ms | {:.2} ms | {:.2} ms | {:+.2} ms | {} of {FRAMES} |",
            session.name,
            session.quantile(0.5),
            session.quantile(0.95),
            session.quantile(0.99),
            session.quantile(0.5) - udp,
            session.lost,
        );
    }
    for session in sessions {
        session.publisher.stop().await;
        session.far.close().await;
    }
}

/// CPU time of this process, both ends, at 30 frames a second.
async fn cost(coturn: &Coturn) {
    println!("| way | CPU-seconds a second, both ends |\n|---|---|");
    let relay = IcePolicy::Relay;
    for (name, policy, servers) in [
        ("direct", IcePolicy::All, Vec::new()),
        ("direct, TURN at hand", IcePolicy::All, vec![coturn.udp(), coturn.tcp()]),
        ("TURN/UDP", relay, vec![coturn.udp()]),
        ("TURN/TCP", relay, vec![coturn.tcp()]),
        ("TURN/TLS", relay, vec![coturn.tls()]),
    ] {
        let mut session = Session::start(name, policy, servers).await;
        let mut ticks = tokio::time::interval(INTERVAL);
        for _ in 0..90 {
            ticks.tick().await;
            session.frame(FRAME_BYTES).await;
        }
        let (cpu, begin) = (cpu_seconds(), Instant::now());
        for _ in 0..300 {
            ticks.tick().await;
            session.frame(FRAME_BYTES).await;
        }
        let share = (cpu_seconds() - cpu) / begin.elapsed().as_secs_f64();
        println!("| {name} | {share:.4} |");
        session.publisher.stop().await;
        session.far.close().await;
    }
}

/// More than a stalled stream takes: the resident memory must stay where it was.
async fn load(coturn: &Coturn, name: &'static str, server: IceServer) {
    let mut session = Session::start(name, IcePolicy::Relay, vec![server]).await;
    let mut ticks = tokio::time::interval(LOAD_INTERVAL);
    let mut line = Vec::new();
    let mut received = 0_usize;
    for second in 0..=LOAD_SECONDS {
        for frame in 0..50 {
            ticks.tick().await;
            session.number += 1;
            let unit = picture(session.number, LOAD_INTERVAL * session.number, LOAD_FRAME_BYTES);
            let _ = session.publisher.units.offer(unit);
            while let Ok(packet) = session.far.packets.try_recv() {
                received += packet.payload.len();
            }
            // Each second the server reads nothing for half a second.
            match frame {
                0 => coturn.signal("STOP"),
                25 => coturn.signal("CONT"),
                _ => {}
            }
        }
        if second > 0 {
            line.push(format!("{:.1}", rss_mib()));
        }
    }
    let megabits = received as f64 * 8.0 / 1e6 / f64::from(LOAD_SECONDS + 1);
    println!("TURN/{name}, 15 Mbit/s into a server that stalls for 500 ms each second: {megabits:.1} Mbit/s arrive;");
    println!("resident memory, second by second, in MiB: {}", line.join(" "));
    session.publisher.stop().await;
    session.far.close().await;
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    // User and system time (proc(5)), in ticks of 10 ms.
    (ticks(11) + ticks(12)) / 100.0
}

fn rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
