//! Candidate lines (RFC 8839 §5.1) as text: what of them must not leave, and what of them must be resolved. Pure.

use std::collections::HashSet;
use std::net::IpAddr;

/// A candidate line, or a whole SDP, without the private addresses that relayed candidates carry for diagnosis. With
/// relayed candidates only, the machine's own addresses are nobody's business (RFC 8828 §3.2).
pub fn without_related_addresses(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.split_once(" raddr ") {
            Some((head, tail)) if head.contains("candidate:") => hide(head, tail, &mut out),
            _ => out.push_str(line),
        }
    }
    out
}

fn hide(head: &str, tail: &str, out: &mut String) {
    let address = tail.split_ascii_whitespace().next().unwrap_or_default();
    let unspecified = if address.contains(':') { "::" } else { "0.0.0.0" };
    let rest = tail.get(address.len()..).unwrap_or_default();
    let rest = match rest.strip_prefix(" rport ") {
        Some(port) => port.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    out.extend([head, " raddr ", unspecified, " rport 0", rest]);
}

/// An SDP without its candidates.
pub fn without_candidates(sdp: &str) -> String {
    without_candidates_of(sdp, sdp)
}

/// An SDP without the candidates that stood in an older one already.
pub fn without_candidates_of(sdp: &str, older: &str) -> String {
    let is_candidate = |line: &&str| line.starts_with("a=candidate:") || line.starts_with("a=end-of-candidates");
    let old: HashSet<_> = older.split_inclusive('\n').filter(is_candidate).collect();
    sdp.split_inclusive('\n').filter(|line| !old.contains(line)).collect()
}

/// The name a candidate hides its address behind (draft-ietf-mmusic-mdns-ice-candidates), when it does.
pub fn mdns_name(line: &str) -> Option<&str> {
    let name = line.split_ascii_whitespace().nth(4)?;
    let (_, suffix) = name.rsplit_once('.')?;
    suffix.eq_ignore_ascii_case("local").then_some(name)
}

/// The candidate with the address its name stands for.
pub fn resolved(line: &str, name: &str, ip: IpAddr) -> String {
    line.replacen(name, &ip.to_string(), 1)
}

/// The candidate lines of an SDP whose address hides behind a name.
pub fn mdns_candidates(sdp: &str) -> impl Iterator<Item = &str> {
    sdp.lines()
        .filter_map(|line| line.strip_prefix("a="))
        .filter(|line| line.starts_with("candidate:"))
        .filter(|line| mdns_name(line).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_behind_a_relay_stays_at_home() {
        let cases = [
            (
                "candidate:1 1 udp 5 203.0.113.9 49152 typ relay raddr 192.168.1.7 rport 51234",
                "candidate:1 1 udp 5 203.0.113.9 49152 typ relay raddr 0.0.0.0 rport 0",
            ),
            (
                "a=candidate:1 1 udp 5 2001:db8::9 49152 typ relay raddr 2001:db8::7 rport 1 ufrag abc\r\n",
                "a=candidate:1 1 udp 5 2001:db8::9 49152 typ relay raddr :: rport 0 ufrag abc\r\n",
            ),
            ("a=mid:0\r\na=x raddr 1.2.3.4 rport 5\r\n", "a=mid:0\r\na=x raddr 1.2.3.4 rport 5\r\n"),
            ("candidate:1 1 udp 5 203.0.113.9 1 typ host", "candidate:1 1 udp 5 203.0.113.9 1 typ host"),
            ("candidate:1 raddr ", "candidate:1 raddr 0.0.0.0 rport 0"),
            ("", ""),
        ];
        for (text, hidden) in cases {
            assert_eq!(without_related_addresses(text), hidden);
        }
    }

    #[test]
    fn an_sdp_can_be_rid_of_its_candidates() {
        let sdp =
            "v=0\r\na=ice-ufrag:x\r\na=candidate:1 1 udp 5 192.0.2.1 4 typ host\r\na=end-of-candidates\r\na=mid:1\r\n";
        assert_eq!(without_candidates(sdp), "v=0\r\na=ice-ufrag:x\r\na=mid:1\r\n");
        let newer = format!("{sdp}a=candidate:2 1 udp 5 192.0.2.2 4 typ host\r\n");
        let kept = "v=0\r\na=ice-ufrag:x\r\na=mid:1\r\na=candidate:2 1 udp 5 192.0.2.2 4 typ host\r\n";
        assert_eq!(without_candidates_of(&newer, sdp), kept);
    }

    #[test]
    fn a_name_in_place_of_an_address_is_found_and_replaced() {
        let line = "candidate:1 1 udp 5 2f3a-77.local 51234 typ host generation 0";
        assert_eq!(mdns_name(line), Some("2f3a-77.local"));
        let ip = "192.168.1.9".parse().expect("an address");
        assert_eq!(resolved(line, "2f3a-77.local", ip), "candidate:1 1 udp 5 192.168.1.9 51234 typ host generation 0");
        for other in ["candidate:1 1 udp 5 192.0.2.1 4 typ host", "candidate:1", "", "candidate:1 1 udp 5 a.LOCALE 4"] {
            assert_eq!(mdns_name(other), None, "{other}");
        }
        let sdp = format!("v=0\r\na={line}\r\na=candidate:1 1 udp 5 192.0.2.1 4 typ host\r\n");
        assert_eq!(mdns_candidates(&sdp).collect::<Vec<_>>(), [line]);
    }
}
