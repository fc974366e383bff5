//! Requests prepared once: bytes with holes for keys.

/// A key as it stands in a prepared request; its digits are filled in.
pub(crate) const KEY: &str = "key:000000000000";
/// Digits at the end of [`KEY`].
const DIGITS: usize = 12;

/// The key with this number.
pub(crate) fn key(number: u64) -> String {
    format!("key:{number:0DIGITS$}")
}

/// A request in which every [`KEY`] is a hole.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    /// Where the digits of each key begin.
    holes: Vec<usize>,
}

impl Template {
    pub(crate) fn new(bytes: Vec<u8>) -> Template {
        let found =
            bytes.windows(KEY.len()).enumerate().filter(|(_, text)| *text == KEY.as_bytes());
        let holes = found.map(|(at, _)| at + KEY.len() - DIGITS).collect();
        Template { bytes, holes }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the request to `out`, with the keys that `next` names.
    pub(crate) fn write(&self, out: &mut Vec<u8>, mut next: impl FnMut() -> u64) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        for hole in &self.holes {
            let mut number = next();
            let digits = &mut out[start + hole..start + hole + DIGITS];
            for digit in digits.iter_mut().rev() {
                if number == 0 {
                    break;
                }
                *digit = b"0123456789"[usize::try_from(number % 10).unwrap_or_default()];
                number /= 10;
            }
        }
    }
}

/// Which keys requests name.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keys {
    /// Each as likely as the next, of this many.
    Random { count: u64 },
    /// One after the other, from zero.
    InOrder,
}

/// Draws keys. The generator is xorshift64*, which is fair enough and costs next to nothing.
#[derive(Debug)]
pub(crate) struct Draw {
    keys: Keys,
    state: u64,
}

impl Draw {
    /// `seed` must not be zero; [`Keys::InOrder`] takes no notice of it.
    pub(crate) fn new(keys: Keys, seed: u64) -> Draw {
        let state = match keys {
            Keys::Random { .. } => seed,
            Keys::InOrder => 0,
        };
        Draw { keys, state }
    }

    pub(crate) fn next(&mut self) -> u64 {
        match self.keys {
            Keys::InOrder => {
                self.state += 1;
                self.state - 1
            }
            Keys::Random { count } => {
                self.state ^= self.state >> 12;
                self.state ^= self.state << 25;
                self.state ^= self.state >> 27;
                (self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % count
            }
        }
    }
}
