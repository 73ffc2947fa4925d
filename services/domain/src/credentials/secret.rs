//! A value nobody prints by accident.

use core::fmt;

use zeroize::Zeroizing;

/// A secret text: redacted in `Debug`, erased when dropped, readable only by asking for it.
///
/// It does not implement `Serialize` nor `Display`; what puts it on a wire calls [`Secret::expose`] and can be found by
/// that name. Erasing is best effort: parsers and buffers the text passed through before may have kept copies.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over; the caller's buffer becomes the secret's.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. Not for logs, errors, arguments or files.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Length in bytes, which may be told.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_value() {
        let secret = Secret::from("hunter2");
        assert_eq!(format!("{secret:?} {secret:#?}"), "Secret(redacted) Secret(redacted)");
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!((secret.len(), secret.is_empty()), (7, false));
    }

    #[test]
    fn other_json_is_refused_without_quoting_it() {
        for json in ["314159", "-314159", "3.14159", "true", "null", "[\"314159\"]", "{\"314159\":1}"] {
            let said = serde_json::from_str::<Secret>(json).unwrap_err().to_string();
            assert!(!said.contains("14159"), "{json}: {said}");
        }
    }
}
