//! Three network namespaces in a row: the middle one a router that translates addresses, and is slow and lossy.
//!
//! ```text
//! near (publisher) 10.77.1.2 ── 10.77.1.1 middle 10.77.2.1 ── 10.77.2.2 far (server)
//!                                       masquerade └ tbf, towards far
//! ```

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::Event;

pub const FAR_ADDRESS: &str = "10.77.2.2";
/// What the router's queue holds: a second at 600 kbit/s, as mobile networks have it.
const BUFFER_BYTES: u32 = 75_000;

/// The namespaces; gone when dropped.
pub struct Net {
    near: String,
    middle: String,
    far: String,
}

/// The router's counters.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    pub at: Instant,
    pub sent_bytes: u64,
    pub dropped: u64,
    pub backlog_bytes: u64,
}

impl Queue {
    /// Everything that came to it so far; what it dropped is counted as full packets.
    pub fn offered_bytes(&self) -> f64 {
        (self.sent_bytes + self.backlog_bytes) as f64 + self.dropped as f64 * 1200.0
    }
}

impl Net {
    pub fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let name = |end: &str| format!("rtcpub-{process}-{number}-{end}");
        let net = Self { near: name("near"), middle: name("middle"), far: name("far") };
        let Self { near, middle, far } = &net;
        for name in [near, middle, far] {
            run(&format!("ip netns add {name}"));
            run(&format!("ip -n {name} link set lo up"));
        }
        for (side, end, number) in [(near, "to-near", 1), (far, "to-far", 2)] {
            run(&format!("ip -n {middle} link add {end} type veth peer name wire netns {side}"));
            run(&format!("ip -n {middle} addr add 10.77.{number}.1/24 dev {end}"));
            run(&format!("ip -n {middle} link set {end} up"));
            run(&format!("ip -n {side} addr add 10.77.{number}.2/24 dev wire"));
            run(&format!("ip -n {side} link set wire up"));
        }
        // The far side has no way back but that of the translated address.
        run(&format!("ip -n {near} route add default via 10.77.1.1"));
        inside(middle, "sysctl -qw net.ipv4.ip_forward=1");
        inside(middle, "nft add table ip loss");
        inside(middle, "nft add chain ip loss forward { type filter hook forward priority 0 ; }");
        inside(middle, "nft add table ip nat");
        inside(middle, "nft add chain ip nat out { type nat hook postrouting priority 100 ; }");
        inside(middle, "nft add rule ip nat out oifname to-far masquerade");
        net
    }

    /// What is run in the publisher's namespace by `ip netns exec` asks this DNS server.
    pub fn name_server(&self, address: IpAddr) {
        std::fs::create_dir_all(self.configuration()).expect("root may");
        let server = format!("nameserver {address}\n");
        std::fs::write(self.configuration().join("resolv.conf"), server).expect("root may");
    }

    fn configuration(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.near)
    }

    /// The publisher's namespace.
    pub fn near_name(&self) -> &str {
        &self.near
    }

    /// Gives the publisher one more interface, which leads nowhere.
    pub fn add_interface(&self, name: &str, address: &str) {
        let near = &self.near;
        run(&format!("ip -n {near} link add {name} type veth peer name {name}-end"));
        run(&format!("ip -n {near} addr add {address} dev {name} nodad"));
        run(&format!("ip -n {near} link set {name} up"));
    }

    pub fn apply(&self, event: Event) {
        let Self { near, middle, .. } = self;
        match event {
            Event::Rate(kbps) => {
                let verb = if inside(middle, "tc qdisc show dev to-far").contains("tbf") { "change" } else { "add" };
                let shape = format!("tbf rate {kbps}kbit burst 4000 limit {BUFFER_BYTES}");
                inside(middle, &format!("tc qdisc {verb} dev to-far root {shape}"));
            }
            Event::OwnRate(kbps) => {
                inside(near, &format!("tc qdisc add dev wire root tbf rate {kbps}kbit burst 4000 limit 1000000"));
            }
            // Streams are spared: they are signalling.
            Event::Loss(percent) => self.drop_what(&format!("ip protocol udp numgen random mod 100 < {percent}")),
            Event::Outage => self.drop_what(""),
            Event::OutageOver => drop(inside(middle, "nft flush chain ip loss forward")),
            Event::NewAddress => {
                inside(near, "ip addr del 10.77.1.2/24 dev wire");
                inside(near, "ip addr add 10.77.1.3/24 dev wire");
                inside(near, "ip route add default via 10.77.1.1");
            }
            Event::SpareAddress => {
                inside(near, "ip addr add 10.77.9.2/24 dev wire");
            }
            Event::SpareAddressGone => {
                inside(near, "ip addr del 10.77.9.2/24 dev wire");
            }
            Event::OtherNetwork => {
                run(&format!("ip -n {middle} link add to-other type veth peer name other netns {near}"));
                run(&format!("ip -n {middle} addr add 10.77.3.1/24 dev to-other"));
                run(&format!("ip -n {middle} link set to-other up"));
                inside(near, "ip addr add 10.77.3.2/24 dev other");
                inside(near, "ip link set other up");
                inside(near, "ip route replace default via 10.77.3.1");
            }
        }
    }

    fn drop_what(&self, datagrams: &str) {
        inside(&self.middle, "nft flush chain ip loss forward");
        inside(&self.middle, &format!("nft add rule ip loss forward {datagrams} drop"));
    }

    pub fn queue(&self) -> Queue {
        let text = inside(&self.middle, "tc -s -j qdisc show dev to-far");
        let json: serde_json::Value = serde_json::from_str(&text).expect("tc writes JSON");
        let number = |name: &str| json[0][name].as_u64().unwrap_or(0);
        let (sent_bytes, dropped, backlog_bytes) = (number("bytes"), number("drops"), number("backlog"));
        Queue { at: Instant::now(), sent_bytes, dropped, backlog_bytes }
    }

    /// What puts a thread, and those it starts from then on, into the publisher's namespace.
    pub fn near(&self) -> impl FnOnce() + Send + use<> {
        enter(&self.near)
    }

    /// … into the server's.
    pub fn far(&self) -> impl FnOnce() + Send + use<> {
        enter(&self.far)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in [&self.near, &self.middle, &self.far] {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
        let _ = std::fs::remove_dir_all(self.configuration());
    }
}

fn enter(name: &str) -> impl FnOnce() + Send + use<> {
    let namespace = File::open(format!("/run/netns/{name}")).expect("the namespace is there");
    move || move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may")
}

fn inside(name: &str, command: &str) -> String {
    run(&format!("ip netns exec {name} {command}"))
}

fn run(command: &str) -> String {
    let words: Vec<_> = command.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().expect("iproute2 and nftables are installed");
    assert!(output.status.success(), "{command} (as root?): {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
