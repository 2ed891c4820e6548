//! What the checks of every document share: a value is read, and what is wrong with it is noted at
//! its place.

use std::fmt::Display;

use deserr::ValuePointerRef;

use super::{Mistakes, Place, one_of, shape};

impl Mistakes {
    /// Reads a text; what is wrong with it is noted at its place.
    pub(in crate::config) fn read<T, E: Display>(
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
    pub(in crate::config) fn needed<T, E: Display>(
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
    pub(in crate::config) fn one_of(
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
    pub(in crate::config) fn missing(&mut self, at: ValuePointerRef<'_>, what: &str) {
        if !self.touch(at) {
            self.add(at, what);
        }
    }

    /// The items of a list, each with its number; an empty one is noted.
    pub(in crate::config) fn items<'d, T>(
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

    /// With each place as `to` says: the setting stands elsewhere in another document.
    pub(in crate::config) fn moved(mut self, to: impl Fn(&mut Place)) -> Self {
        for mistake in &mut self.0 {
            to(&mut mistake.place);
        }
        self
    }

    /// Takes those out whose place is one of these.
    pub(in crate::config) fn take(&mut self, is: impl Fn(&Place) -> bool) -> Self {
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition(|one| is(&one.place));
        self.0 = left;
        Self(taken)
    }
}
