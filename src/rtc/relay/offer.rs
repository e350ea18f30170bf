//! What an offer says of pictures: which a publisher sends, and how many a viewer asks for. Pure.

use std::io::Cursor;

use rtc::sdp::SessionDescription;
use rtc::sdp::description::media::MediaDescription;

use super::RelayError;
use crate::video::further::MOST_FURTHER;

/// Pictures of one publisher, and so tracks to one viewer.
pub const MAX_PICTURES: usize = 1 + MOST_FURTHER;

/// One of a publisher's pictures, by its place in the publisher's offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture(usize);

impl Picture {
    /// The first one: what is shown to a viewer that asks for one.
    pub const MAIN: Self = Self(0);

    /// The first `count` pictures; [`MAX_PICTURES`] at most.
    pub fn first(count: usize) -> impl Iterator<Item = Self> {
        (0..count.min(MAX_PICTURES)).map(Self)
    }

    /// The picture at this place, counted from 0.
    pub const fn at(place: usize) -> Option<Self> {
        if place < MAX_PICTURES { Some(Self(place)) } else { None }
    }

    /// Below [`MAX_PICTURES`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// Longest id, in bytes (RFC 8830 §2).
const MAX_ID_BYTES: usize = 64;

/// What a picture is called in SDP (`a=msid`, RFC 8830).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrackIds {
    /// The media stream's id.
    pub stream: String,
    /// The track's id. Empty when the publisher gives none.
    pub track: String,
}

/// The pictures that a publisher's offer sends, in its order.
///
/// # Errors
/// [`RelayError::Offer`] when it cannot be read, when there are more than [`MAX_PICTURES`], when an id is too long, and
/// when two pictures have the same track id: the library tells tracks apart by nothing else.
pub fn pictures_sent(offer: &str) -> Result<Vec<TrackIds>, RelayError> {
    let sections = video_sections(offer)?;
    let pictures: Vec<_> = sections.iter().filter(|section| sends(section)).map(track_ids).collect();
    if pictures.len() > MAX_PICTURES {
        return Err(RelayError::Offer(format!("{} pictures, of which {MAX_PICTURES} can be shown", pictures.len())));
    }
    if pictures.iter().any(|ids| ids.stream.len().max(ids.track.len()) > MAX_ID_BYTES) {
        return Err(RelayError::Offer(format!("a picture's id is longer than {MAX_ID_BYTES} bytes")));
    }
    let twice = pictures.iter().enumerate().find(|(at, ids)| pictures[..*at].iter().any(|one| one.track == ids.track));
    match twice {
        Some((_, ids)) => Err(RelayError::Offer(format!("two pictures with the same track id {:?}", ids.track))),
        None => Ok(pictures),
    }
}

/// How many pictures a viewer's offer asks for; [`MAX_PICTURES`] at most.
///
/// # Errors
/// [`RelayError::Offer`] when it cannot be read.
pub fn pictures_wanted(offer: &str) -> Result<usize, RelayError> {
    let sections = video_sections(offer)?;
    Ok(sections.iter().filter(|section| receives(section)).count().min(MAX_PICTURES))
}

/// What the next track to a viewer is called: as the publisher calls the picture, if it is known and no track `before`
/// it has that id. An id lasts as long as the session, and by then another publisher may be there.
pub(super) fn ids_to_viewer(shown: &[TrackIds], before: &[String]) -> TrackIds {
    let named = shown.get(before.len()).filter(|ids| !ids.track.is_empty() && !before.contains(&ids.track));
    named.cloned().unwrap_or_else(|| TrackIds {
        stream: "rtcpub".to_owned(),
        track: match before.len() {
            0 => "camera".to_owned(),
            place => format!("picture-{}", place + 1),
        },
    })
}

fn video_sections(offer: &str) -> Result<Vec<MediaDescription>, RelayError> {
    let description = SessionDescription::unmarshal(&mut Cursor::new(offer.as_bytes()));
    let sections = description.map_err(|error| RelayError::Offer(error.to_string()))?.media_descriptions;
    // Port 0 rejects a section (RFC 9429 §5.2.2).
    Ok(sections.into_iter().filter(|it| it.media_name.media == "video" && it.media_name.port.value != 0).collect())
}

fn sends(section: &MediaDescription) -> bool {
    section.attribute("recvonly").is_none() && section.attribute("inactive").is_none()
}

fn receives(section: &MediaDescription) -> bool {
    section.attribute("sendonly").is_none() && section.attribute("inactive").is_none()
}

