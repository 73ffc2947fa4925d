//! Azure's service principals: whom to ask for their tokens, and in which cloud.

use super::{Marshalled, Secret, UnmarshalError};
use crate::reference::{AzureCloud, Registry};

/// What a tenant looks like, for messages.
pub(super) const TENANT: &str = "the directory's GUID or a domain name such as contoso.onmicrosoft.com";

/// A service principal, and where its tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureKeys {
    /// The directory: a GUID or a domain name, fit to be part of an address.
    pub tenant: String,
    /// The application. Not secret.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// `https://<host>` of the cloud's identity service.
    pub authority: &'static str,
}

impl Marshalled {
    /// The keys of `azure` credentials.
    ///
    /// # Errors
    /// [`UnmarshalError`] with the key that is missing or cannot be used.
    pub fn azure(&self) -> Result<AzureKeys, UnmarshalError> {
        let tenant = self.required("AZURE_TENANT_ID")?.expose();
        if !is_tenant(tenant) {
            return Err(UnmarshalError::InvalidValue { key: "AZURE_TENANT_ID", expected: TENANT });
        }
        Ok(AzureKeys {
            tenant: tenant.to_owned(),
            client_id: self.required("AZURE_CLIENT_ID")?.expose().to_owned(),
            client_secret: self.required("AZURE_CLIENT_SECRET")?.clone(),
            authority: authority(&self.registry.kind()).ok_or_else(closed)?,
        })
    }
}

/// The identity service of the registry's cloud ("National clouds", "App registration endpoints"; Azure Germany is
/// closed). A registry of no known cloud is taken for one of Azure public.
fn authority(registry: &Registry) -> Option<&'static str> {
    match registry {
        Registry::Acr { cloud: AzureCloud::China, .. } => Some("https://login.partner.microsoftonline.cn"),
        Registry::Acr { cloud: AzureCloud::UsGov, .. } => Some("https://login.microsoftonline.us"),
        Registry::Acr { cloud: AzureCloud::Germany, .. } => None,
        _ => Some("https://login.microsoftonline.com"),
    }
}

fn closed() -> UnmarshalError {
    UnmarshalError::UnsupportedValue {
        key: "registry",
        problem: "Azure Germany closed in 2021 and issues no tokens; push the image to a registry of another cloud",
    }
}

/// A GUID, or a name of two or more labels (RFC 1123). Words that stand for every directory, such as `common`, are neither.
pub(super) fn is_tenant(text: &str) -> bool {
    let label = |label: &str| {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(legal) && !label.starts_with('-') && !label.ends_with('-')
    };
    let domain = text.len() <= 253 && text.contains('.') && text.split('.').all(label);
    domain || is_guid(text)
}

fn is_guid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use crate::credentials::unmarshal;

    fn said(host: &str, tenant: &str) -> String {
        let values =
            format!(r#"{{"AZURE_CLIENT_ID":"app","AZURE_CLIENT_SECRET":"hunter2","AZURE_TENANT_ID":"{tenant}"}}"#);
        let text = format!(r#"{{"registry":"{host}","type":"azure","credentials":{values}}}"#);
        let keys = unmarshal(&text).unwrap().azure();
        assert!(!format!("{keys:?}").contains("hunter2"));
        keys.map_or_else(|error| error.to_string(), |keys| format!("{}/{}", keys.authority, keys.tenant))
    }

    #[test]
    fn a_tenant_is_a_guid_or_a_domain_name() {
        let guid = "72f988bf-86f1-41af-91ab-2d7cd011db47";
        for tenant in [guid, &guid.to_uppercase(), "contoso.onmicrosoft.com", "a.b", "x-1.example"] {
            assert_eq!(said("my.azurecr.io", tenant), format!("https://login.microsoftonline.com/{tenant}"));
        }
        for tenant in [
            "common",
            "organizations",
            "..",
            ".",
            "a..b",
            "-a.b",
            "a-.b",
            "a.b/",
            "a.b/../c.d",
            "a.b?x=y",
            "a.b#c",
            "a.b@evil.example",
            "a.b%2f",
            "a.b\\\\c",
            " a.b",
            "72f988bf86f141af91ab2d7cd011db47",
            "72f988bf-86f1-41af-91ab-2d7cd011db4g",
            &format!("{}.b", "a".repeat(64)),
        ] {
            let said = said("my.azurecr.io", tenant);
            assert!(said.starts_with("the value of AZURE_TENANT_ID is malformed; expected"), "{tenant}: {said}");
        }
    }

    #[test]
    fn each_cloud_has_its_identity_service() {
        let cases = [
            ("my.azurecr.io", "https://login.microsoftonline.com/a.b"),
            ("my.westus.geo.azurecr.io", "https://login.microsoftonline.com/a.b"),
            ("my.azurecr.cn", "https://login.partner.microsoftonline.cn/a.b"),
            ("my.azurecr.us", "https://login.microsoftonline.us/a.b"),
            ("my.azurecr.de", "registry is not supported: Azure Germany closed"),
            ("127.0.0.1:5000", "https://login.microsoftonline.com/a.b"),
        ];
        for (host, expected) in cases {
            assert!(said(host, "a.b").starts_with(expected), "{host}: {}", said(host, "a.b"));
        }
    }
}
