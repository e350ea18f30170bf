//! What a peer makes of the pictures that it is offered, by the sections of its description. Pure.
//!
//! A section that is rejected (port 0, RFC 3264 §6) may hold nothing else, not even its mid; the `webrtc` crate refuses a
//! whole description for that. It is shown an inactive section in its place, in the likeness of one that was taken.

/// A description as the crate takes it, and for each of `mids`, the sections of our pictures in their order, whether the
/// peer takes it. A description that has another number of sections, or takes none of them, is passed on as it is.
pub(super) fn settle(sdp: &str, mids: &[&str]) -> (String, Vec<bool>) {
    let (session, media) = split(sdp);
    let videos: Vec<_> = (0..media.len()).filter(|index| media[*index].starts_with("m=video")).collect();
    let taken: Vec<_> = videos.iter().map(|index| !is_rejected(media[*index])).collect();
    let Some(model) = taken.iter().position(|taken| *taken).filter(|_| videos.len() == mids.len()) else {
        return (sdp.to_owned(), vec![true; mids.len()]);
    };
    let model = media[videos[model]];
    let settled = media.iter().enumerate().map(|(index, section)| {
        let place = videos.iter().position(|video| *video == index).filter(|place| !taken[*place]);
        place.map_or_else(|| (*section).to_owned(), |place| in_the_likeness(model, mids[place]))
    });
    let settled = session.to_owned() + &settled.collect::<String>();
    let wanted = videos.iter().zip(taken).map(|(index, taken)| taken && receives(media[*index]));
    (settled, wanted.collect())
}

/// Whether each of the pictures, in their order, is inactive in a description.
pub(super) fn inactive(sdp: &str) -> Vec<bool> {
    let videos = split(sdp).1.into_iter().filter(|section| section.starts_with("m=video"));
    videos.map(|section| says(section, "a=inactive")).collect()
}

/// Whether an answer takes data channels.
pub(super) fn takes_channels(answer: &str) -> bool {
    split(answer).1.iter().any(|section| section.starts_with("m=application") && !is_rejected(section))
}

/// The part this end has in the DTLS handshake. It is settled once for the life of a connection (RFC 8842 §5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setup {
    Active,
    Passive,
}

impl Setup {
    /// The part that the first answer leaves to the offering end. An answer that says neither, which it may not, is taken
    /// as the crate takes it.
    pub(super) fn after(answer: &str) -> Self {
        match values(answer, "a=setup:").next() {
            Some("passive") => Self::Active,
            _ => Self::Passive,
        }
    }

    /// An answer of this end's.
    pub(super) fn written_into(self, answer: &str) -> String {
        let ours = match self {
            Self::Active => "a=setup:active",
            Self::Passive => "a=setup:passive",
        };
        let write = |line: &str| match line.starts_with("a=setup:") {
            true => ours.to_owned() + &line[line.trim_end().len()..],
            false => line.to_owned(),
        };
        answer.split_inclusive('\n').map(write).collect()
    }
}

/// Name and password of a description's ICE, which other ones restart. One pair counts for the whole bundle.
pub(super) fn ice_credentials(sdp: &str) -> (Option<&str>, Option<&str>) {
    (values(sdp, "a=ice-ufrag:").next(), values(sdp, "a=ice-pwd:").next())
}

fn values<'a>(sdp: &'a str, attribute: &'a str) -> impl Iterator<Item = &'a str> {
    sdp.lines().filter_map(move |line| Some(line.strip_prefix(attribute)?.trim_end()))
}

/// What stands in front of the sections, and each of them.
fn split(sdp: &str) -> (&str, Vec<&str>) {
    let starts = sdp.match_indices("m=").map(|(at, _)| at).filter(|at| *at == 0 || sdp[..*at].ends_with('\n'));
    let starts: Vec<_> = starts.collect();
    let ends = starts.iter().skip(1).copied().chain([sdp.len()]);
    let session = &sdp[..starts.first().copied().unwrap_or(sdp.len())];
    (session, starts.iter().zip(ends).map(|(start, end)| &sdp[*start..end]).collect())
}

/// Port 0; in an offer it may also mean that the section has no transport but the bundle's (RFC 8843 §6).
fn is_rejected(section: &str) -> bool {
    let port = section.split_ascii_whitespace().nth(1);
    port == Some("0") && !says(section, "a=bundle-only")
}

fn receives(section: &str) -> bool {
    !says(section, "a=inactive") && !says(section, "a=sendonly")
}

fn says(section: &str, attribute: &str) -> bool {
    section.lines().any(|line| line.trim_end() == attribute)
}

