//! The invariants of `lib.rs`, read off the source: what each folder may import.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// Every source file under `folder`, tests left out: they may use whatever proves their claim.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder);
    let mut found = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "tests" {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod ").next().unwrap().to_owned();
                found.push((path, code));
            }
        }
    }
    assert!(!found.is_empty(), "src/{folder} has no sources");
    found
}

/// The lines of code of a file, comments and documentation left out.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"))
}

/// Whether a line names a crate or module at the head of a path, as in `use tokio::…` or `tokio::time::sleep`.
fn names(line: &str, head: &str) -> bool {
    line.match_indices(&format!("{head}::")).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || before == '_' || before == ':')
    }) || line == format!("use {head};")
}

fn assert_never(folder: &str, heads: &[&str]) {
    for (path, text) in sources(folder) {
        for line in code(&text) {
            for head in heads {
                assert!(!names(line, head), "{} must not use {head}: {line}", path.display());
            }
        }
    }
}

#[test]
fn the_safety_logic_knows_no_network_no_picture_and_no_runtime() {
    assert_never(
        "drive",
        &["crate::rtc", "crate::video", "crate::signal", "crate::hub", "crate::app", "tokio", "gstreamer", "webrtc"],
    );
}

#[test]
fn each_crate_with_effects_is_imported_in_one_folder_only() {
    let homes: [(&[&str], &str); 5] = [
        (&["gstreamer", "gstreamer_app"], "video"),
        (&["webrtc"], "rtc"),
        (&["tokio_tungstenite"], "signal"),
        (&["i2cdev"], "drive"),
        (&["gpiocdev"], "drive"),
    ];
    for (crates, home) in homes {
        for (path, text) in sources("") {
            if path.starts_with(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(home)) {
                continue;
            }
            for line in code(&text) {
                for name in crates {
                    assert!(!names(line, name), "{}: {name} belongs to src/{home}: {line}", path.display());
                }
            }
        }
    }
}

#[test]
fn nothing_but_the_gate_can_make_a_safe_drive() {
    let (path, safe) = sources("drive/gate").into_iter().find(|(path, _)| path.ends_with("safe.rs")).unwrap();
    assert!(safe.contains("pub struct SafeDrive(Kind);"), "its field is private");
    assert!(safe.contains("\nenum Kind {"), "and so is the field's type");
    assert!(safe.contains("#[cfg(test)]\n    pub(in crate::drive) const fn for_test"), "tests alone have another way");
    // Every way to make one but standing still is the gate's own.
    for line in code(&safe).filter(|line| line.contains("-> Self") || line.contains(": Self =")) {
        let is_private =
            line.starts_with("pub(super) ") || line.contains("for_test()") || line.contains("for_test(throttle");
        assert!(is_private || line.contains("NEUTRAL"), "{}: {line}", path.display());
    }
}

#[test]
fn anyhow_stays_where_errors_only_have_to_be_told() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (path, text) in sources("") {
        let place = path.strip_prefix(&root).unwrap();
        if place.starts_with("app") || ["app.rs", "main.rs"].iter().any(|allowed| place == Path::new(allowed)) {
            continue;
        }
        assert!(!code(&text).any(|line| names(line, "anyhow")), "{} uses anyhow", place.display());
    }
}