/// From `a=msid`, or else from the older `a=ssrc:… msid:…`.
fn track_ids(section: &MediaDescription) -> TrackIds {
    let of_source = || {
        let mut sources = section.attributes.iter().filter(|attribute| attribute.key == "ssrc");
        sources.find_map(|source| source.value.as_deref()?.split_once(" msid:").map(|(_, ids)| ids))
    };
    let ids = section.attribute("msid").flatten().or_else(of_source).unwrap_or_default();
    let (stream, track) = ids.split_once(' ').unwrap_or_default();
    TrackIds { stream: stream.to_owned(), track: track.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(sections: &[&str]) -> String {
        let head = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n";
        sections.iter().fold(head.to_owned(), |text, section| text + section)
    }

    fn video(lines: &[&str]) -> String {
        let lines = lines.iter().map(|line| format!("a={line}\r\n"));
        lines.fold("m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\n".to_owned(), |text, line| text + &line)
    }

    fn ids(stream: &str, track: &str) -> TrackIds {
        TrackIds { stream: stream.to_owned(), track: track.to_owned() }
    }

    #[test]
    fn a_publishers_pictures_are_read_in_their_order_by_both_ways_to_name_them() {
        let text = offer(&[
            &video(&["mid:0", "sendrecv", "msid:rtcpub camera"]),
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\n",
            &video(&["mid:2", "sendonly", "ssrc:7 cname:x", "ssrc:7 msid:rtcpub rear"]),
            &video(&["mid:3", "recvonly", "msid:rtcpub none"]),
        ]);
        assert_eq!(pictures_sent(&text).expect("usable"), [ids("rtcpub", "camera"), ids("rtcpub", "rear")]);
    }

    #[test]
    fn one_picture_needs_no_name_and_several_need_different_ones() {
        let bare = video(&["mid:0", "sendonly"]);
        assert_eq!(pictures_sent(&offer(&[&bare])).expect("usable"), [TrackIds::default()]);
        let error = pictures_sent(&offer(&[&bare, &bare])).expect_err("they cannot be told apart");
        assert!(error.to_string().contains("same track id"), "{error}");
    }

    #[test]
    fn more_pictures_than_can_be_shown_are_refused() {
        let sections: Vec<_> = (0..5).map(|place| video(&[&format!("msid:rtcpub {place}")])).collect();
        let sections: Vec<_> = sections.iter().map(String::as_str).collect();
        assert_eq!(pictures_sent(&offer(&sections[..4])).expect("usable").len(), 4);
        let error = pictures_sent(&offer(&sections)).expect_err("too many");
        assert!(error.to_string().contains("5 pictures"), "{error}");
    }

    #[test]
    fn an_id_longer_than_ids_are_is_refused() {
        let of = |length: usize| pictures_sent(&offer(&[&video(&[&format!("msid:rtcpub {}", "x".repeat(length))])]));
        assert!(of(64).is_ok());
        assert!(of(65).is_err());
    }

    #[test]
    fn a_viewer_asks_for_what_it_receives() {
        let rejected = video(&["recvonly"]).replace("video 9", "video 0");
        let asks = |sections: &[&str]| pictures_wanted(&offer(sections)).expect("usable");
        assert_eq!(asks(&[&video(&["recvonly"])]), 1);
        assert_eq!(asks(&[&video(&["recvonly"]), &video(&["sendonly"]), &rejected, &video(&["sendrecv"])]), 2);
        assert_eq!(asks(&[]), 0);
        assert_eq!(asks(&[&*video(&["recvonly"]); 9]), MAX_PICTURES);
        assert!(pictures_wanted("this is no session description").is_err());
    }

    #[test]
    fn a_track_keeps_the_publishers_id_unless_the_session_has_it_already() {
        let shown = [ids("rtcpub", "front"), ids("rtcpub", "camera")];
        let camera = "camera".to_owned();
        assert_eq!(ids_to_viewer(&shown, &[]), shown[0]);
        assert_eq!(ids_to_viewer(&shown, &["front".to_owned()]), shown[1]);
        assert_eq!(ids_to_viewer(&[], &[]), ids("rtcpub", "camera"));
        // It joined when nobody published.
        assert_eq!(ids_to_viewer(&shown, &[camera]), ids("rtcpub", "picture-2"));
        assert_eq!(ids_to_viewer(&[TrackIds::default()], &[]), ids("rtcpub", "camera"));
    }
}
