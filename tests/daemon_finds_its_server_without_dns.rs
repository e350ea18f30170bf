//! The whole daemon in a network whose DNS server dies: what was known of a name before is enough.

#![allow(clippy::disallowed_methods, reason = "the tests measure")]

mod common;
#[path = "link/lab/mod.rs"]
mod lab;
mod spider;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::daemon::{ChannelFile, Process};
use common::within;
use lab::names::{self, Dns};
use lab::net::{FAR_ADDRESS, Net};
use lab::{Agrees, Event, ONE_AT_A_TIME, Scenario, far};
use rtcpub::signal::settings::{SignalConfig, TlsConfig};
use rtcpub::signal::tls::hex;
use rustix::process::Signal;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

/// A pub server with its DNS server, beyond a router.
struct Far {
    net: Net,
    signal: SignalConfig,
    dns: Arc<Dns>,
    arrived: far::Shared,
    shutdown: CancellationToken,
    serving: Option<JoinHandle<()>>,
}

impl Far {
    async fn serve(dns: Dns) -> Self {
        let (net, dns, arrived, shutdown) =
            (Net::new(), Arc::new(dns), far::Shared::default(), CancellationToken::new());
        let address: Ipv4Addr = FAR_ADDRESS.parse().expect("an address");
        net.name_server(address.into());
        let (ready, signal) = tokio::sync::oneshot::channel();
        let (enter, asked, into, ended) = (net.far(), dns.clone(), arrived.clone(), shutdown.clone());
        let serving = std::thread::spawn(move || {
            enter();
            let scenario = Scenario::new("dns", Agrees::ToTransportCc, 1500, 0, &[]);
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            runtime.expect("threads").block_on(async {
                tokio::select! {
                    () = far::serve(scenario, into, ready) => {}
                    () = names::serve(SocketAddr::new(address.into(), 53), address, asked) => {}
                    () = ended.cancelled() => {}
                }
            });
        });
        let signal = signal.await.expect("the server is up");
        Self { net, signal, dns, arrived, shutdown, serving: Some(serving) }
    }

    /// Starts a daemon that knows the server by name only.
    fn daemon(&self, file: &ChannelFile) -> Process {
        let TlsConfig::Pin(pin) = &self.signal.tls else { panic!("pinned") };
        let (port, pin) = (self.signal.server.port().expect("given"), hex(pin));
        file.write(&format!(
            "[server]\nurl = \"wss://pub.lab.test:{port}\"\n[tls]\npin_sha256 = \"{pin}\"\n\
             [camera]\nwidth = 320\nheight = 240\n[encoder]\nbitrate_kbps = 300\n"
        ));
        let mut run = file.command("run", &[]);
        run.args(["--log-level", "debug"]);
        let run = run.as_std();
        // A process of its own, for it is by processes that the system's resolver is configured.
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.net.near_name()]).arg(run.get_program()).args(run.get_args());
        command.envs(run.get_envs().filter_map(|(key, value)| Some((key, value?)))).kill_on_drop(true);
        Process::start(command)
    }

    /// Waits for a picture that arrived after this.
    async fn picture_after(&self, begin: Instant) -> Duration {
        within("a picture", async {
            loop {
                let newest = self
                    .arrived
                    .lock()
                    .expect("not poisoned")
                    .pictures
                    .iter()
                    .map(|picture| picture.at)
                    .find(|at| *at > begin);
                match newest {
                    Some(at) => return at - begin,
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        })
        .await
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.serving.take().map(JoinHandle::join);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_outage_in_which_the_dns_server_died_the_picture_is_back_within_a_second() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let (far, file) = (Far::serve(Dns::default()).await, ChannelFile::with(""));
    let mut daemon = far.daemon(&file);
    far.picture_after(Instant::now()).await;
    far.dns.silent.store(true, Ordering::SeqCst);
    let asked = far.dns.questions.load(Ordering::SeqCst);
    far.net.apply(Event::Outage);
    // Long enough for the session to be given up: a whole new one must find its server.
    daemon.says("no session with the server").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let over = Instant::now();
    far.net.apply(Event::OutageOver);
    let back = far.picture_after(over).await;
    println!("picture back {back:?} after the outage");
    assert!(back < Duration::from_millis(1500), "{back:?}: a second, and what a busy machine adds");
    daemon.says("going on with the addresses of an earlier answer").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(far.dns.questions.load(Ordering::SeqCst) > asked, "and it was asked anew all the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dns_server_that_is_not_there_at_first_delays_the_first_session_by_a_second_at_most() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let dns = Dns::default();
    dns.silent.store(true, Ordering::SeqCst);
    let (far, file) = (Far::serve(dns).await, ChannelFile::with(""));
    let _daemon = far.daemon(&file);
    within("a question", async {
        while far.dns.questions.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    // The system's resolver asks again after five seconds.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let there = Instant::now();
    far.dns.silent.store(false, Ordering::SeqCst);
    let first = far.picture_after(there).await;
    println!("first picture {first:?} after the DNS server is there");
    assert!(first < Duration::from_secs(3), "{first:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dns_server_that_is_silent_does_not_delay_the_end() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let dns = Dns::default();
    dns.silent.store(true, Ordering::SeqCst);
    let (far, file) = (Far::serve(dns).await, ChannelFile::with(""));
    let mut daemon = far.daemon(&file);
    daemon.says("no session with the server").await;
    // Several questions hang by now, each for longer than the end may take.
    let asked = Instant::now();
    daemon.signal(Signal::TERM);
    let ended = daemon.exited().await;
    let took = asked.elapsed();
    assert_eq!(ended.code, Some(0), "{}", ended.text());
    assert!(took < Duration::from_secs(2), "{took:?}");
}
