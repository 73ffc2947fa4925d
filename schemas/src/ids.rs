//! Identifiers, valid by construction: `[A-Za-z0-9_-]{1,128}`, so each is one NATS subject token.

/// The pattern every id matches, as a JSON Schema regular expression.
pub const ID_PATTERN: &str = "^[A-Za-z0-9_-]{1,128}$";

const MAX_LENGTH: usize = 128;

/// Why a text is not an id; the offending text itself is left out, since it may be anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("{field} is empty; give 1 to 128 characters of A-Z a-z 0-9 _ -")]
    Empty {
        /// Name of the field that holds the id.
        field: &'static str,
    },
    /// The text is longer than 128 characters.
    #[error("{field} is {length} bytes long; at most 128 are allowed")]
    TooLong {
        /// Name of the field that holds the id.
        field: &'static str,
        /// Length of the text in bytes.
        length: usize,
    },
    /// The text holds a character that is not allowed.
    #[error("{field} holds {found:?} at character {position}; only A-Z a-z 0-9 _ - are allowed")]
    Character {
        /// Name of the field that holds the id.
        field: &'static str,
        /// The first character that is not allowed.
        found: char,
        /// Its place, counted from 1.
        position: usize,
    },
    /// A secret's name holds a character that is not allowed.
    #[error("secret_name holds {found:?} at character {position}; only A-Z a-z 0-9 _ - . are allowed")]
    NameCharacter {
        /// The first character that is not allowed.
        found: char,
        /// Its place, counted from 1.
        position: usize,
    },
}

impl IdError {
    /// Name of the field that holds the id.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Empty { field } | Self::TooLong { field, .. } | Self::Character { field, .. } => field,
            Self::NameCharacter { .. } => "secret_name",
        }
    }
}

fn check(field: &'static str, text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty { field });
    }
    if let Some((at, found)) = text.chars().enumerate().find(|(_, c)| !is_allowed(*c)) {
        return Err(IdError::Character { field, found, position: at.saturating_add(1) });
    }
    if text.len() > MAX_LENGTH {
        return Err(IdError::TooLong { field, length: text.len() });
    }
    Ok(())
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// A text that was checked when it was made: on the wire a string, in JSON Schema one of this pattern.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $pattern:expr, $error:ty, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// The text as it stands on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                $check(&text).map(|()| Self(text))
            }
        }

        impl std::str::FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                Self::try_from(text.to_owned())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}
pub(crate) use checked_text;

checked_text!(
    /// A tenant: the owner of images, containers and their credentials. It is one NATS subject token, as every id is.
    WorkspaceId, ID_PATTERN, IdError, |text| check("workspace", text)
);
checked_text!(
    /// An image, as the builder numbers them within a workspace.
    ImageId, ID_PATTERN, IdError, |text| check("image_id", text)
);
checked_text!(
    /// A container, as the orchestrator numbers them within a workspace.
    ContainerId, ID_PATTERN, IdError, |text| check("container_id", text)
);
checked_text!(
    /// A worker: the Waybill process on one node.
    WorkerId, ID_PATTERN, IdError, |text| check("worker_id", text)
);
checked_text!(
    /// A request or a build: what makes it one, however often it is sent. Derived from its idempotency key, or fresh.
    RequestId, ID_PATTERN, IdError, |text| check("request", text)
);
checked_text!(
    /// Name of a bearer token.
    TokenId, ID_PATTERN, IdError, |text| check("token_id", text)
);

/// The pattern every secret name matches, as a JSON Schema regular expression.
pub const SECRET_NAME_PATTERN: &str = "^[A-Za-z0-9_.-]{1,128}$";

checked_text!(
    /// A secret of a workspace: 1 to 128 characters of `A-Z a-z 0-9 _ - .`. In subjects and vault keys each dot is a `=`.
    SecretName, SECRET_NAME_PATTERN, IdError, check_name
);

impl SecretName {
    /// The name nearest to a label: what a name cannot hold becomes `-`, cut to `longest` characters.
    pub fn from_label(label: &str, longest: usize) -> Self {
        let letter = |c: char| if is_allowed(c) || c == '.' { c } else { '-' };
        let name: String = label.chars().map(letter).take(longest.clamp(1, MAX_LENGTH)).collect();
        Self(if name.is_empty() { "-".to_owned() } else { name })
    }

    /// The name with a suffix, the name itself cut where both are too long.
    pub fn with_suffix(&self, suffix: &str) -> Self {
        let room = MAX_LENGTH.saturating_sub(suffix.len().saturating_add(1)).max(1);
        let name: String = self.0.chars().take(room).collect();
        Self::from_label(&format!("{name}-{suffix}"), MAX_LENGTH)
    }

    /// The name as one subject token.
    pub fn token(&self) -> String {
        self.0.replace('.', "=")
    }

    /// Reads the name from a subject token.
    ///
    /// # Errors
    /// [`IdError`] where the token is no encoded name.
    pub fn from_token(token: &str) -> Result<Self, IdError> {
        Self::try_from(token.replace('=', "."))
    }
}

fn check_name(text: &str) -> Result<(), IdError> {
    // A dot is no character of an id, and any character of one stands for it here.
    check("secret_name", &text.replace('.', "-")).map_err(|error| match error {
        IdError::Character { found, position, .. } => IdError::NameCharacter { found, position },
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_subject_token() {
        let long = "x".repeat(129);
        let cases: &[(&str, Option<&str>)] = &[
            ("a", None),
            ("A-z_9", None),
            (&long[..128], None),
            ("", Some("image_id is empty; give 1 to 128 characters of A-Z a-z 0-9 _ -")),
            (&long, Some("image_id is 129 bytes long; at most 128 are allowed")),
            ("a.b", Some("image_id holds '.' at character 2; only A-Z a-z 0-9 _ - are allowed")),
            ("*", Some("image_id holds '*' at character 1; only A-Z a-z 0-9 _ - are allowed")),
            ("a>", Some("image_id holds '>' at character 2; only A-Z a-z 0-9 _ - are allowed")),
            ("a b", Some("image_id holds ' ' at character 2; only A-Z a-z 0-9 _ - are allowed")),
            ("é", Some("image_id holds 'é' at character 1; only A-Z a-z 0-9 _ - are allowed")),
        ];
        for (text, problem) in cases {
            let outcome = text.parse::<ImageId>().map_err(|e| e.to_string()).err();
            assert_eq!(outcome.as_deref(), *problem, "{text:?}");
        }
    }
}
