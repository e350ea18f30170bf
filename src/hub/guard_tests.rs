use hyper::header::HeaderValue;

use super::*;

fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).expect("a header"))).collect()
}

fn names() -> Names {
    Names::new(Some("Shed"), &["car.example".to_owned()])
}

#[test]
fn the_hub_answers_to_addresses_and_its_own_names_only() {
    let own = [
        "127.0.0.1:8080",
        "[::1]:8267",
        "192.0.2.7",
        "localhost",
        "LOCALHOST:8080",
        "shed:8080",
        "shed.local",
        "shed.local.",
        "car.example",
    ];
    for host in own {
        assert_eq!(check_host(&headers(&[(HOST, host)]), &names()), Ok(host.to_owned()));
    }
    for host in ["evil.example", "127.0.0.1.evil.example:8080", "localhost.evil.example", "shed.evil.example", "local"]
    {
        let refusal = check_host(&headers(&[(HOST, host)]), &names()).expect_err(host);
        assert!(matches!(refusal, Refusal::ForeignHost(_)), "{host}: {refusal:?}");
    }
    for host in ["", "a b", "user@localhost", "localhost/x", "localhost?x", "http://localhost"] {
        assert_eq!(check_host(&headers(&[(HOST, host)]), &names()), Err(Refusal::NoHost), "{host:?}");
    }
    assert_eq!(check_host(&HeaderMap::new(), &names()), Err(Refusal::NoHost));
}

#[test]
fn only_our_own_page_may_open_a_socket_from_a_browser() {
    use Scheme::{Http, Https};
    let rows = [
        ("127.0.0.1:8080", "http://127.0.0.1:8080", Http, true),
        ("localhost:8080", "http://localhost:8080", Http, true),
        ("192.0.2.7:8267", "https://192.0.2.7:8267", Https, true),
        ("[::1]:8080", "http://[::1]:8080", Http, true),
        ("car.example", "https://car.example", Http, true),
        ("car.example:443", "https://car.example", Https, true),
        // Another port is another origin.
        ("127.0.0.1:8267", "http://127.0.0.1:8080", Https, false),
        ("127.0.0.1:8080", "http://127.0.0.1:3000", Http, false),
        ("127.0.0.1:8080", "http://127.0.0.1", Http, false),
        // A page in the clear can be forged by anyone on the way.
        ("192.0.2.7:8267", "http://192.0.2.7:8267", Https, false),
        ("127.0.0.1:8080", "http://evil.example", Http, false),
        ("127.0.0.1:8080", "http://evil.example:8080", Http, false),
        ("127.0.0.1:8080", "null", Http, false),
        ("127.0.0.1:8080", "file://", Http, false),
        ("127.0.0.1:8080", "", Http, false),
    ];
    for (host, origin, scheme, allowed) in rows {
        let outcome = check_origin(&headers(&[(HOST, host), (ORIGIN, origin)]), &names(), scheme);
        assert_eq!(outcome.is_ok(), allowed, "{origin} to {host}: {outcome:?}");
    }
}

#[test]
fn a_rebound_name_does_not_pass_as_our_own_page() {
    let rebound = headers(&[(HOST, "evil.example:8080"), (ORIGIN, "http://evil.example:8080")]);
    assert_eq!(check_origin(&rebound, &names(), Scheme::Http), Err(Refusal::ForeignHost("evil.example".into())));
}

#[test]
fn two_origins_are_none_of_ours() {
    let mut both = headers(&[(HOST, "localhost:8080"), (ORIGIN, "http://localhost:8080")]);
    both.append(ORIGIN, HeaderValue::from_static("http://evil.example"));
    assert!(check_origin(&both, &names(), Scheme::Http).is_err());
}

#[test]
fn a_client_that_is_no_browser_needs_no_origin() {
    assert_eq!(check_origin(&headers(&[(HOST, "any.name")]), &names(), Scheme::Https), Ok(()));
}

#[test]
fn tokens_are_taken_from_either_place_and_must_be_right() {
    let judge = TokenJudge::new().expect("random numbers");
    let expected = Secret::new("s3cret-ü");
    let hex: String = expected.expose().bytes().map(|byte| format!("{byte:02x}")).collect();
    let bearer = |token: &str| {
        let value = HeaderValue::from_bytes(format!("Bearer {token}").as_bytes()).expect("a header");
        HeaderMap::from_iter([(AUTHORIZATION, value)])
    };
    let protocol = |list: &str| headers(&[(SEC_WEBSOCKET_PROTOCOL, list)]);
    let ascii = Secret::new("abc");
    assert_eq!(judge.check(&bearer("abc"), Some(&ascii)), Ok(()));
    assert_eq!(judge.check(&bearer(expected.expose()), Some(&expected)), Ok(()), "a header of UTF-8 bytes");
    assert_eq!(judge.check(&protocol(&format!("rtcpub, rtcpub.token.{hex}")), Some(&expected)), Ok(()));
    assert_eq!(judge.check(&HeaderMap::new(), None), Ok(()), "nothing is expected");
    let wrong = [
        HeaderMap::new(),
        bearer("abd"),
        bearer("ab"),
        bearer("abcd"),
        bearer(""),
        protocol("rtcpub"),
        protocol("rtcpub.token."),
        protocol("rtcpub.token.6"),
        protocol("rtcpub.token.zz"),
        protocol("rtcpub.token.ff"),
    ];
    for headers in wrong {
        assert_eq!(judge.check(&headers, Some(&ascii)), Err(Refusal::Token), "{headers:?}");
    }
    assert!(offers_subprotocol(&protocol("x, rtcpub")) && !offers_subprotocol(&protocol("rtcpub.token.00")));
}
