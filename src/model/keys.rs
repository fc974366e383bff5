//! Many keys in one place.

use std::fmt;

use super::{KEY_BYTES_MAX, Key, KeyError};

/// Keys in an order, repeats allowed. Their text lies end to end in one allocation: a hundred keys
/// of their own cost a hundred, and more to free than to read.
///
/// Its `Debug` form shows the count only, as a [`Key`] shows its length only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Keys {
    text: String,
    /// Where in `text` each key ends; it begins where the one before ends.
    ends: Vec<u32>,
}

impl Keys {
    /// Takes the texts that lie in `text` and end at `ends`, each as [`Key::parse`] would. `wrong`
    /// hears of every one that is no key, by its place; then the answer is `None`.
    ///
    /// # Panics
    /// If `ends` are not the ends of texts in `text`, one behind the other.
    #[must_use]
    pub fn parse(
        text: String,
        ends: Vec<u32>,
        mut wrong: impl FnMut(usize, KeyError),
    ) -> Option<Keys> {
        let mut is_good = true;
        let texts = Texts { text: &text, start: 0, ends: ends.iter() };
        for (index, key) in texts.enumerate() {
            let error = match key.len() {
                0 => KeyError::Empty,
                bytes if bytes > KEY_BYTES_MAX => KeyError::TooLong { bytes },
                _ => continue,
            };
            is_good = false;
            wrong(index, error);
        }
        is_good.then_some(Keys { text, ends })
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all of them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The keys, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        Texts { text: &self.text, start: 0, ends: self.ends.iter() }
    }
}

/// The texts that end at `ends`.
#[derive(Clone)]
struct Texts<'a> {
    text: &'a str,
    start: usize,
    ends: std::slice::Iter<'a, u32>,
}

impl<'a> Iterator for Texts<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        let end = *self.ends.next()? as usize;
        let key = &self.text[self.start..end];
        self.start = end;
        Some(key)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ends.size_hint()
    }
}

impl ExactSizeIterator for Texts<'_> {}

impl FromIterator<Key> for Keys {
    fn from_iter<I: IntoIterator<Item = Key>>(keys: I) -> Keys {
        let mut all = Keys::default();
        for key in keys {
            all.text.push_str(key.as_str());
            let end = u32::try_from(all.text.len()).expect("a list of keys is below 4 GiB");
            all.ends.push(end);
        }
        all
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::parse(text.to_owned()).unwrap()
    }

    #[test]
    fn keys_come_back_in_their_order() {
        let texts = ["b", "a", "ü€😀", "b"];
        let keys: Keys = texts.into_iter().map(key).collect();
        assert_eq!(keys.iter().collect::<Vec<_>>(), texts);
        assert_eq!((keys.len(), keys.iter().len(), keys.bytes()), (4, 4, 12));
        assert_eq!(format!("{keys:?}"), "Keys(4)");
    }

    #[test]
    fn every_text_that_is_no_key_is_told() {
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        let text = format!("a{long}b");
        let ends = vec![1, 1, 4098, 4099];
        let mut told = Vec::new();
        assert_eq!(Keys::parse(text, ends, |index, error| told.push((index, error))), None);
        assert_eq!(told, [(1, KeyError::Empty), (2, KeyError::TooLong { bytes: 4097 })]);
        let good = Keys::parse("ab".to_owned(), vec![1, 2], |_, _| panic!("both are keys"));
        assert_eq!(good, Some(["a", "b"].into_iter().map(key).collect()));
    }
}
