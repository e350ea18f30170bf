//! Bytes of a terminal → keys. Pure.

/// A key that means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    Left,
    Right,
    Enter,
    Backspace,
    /// Ctrl-C or Ctrl-D.
    End,
    Letter(char),
}

/// Puts escape sequences together, however they are cut.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Keys {
    #[default]
    Ground,
    Escape,
    /// Inside a control sequence: parameters until a final byte (ECMA-48 §5.4).
    Sequence,
}

impl Keys {
    /// Takes a byte, and returns the key that it completes.
    pub(super) fn byte(&mut self, byte: u8) -> Option<Key> {
        match (*self, byte) {
            (_, 0x03 | 0x04) => self.then(Self::Ground, Key::End),
            (_, 0x1B) => self.go(Self::Escape),
            (Self::Escape, b'[' | b'O') => self.go(Self::Sequence),
            (Self::Sequence, b'A') => self.then(Self::Ground, Key::Up),
            (Self::Sequence, b'B') => self.then(Self::Ground, Key::Down),
            (Self::Sequence, b'C') => self.then(Self::Ground, Key::Right),
            (Self::Sequence, b'D') => self.then(Self::Ground, Key::Left),
            (Self::Sequence, 0x20..=0x3F) => None,
            (Self::Escape | Self::Sequence, _) => self.go(Self::Ground),
            (Self::Ground, b'\r' | b'\n') => Some(Key::Enter),
            (Self::Ground, 0x08 | 0x7F) => Some(Key::Backspace),
            (Self::Ground, 0x20..=0x7E) => Some(Key::Letter(byte.into())),
            (Self::Ground, _) => None,
        }
    }

    fn go(&mut self, state: Self) -> Option<Key> {
        *self = state;
        None
    }

    fn then(&mut self, state: Self, key: Key) -> Option<Key> {
        *self = state;
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_keys_and_unknown_sequences_become_nothing() {
        use Key::{Backspace, Down, End, Enter, Left, Letter, Right, Up};
        let table: [(&[u8], &[Key]); 9] = [
            (b"\x1b[A\x1b[B\x1b[C\x1b[D", &[Up, Down, Right, Left]),
            (b"\x1bOA\x1bOD", &[Up, Left]),
            // Shift-Up, Page Up, Delete, F5, Alt-x.
            (b"\x1b[1;2A", &[Up]),
            (b"\x1b[5~\x1b[3~\x1b[15~\x1bx", &[]),
            (b"yes\r", &[Letter('y'), Letter('e'), Letter('s'), Enter]),
            (b"\x7f\x08", &[Backspace, Backspace]),
            (b"\x03", &[End]),
            (b"\x1b\x03\x1b[\x04", &[End, End]),
            ("ü\0".as_bytes(), &[]),
        ];
        for (bytes, expected) in table {
            let mut keys = Keys::default();
            let typed: Vec<_> = bytes.iter().filter_map(|byte| keys.byte(*byte)).collect();
            assert_eq!(typed, expected, "{bytes:02x?}");
        }
    }
}
