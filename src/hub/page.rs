//! The viewer page: its files, embedded, with the headers that keep it to itself.

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

/// One file of the page.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Its path on the server.
    pub path: &'static str,
    /// Its media type.
    pub media_type: &'static str,
    /// Its content.
    pub content: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! asset {
    ($path:literal, $media_type:expr, $file:literal) => {
        Asset { path: $path, media_type: $media_type, content: include_str!(concat!("page/", $file)) }
    };
}

const ASSETS: &[Asset] = &[
    asset!("/", HTML, "viewer.html"),
    asset!("/viewer.css", CSS, "viewer.css"),
    asset!("/pictures.css", CSS, "pictures.css"),
    asset!("/viewer.js", JAVASCRIPT, "viewer.js"),
    asset!("/link.js", JAVASCRIPT, "link.js"),
    asset!("/controls.js", JAVASCRIPT, "controls.js"),
    asset!("/drive.js", JAVASCRIPT, "drive.js"),
    asset!("/overlay.js", JAVASCRIPT, "overlay.js"),
    asset!("/pictures.js", JAVASCRIPT, "pictures.js"),
    asset!("/icon.svg", SVG, "icon.svg"),
];

/// The file at this path.
pub fn asset(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

impl Asset {
    /// The content as a response body.
    pub fn body(&self) -> Bytes {
        Bytes::from_static(self.content.as_bytes())
    }
}

/// The headers of every response. `host` is the name this hub was asked by, already checked.
pub fn headers(media_type: &'static str, host: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let fixed: [(HeaderName, &'static str); 8] = [
        (CONTENT_TYPE, media_type),
        // The files change together with the program and are small.
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), microphone=(), geolocation=(), gamepad=(self), fullscreen=(self), screen-wake-lock=(self)",
        ),
    ];
    headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    if let Ok(policy) = HeaderValue::from_str(&content_security_policy(host)) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers
}

/// Nothing but our own files, and sockets to ourselves: older Safari does not count those as `'self'`.
fn content_security_policy(host: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self' blob:; \
         connect-src 'self' ws://{host} wss://{host}; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_for_nothing_that_is_not_served() {
        for asset in ASSETS {
            let quoted = asset.content.split(['"', '\'']);
            let wanted = quoted.filter(|text| {
                (text.starts_with('/') || text.starts_with("./"))
                    && [".js", ".css", ".svg"].iter().any(|ending| text.ends_with(ending))
            });
            for path in wanted {
                assert!(super::asset(path.trim_start_matches('.')).is_some(), "{} wants {path}", asset.path);
            }
        }
    }

    #[test]
    fn the_policy_forbids_inline_code_so_the_page_has_none() {
        let page = asset("/").expect("the page").content;
        assert!(!page.contains("<style") && !page.contains("style=") && !page.contains("onclick="));
        let inline =
            page.split("<script").skip(1).any(|tag| !tag.split('>').next().is_some_and(|tag| tag.contains("src=")));
        assert!(!inline, "a script without src");
    }

    /// The value of a colour variable: red, green, blue, each 0 … 255, and how opaque it is.
    fn colour(name: &str) -> ([f64; 3], f64) {
        let style = asset("/viewer.css").expect("the style").content;
        let value = style.split_once(&format!("--{name}: ")).and_then(|(_, rest)| rest.split_once(';'));
        let value = value.expect("the variable").0;
        if let Some(hex) = value.strip_prefix('#') {
            let channel = |at: usize| f64::from(u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal"));
            return ([channel(0), channel(2), channel(4)], 1.0);
        }
        let numbers = value.trim_start_matches("rgb(").trim_end_matches(')').split([' ', '/']);
        let numbers: Vec<f64> = numbers.filter_map(|number| number.parse().ok()).collect();
        ([numbers[0], numbers[1], numbers[2]], numbers[3])
    }

    /// Relative luminance (WCAG 2.2).
    fn luminance(colour: [f64; 3]) -> f64 {
        let [red, green, blue] = colour.map(|channel| match channel / 255.0 {
            small if small <= 0.04045 => small / 12.92,
            channel => ((channel + 0.055) / 1.055).powf(2.4),
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    #[test]
    fn every_text_can_be_read_whatever_the_picture_is() {
        let rows = [
            ("text", "panel"),
            ("quiet", "panel"),
            ("good", "panel"),
            ("warn", "panel"),
            ("text", "stop"),
            ("ground", "text"),
        ];
        for (text, ground) in rows {
            let (ground_colour, opaque) = colour(ground);
            for picture in [0.0, 255.0] {
                let seen = ground_colour.map(|channel| opaque * channel + (1.0 - opaque) * picture);
                let (one, other) = (luminance(colour(text).0), luminance(seen));
                let contrast = (one.max(other) + 0.05) / (one.min(other) + 0.05);
                assert!(contrast >= 7.0, "{text} on {ground} over {picture}: {contrast:.1}");
            }
        }
    }
}