fn in_the_likeness(model: &str, mid: &str) -> String {
    const OF_ITS_OWN: [&str; 9] =
        ["mid:", "sendrecv", "sendonly", "recvonly", "inactive", "candidate:", "end-of-candidates", "ssrc", "msid:"];
    let is_of_its_own = |line: &str| {
        let attribute = line.strip_prefix("a=");
        attribute.is_some_and(|attribute| OF_ITS_OWN.iter().any(|own| attribute.starts_with(own)))
    };
    let section: String = model.split_inclusive('\n').filter(|line| !is_of_its_own(line)).collect();
    format!("{section}a=mid:{mid}\r\na=inactive\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 2\r\n";
    const TAKEN: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=recvonly\r\na=ice-ufrag:u\r\n\
                         a=rtpmap:96 H264/90000\r\na=candidate:1 1 udp 1 192.0.2.1 4 typ host\r\n";
    const REJECTED: &str = "m=video 0 UDP/TLS/RTP/SAVPF 0\r\nc=IN IP4 0.0.0.0\r\n";
    const CHANNELS: &str = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n";

    #[test]
    fn a_rejected_section_becomes_an_inactive_one_and_the_others_stay_as_they_are() {
        let (settled, wanted) = settle(&[SESSION, TAKEN, REJECTED, CHANNELS].concat(), &["0", "1"]);
        let inactive = "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:u\r\n\
                        a=rtpmap:96 H264/90000\r\na=mid:1\r\na=inactive\r\n";
        assert_eq!(settled, [SESSION, TAKEN, inactive, CHANNELS].concat());
        assert_eq!(wanted, [true, false]);
        let (settled, wanted) = settle(&[SESSION, REJECTED, TAKEN, CHANNELS].concat(), &["0", "1"]);
        assert_eq!(settled, [SESSION, &inactive.replace("mid:1", "mid:0"), TAKEN, CHANNELS].concat());
        assert_eq!(wanted, [false, true], "the first one may be the one that is not wanted");
    }

    #[test]
    fn a_section_that_takes_nothing_is_not_wanted_but_is_no_rejected_one() {
        let inactive = TAKEN.replace("a=recvonly", "a=inactive");
        let answer = [SESSION, TAKEN, &inactive, CHANNELS].concat();
        assert_eq!(settle(&answer, &["0", "1"]), (answer, vec![true, false]));
        let bundled = TAKEN.replace("video 9", "video 0") + "a=bundle-only\r\n";
        let offer = [SESSION, TAKEN, &bundled].concat();
        assert_eq!(settle(&offer, &["0", "1"]), (offer, vec![true, true]));
    }

    #[test]
    fn an_answer_takes_data_channels_unless_it_rejects_their_section_or_has_none() {
        let rejected = CHANNELS.replace("application 9", "application 0");
        for (sections, takes) in [(CHANNELS, true), (rejected.as_str(), false), ("", false)] {
            assert_eq!(takes_channels(&[SESSION, TAKEN, sections].concat()), takes, "{sections}");
        }
    }

    #[test]
    fn the_part_in_the_handshake_is_what_the_first_answer_left_to_us_and_every_section_says_so() {
        let with =
            |setup: &str| format!("v=0\r\nm=video 9\r\na=setup:{setup}\r\nm=application 9\r\na=setup:{setup}\r\n");
        for (theirs, ours) in [("active", "passive"), ("passive", "active"), ("actpass", "passive")] {
            let written = Setup::after(&with(theirs)).written_into(&with("active"));
            assert_eq!(written, with(ours), "they are {theirs}");
        }
        assert_eq!(Setup::after("v=0\r\n"), Setup::Passive);
    }

    #[test]
    fn another_name_or_password_restarts_ice() {
        let with = |ufrag, pwd| format!("v=0\r\nm=video 9\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n");
        let (known, again) = (with("u", "p"), with("u", "p") + "a=candidate:1\r\n");
        assert_eq!(ice_credentials(&known), ice_credentials(&again));
        for other in [with("v", "p"), with("u", "q")] {
            assert_ne!(ice_credentials(&known), ice_credentials(&other));
        }
    }

    #[test]
    fn a_description_that_makes_no_sense_is_left_to_whoever_reads_it() {
        for sdp in ["", "v=0", "m=", "m=video", "m=video 0\r\nm=video 0\r\n", &[TAKEN, REJECTED, REJECTED].concat()] {
            assert_eq!(settle(sdp, &["0", "1"]), (sdp.to_owned(), vec![true, true]), "{sdp}");
        }
    }
}
