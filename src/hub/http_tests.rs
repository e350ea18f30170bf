use http_body_util::BodyExt;
use hyper::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};

use super::*;
use crate::hub::room::MAX_VIEWERS;
use crate::secret::Secret;

const UPGRADE_HEADERS: [(HeaderName, &str); 4] = [
    (CONNECTION, "keep-alive, Upgrade"),
    (UPGRADE, "websocket"),
    (SEC_WEBSOCKET_VERSION, "13"),
    // RFC 6455 §1.3's example.
    (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
];

fn gate() -> Gatekeeper {
    let mut config = HubConfig::on_loopback("/nonexistent".into());
    config.publisher_token = Some(Secret::new("car"));
    config.viewer_token = Some(Secret::new("eye"));
    Gatekeeper { config, names: Names::new(Some("shed"), &[]), judge: TokenJudge::new().expect("random numbers") }
}

fn open_gate() -> Gatekeeper {
    let config = HubConfig::on_loopback("/nonexistent".into());
    Gatekeeper { config, ..gate() }
}

fn request(method: &str, uri: &str, headers: &[(HeaderName, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(uri).header(HOST, "127.0.0.1:8080");
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    request.body(()).expect("a request")
}

fn arrival(scheme: Scheme, peer: &str) -> Arrival {
    Arrival { scheme, peer: peer.parse().expect("an address") }
}

fn answer(request: &Request<()>, gate: &Gatekeeper) -> (Reply, Option<Grant>) {
    respond(request, arrival(Scheme::Http, "127.0.0.1:50000"), gate, &Arc::default())
}

fn status(request: &Request<()>, gate: &Gatekeeper) -> u16 {
    answer(request, gate).0.status().as_u16()
}

async fn text(reply: Reply) -> String {
    let body = reply.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8(body.to_vec()).expect("text")
}

fn socket(uri: &str, more: &[(HeaderName, &str)]) -> Request<()> {
    request("GET", uri, &[&UPGRADE_HEADERS, more].concat())
}

#[tokio::test]
async fn the_page_comes_with_the_headers_that_keep_it_to_itself() {
    let (reply, grant) = answer(&request("GET", "/?channel=x", &[]), &gate());
    assert_eq!((reply.status(), grant.is_none()), (StatusCode::OK, true));
    let header = |name: &str| reply.headers()[name].to_str().expect("text").to_owned();
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    assert!(header("content-security-policy").starts_with("default-src 'none'; script-src 'self';"));
    assert!(header("content-security-policy").contains("connect-src 'self' ws://127.0.0.1:8080 wss://127.0.0.1:8080;"));
    assert!(header("content-security-policy").contains("frame-ancestors 'none'"));
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("referrer-policy"), "no-referrer");
    assert!(text(reply).await.contains("<video"));
}

#[test]
fn what_is_not_there_or_not_meant_is_refused_with_a_reason() {
    let rows = [
        ("GET", "/nothing", 404),
        ("GET", "/../Cargo.toml", 404),
        ("GET", "/channels/x", 404),
        ("POST", "/", 405),
        ("DELETE", "/channels", 405),
        ("HEAD", "/", 200),
        ("GET", "/channels", 200),
    ];
    for (method, uri, expected) in rows {
        assert_eq!(status(&request(method, uri, &[]), &open_gate()), expected, "{method} {uri}");
    }
}

#[test]
fn a_rebound_name_gets_nothing_at_all() {
    for uri in ["/", "/channels", "/viewer.js"] {
        let mut request = request("GET", uri, &[]);
        request.headers_mut().insert(HOST, HeaderValue::from_static("evil.example:8080"));
        assert_eq!(status(&request, &open_gate()), 421, "{uri}");
    }
    let own = [(ORIGIN, "http://evil.example:8080")];
    let mut request = socket("/live/ws/sub?channel=x", &own);
    request.headers_mut().insert(HOST, HeaderValue::from_static("evil.example:8080"));
    assert_eq!(status(&request, &open_gate()), 421);
}

#[test]
fn a_page_of_another_origin_cannot_open_a_socket() {
    for (origin, expected) in [("http://127.0.0.1:8080", 101), ("http://evil.example", 403), ("null", 403)] {
        for path in ["/live/ws/sub?channel=x", "/live/ws/pub?channel=x"] {
            assert_eq!(status(&socket(path, &[(ORIGIN, origin)]), &open_gate()), expected, "{origin} {path}");
        }
    }
}

#[test]
fn a_socket_is_granted_for_the_decoded_channel_and_the_handshake_is_the_standards() {
    let (reply, grant) = answer(&socket("/live/ws/sub?vcodec=h264&channel=a+b%26c", &[]), &open_gate());
    let Some(Grant::Viewer(seat, _)) = grant else { panic!("for a viewer") };
    assert_eq!(seat.channel().as_str(), "a b&c");
    assert_eq!(reply.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(reply.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert!(!reply.headers().contains_key(SEC_WEBSOCKET_PROTOCOL));
    let (reply, _) = answer(&socket("/live/ws/sub?channel=x", &[(SEC_WEBSOCKET_PROTOCOL, "rtcpub")]), &open_gate());
    assert_eq!(reply.headers()[SEC_WEBSOCKET_PROTOCOL], "rtcpub");
}

#[tokio::test]
async fn a_socket_without_a_usable_channel_is_refused_with_the_remedy() {
    for query in ["", "?vcodec=h264", "?channel=", "?channel=%00", "?channel=a&channel=b"] {
        let (reply, grant) = answer(&socket(&format!("/live/ws/pub{query}"), &[]), &open_gate());
        assert_eq!((reply.status(), grant.is_none()), (StatusCode::BAD_REQUEST, true), "{query}");
        assert!(text(reply).await.contains("channel"));
    }
    let long = "x".repeat(257);
    assert_eq!(status(&socket(&format!("/live/ws/pub?channel={long}"), &[]), &open_gate()), 400);
}

#[test]
fn a_socket_address_is_for_websockets_only() {
    assert_eq!(status(&request("GET", "/live/ws/sub?channel=x", &[]), &open_gate()), 426);
    assert_eq!(status(&request("POST", "/live/ws/sub?channel=x", &UPGRADE_HEADERS), &open_gate()), 426);
    let mut old = socket("/live/ws/sub?channel=x", &[]);
    old.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("8"));
    assert_eq!(status(&old, &open_gate()), 426);
}

#[test]
fn tokens_open_their_own_door_only() {
    let rows = [
        ("/live/ws/pub?channel=x", None, 401),
        ("/live/ws/pub?channel=x", Some("Bearer eye"), 401),
        ("/live/ws/pub?channel=x", Some("Bearer car"), 101),
        ("/live/ws/sub?channel=x", Some("Bearer car"), 401),
        ("/live/ws/sub?channel=x", Some("Bearer eye"), 101),
        ("/channels", None, 401),
        ("/channels", Some("Bearer eye"), 200),
        ("/", None, 200),
    ];
    for (uri, token, expected) in rows {
        let token: Vec<_> = token.into_iter().map(|token| (AUTHORIZATION, token)).collect();
        assert_eq!(status(&socket(uri, &token), &gate()), expected, "{uri} {token:?}");
    }
}

#[test]
fn publishers_from_other_machines_need_tls() {
    let request = socket("/live/ws/pub?channel=x", &[]);
    let rows = [
        (Scheme::Http, "127.0.0.1:5000", 101),
        (Scheme::Http, "[::ffff:127.0.0.1]:5000", 101),
        (Scheme::Http, "192.0.2.9:5000", 403),
        (Scheme::Https, "192.0.2.9:5000", 101),
    ];
    for (scheme, peer, expected) in rows {
        let (reply, _) = respond(&request, arrival(scheme, peer), &open_gate(), &Arc::default());
        assert_eq!(reply.status().as_u16(), expected, "{scheme:?} from {peer}");
    }
    let viewer = socket("/live/ws/sub?channel=x", &[]);
    let (reply, _) = respond(&viewer, arrival(Scheme::Http, "192.0.2.9:5000"), &open_gate(), &Arc::default());
    assert_eq!(reply.status().as_u16(), 101);
}

#[tokio::test]
async fn the_list_of_channels_is_json() {
    let channels = Arc::new(Channels::default());
    let seat = channels.seat_publisher(&ChannelId::new("car \"1\"").expect("an id")).expect("a seat");
    seat.connected();
    let (reply, _) =
        respond(&request("GET", "/channels", &[]), arrival(Scheme::Http, "127.0.0.1:1"), &open_gate(), &channels);
    assert_eq!(reply.headers()["content-type"], "application/json");
    assert_eq!(text(reply).await, r#"[{"id":"car \"1\"","viewers":0}]"#);
}

#[tokio::test]
async fn a_full_room_says_so() {
    let channels = Arc::new(Channels::default());
    let seats: Vec<_> =
        (0..MAX_VIEWERS).map(|_| channels.seat_viewer(&ChannelId::new("x").expect("an id")).expect("a seat")).collect();
    let viewer = socket("/live/ws/sub?channel=x", &[]);
    let arrival = arrival(Scheme::Http, "127.0.0.1:1");
    let (reply, grant) = respond(&viewer, arrival, &open_gate(), &channels);
    assert_eq!((reply.status(), grant.is_none()), (StatusCode::SERVICE_UNAVAILABLE, true));
    assert!(text(reply).await.contains("64 viewers"));
    drop(seats);
    assert_eq!(respond(&viewer, arrival, &open_gate(), &channels).0.status(), StatusCode::SWITCHING_PROTOCOLS);
}
