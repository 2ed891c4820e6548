//! What the checks of every document share: a value is read, and what is wrong with it is noted at
//! its place.

use std::fmt::Display;

use deserr::ValuePointerRef;

use super::mistakes::{Mistakes, Place, one_of, shape};

impl Mistakes {
    /// Reads a text; what is wrong with it is noted at its place.
    pub(super) fn read<T, E: Display>(
        &mut self,
        text: &str,
        place: impl Into<Place>,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match read(text) {
            Ok(value) => Some(value),
            Err(why) => {
                self.add(place, format!("{}; {why}", shape(text)));
                None
            }
        }
    }

    /// Reads a text that must be there.
    pub(super) fn needed<T, E: Display>(
        &mut self,
        text: Option<&str>,
        at: ValuePointerRef<'_>,
        what: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let Some(text) = text else {
            self.missing(at, &format!("missing; {what}"));
            return None;
        };
        self.read(text, at, read)
    }

    /// Checks that exactly one of several settings is there.
    pub(super) fn one_of(
        &mut self,
        given: &[(&'static str, bool)],
        at: ValuePointerRef<'_>,
        choice: &str,
    ) -> Option<()> {
        let there: Vec<&str> =
            given.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
        match there.as_slice() {
            [_] => return Some(()),
            [] => self.missing(at, &format!("nothing is chosen; {choice}")),
            several => self.add(at, format!("{} there together; keep one", one_of(several))),
        }
        None
    }

    /// Notes that a setting is missing, unless it was there and wrong.
    pub(super) fn missing(&mut self, at: ValuePointerRef<'_>, what: &str) {
        if !self.touch(at) {
            self.add(at, what);
        }
    }

    /// The items of a list, each with its number; an empty one is noted.
    pub(super) fn items<'d, T>(
        &mut self,
        list: Option<&'d Vec<Option<T>>>,
        at: ValuePointerRef<'_>,
    ) -> Vec<(usize, &'d T)> {
        let mut items = Vec::new();
        for (number, item) in list.into_iter().flatten().enumerate() {
            match item {
                Some(item) => items.push((number, item)),
                None => self.missing(at.push_index(number), "nothing stands here; remove it"),
            }
        }
        items
    }
}
