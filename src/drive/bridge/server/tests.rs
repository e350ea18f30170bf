//! Turn by turn, without the thread.

use super::*;

/// A server whose turns are the test's, and where programs connect.
struct Lab {
    server: Server<Box<dyn FnMut(BridgeRequest)>>,
    path: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("car.sock");
        let shared = Arc::new(Shared::new(None).unwrap());
        let listening = Listening::open(&path).unwrap();
        let server = Server::new(listening, shared, Box::new(|_| {}) as Box<_>);
        Self { server, path, _folder: folder }
    }

    /// A program that is connected by the end of the next turn.
    fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).unwrap()
    }

    /// One turn of the thread. Without news it would wait for ever.
    fn turn(&mut self) {
        assert!(self.server.turn());
    }
}

#[test]
fn a_last_program_that_leaves_and_comes_back_in_one_turn_is_noticed() {
    let mut lab = Lab::new();
    let program = lab.connect();
    lab.turn();
    lab.server.shared.begin_anew();
    assert!(!lab.server.shared.was_deserted());
    drop(program);
    let _back = lab.connect();
    lab.turn();
    assert!(lab.server.shared.has_programs());
    assert!(lab.server.shared.was_deserted());
}
