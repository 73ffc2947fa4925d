//! The form in which credentials travel: the JSON text `{"registry", "type", "credentials"}`, sealed.

use core::fmt;
use std::collections::BTreeMap;

use waybill_schemas::v1::CredType;

use super::json::{self, Object};
use super::parse::read_type;
use super::{Parsed, Secret, UnmarshalError};
use crate::reference::RegistryHost;

/// Credentials as they arrive: bound to a registry host, of a kind, with their values.
#[derive(Clone, PartialEq, Eq)]
pub struct Marshalled {
    /// The only host they may be offered to.
    pub registry: RegistryHost,
    /// Their kind.
    pub cred_type: CredType,
    values: BTreeMap<String, Secret>,
}

impl Marshalled {
    /// The value of a key, if there is one that is not empty.
    pub(super) fn value(&self, key: &str) -> Option<&Secret> {
        self.values.get(key).filter(|value| !value.is_empty())
    }

    /// The value of a key that must be there.
    pub(super) fn required(&self, key: &'static str) -> Result<&Secret, UnmarshalError> {
        self.value(key).ok_or(UnmarshalError::Incomplete { cred_type: self.cred_type, missing: key })
    }
}

impl fmt::Debug for Marshalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Marshalled")
            .field("registry", &self.registry)
            .field("cred_type", &self.cred_type)
            .field("values", &format_args!("{} redacted", self.values.len()))
            .finish()
    }
}

/// Writes credentials for `host`. The same credentials always give the same text.
pub fn marshal(parsed: &Parsed, host: &RegistryHost) -> Secret {
    json::write(host.as_str(), parsed.cred_type.as_str(), &parsed.values)
}

/// Reads what [`marshal`] wrote.
///
/// # Errors
/// [`UnmarshalError`], in which nothing of the text is repeated.
pub fn unmarshal(text: &str) -> Result<Marshalled, UnmarshalError> {
    let Object { registry, cred_type, credentials } = json::read(text).map_err(UnmarshalError::Json)?;
    let missing = |field| UnmarshalError::MissingField { field };
    let registry = registry.ok_or(missing("registry"))?;
    let host = RegistryHost::parse(registry.expose()).ok().filter(|host| host.as_str() == registry.expose());
    let cred_type = cred_type.ok_or(missing("type"))?;
    Ok(Marshalled {
        registry: host.ok_or(UnmarshalError::InvalidRegistry)?,
        cred_type: read_type(cred_type.expose()).ok_or(UnmarshalError::UnknownType)?,
        values: credentials.ok_or(missing("credentials"))?,
    })
}
