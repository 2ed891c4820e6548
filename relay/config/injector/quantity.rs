//! Quantities of resources as Kubernetes writes them, and what a resource may be called.

use crate::config::mistakes::unknown;

/// What the units of a quantity multiply it by, in thousandths.
const UNITS: [(&str, u128); 14] = [
    ("", 1000),
    ("m", 1),
    ("k", 1_000_000),
    ("M", 1_000_000_000),
    ("G", 1_000_000_000_000),
    ("T", 1_000_000_000_000_000),
    ("P", 1_000_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000_000),
    ("Ki", 1000 << 10),
    ("Mi", 1000 << 20),
    ("Gi", 1000 << 30),
    ("Ti", 1000 << 40),
    ("Pi", 1000 << 50),
    ("Ei", 1000 << 60),
];

/// So many digits of a fraction count; Kubernetes keeps no more.
const DIGITS: usize = 9;
const WHOLE: u128 = 1_000_000_000;

/// Less memory than this holds no program.
const LEAST_MEMORY: u128 = (WHOLE * 1000) << 20;

const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// A quantity, such as 5m or 16Mi.
#[derive(Clone, Debug)]
pub(super) struct Quantity {
    text: String,
    /// Its size, by which it is compared: in thousandths of 10^-9.
    size: u128,
}

impl Quantity {
    /// Reads a quantity of this resource.
    ///
    /// # Errors
    /// What would be right.
    pub(super) fn of(resource: &str, text: &str) -> Result<Self, String> {
        const FORM: &str = "a quantity looks like 5m, 0.5 or 16Mi";
        let (number, rest) = digits(text);
        let (fraction, unit) = match rest.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("0", rest),
        };
        let unit = UNITS.iter().find(|(name, _)| *name == unit);
        let (Some((_, unit)), false, false) = (unit, number.is_empty(), fraction.is_empty()) else {
            return Err(FORM.to_owned());
        };
        let fraction: String = fraction.chars().chain("000000000".chars()).take(DIGITS).collect();
        let whole = number.parse::<u128>().ok().and_then(|number| number.checked_mul(WHOLE));
        let size = whole.zip(fraction.parse::<u128>().ok());
        let size =
            size.and_then(|(whole, fraction)| whole.checked_add(fraction)?.checked_mul(*unit));
        let size = size.ok_or("more than Kubernetes can count")?;
        if resource == "memory" && size > 0 && size < LEAST_MEMORY {
            return Err("memory is counted in bytes, and this is less than 1Mi: write it as 32Mi"
                .to_owned());
        }
        Ok(Self { text: text.to_owned(), size })
    }

    /// Whether it is more than another.
    pub(super) fn exceeds(&self, other: &Self) -> bool {
        self.size > other.size
    }

    /// As it was written.
    pub(super) fn into_text(self) -> String {
        self.text
    }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len())
}

/// Checks the name of a resource: Kubernetes' own have no slash.
///
/// # Errors
/// What would be right.
pub(super) fn check_resource(name: &str) -> Result<(), String> {
    match RESOURCES.contains(&name) || name.starts_with("hugepages-") || name.contains('/') {
        true => Ok(()),
        false => Err(unknown(name, &RESOURCES)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_their_form() {
        for text in ["5m", "16Mi", "1", "0.5", "1.5Gi", "0"] {
            assert!(Quantity::of("cpu", text).is_ok(), "{text}");
        }
        let long = "9".repeat(100);
        for text in ["", "m", "1.m", ".5", "16 Mi", "16mi", "-1", "1e3x", &long] {
            assert!(Quantity::of("cpu", text).is_err(), "{text}");
        }
        for text in ["32m", "32", "0.5", "1023Ki"] {
            assert!(Quantity::of("memory", text).is_err(), "{text}");
        }
        for text in ["0", "1Mi", "1048576", "0.5Gi", "32M"] {
            assert!(Quantity::of("memory", text).is_ok(), "{text}");
        }
    }

    #[test]
    fn quantities_are_compared_across_their_units() {
        let exceeds = |one, other| {
            let read = |text| Quantity::of("cpu", text).unwrap();
            read(one).exceeds(&read(other))
        };
        for (more, less) in [
            ("1", "999m"),
            ("0.5", "499m"),
            ("1Ki", "1k"),
            ("1Gi", "1023Mi"),
            ("8Ei", "9E"),
            ("1.000000001", "1"),
        ] {
            assert!(exceeds(more, less) && !exceeds(less, more), "{more} {less}");
        }
        for (one, other) in [("1", "1000m"), ("1Gi", "1024Mi"), ("0.5", "500m"), ("1k", "1000")] {
            assert!(!exceeds(one, other) && !exceeds(other, one), "{one} {other}");
        }
    }

    #[test]
    fn resources_are_kubernetes_own_or_have_a_slash() {
        for name in ["cpu", "memory", "ephemeral-storage", "hugepages-2Mi", "example.com/thing"] {
            assert_eq!(check_resource(name), Ok(()), "{name}");
        }
        for name in ["mem", "Memory", "gpu", ""] {
            assert!(check_resource(name).is_err(), "{name}");
        }
    }
}
