//! Azure's service principals: whom to ask for their tokens, and in which cloud.

use waybill_schemas::v1::CredType;

use super::keys::{Keys, Values, collect_values};
use super::{CredentialError, Credentials, Secret};
use crate::reference::{AzureCloud, Registry, RegistryHost};

/// What a tenant looks like, for messages.
const TENANT: &str = "the directory's GUID or a domain name such as contoso.onmicrosoft.com";

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

impl AzureKeys {
    pub(super) fn to_values(&self) -> Values {
        collect_values([
            ("AZURE_CLIENT_ID", Some(Secret::from(self.client_id.as_str()))),
            ("AZURE_CLIENT_SECRET", Some(self.client_secret.clone())),
            ("AZURE_TENANT_ID", Some(Secret::from(self.tenant.as_str()))),
        ])
    }
}

pub(super) fn read_keys(keys: &Keys, host: &RegistryHost) -> Result<Credentials, CredentialError> {
    let need = |key: &'static str| keys.need_value(CredType::Azure, key, &[key]);
    let (client_id, client_secret) = (need("AZURE_CLIENT_ID")?, need("AZURE_CLIENT_SECRET")?);
    let tenant = need("AZURE_TENANT_ID")?;
    if !is_tenant(tenant.expose()) {
        return Err(CredentialError::InvalidValue { key: "AZURE_TENANT_ID", expected: TENANT });
    }
    Ok(Credentials::Azure(AzureKeys {
        tenant: tenant.expose().to_owned(),
        client_id: client_id.expose().to_owned(),
        client_secret,
        authority: find_authority(&host.kind()).ok_or(CLOSED)?,
    }))
}

/// The identity service of the registry's cloud ("National clouds", "App registration endpoints"; Azure Germany is
/// closed).
fn find_authority(registry: &Registry) -> Option<&'static str> {
    match registry {
        Registry::Acr { cloud: AzureCloud::China, .. } => Some("https://login.partner.microsoftonline.cn"),
        Registry::Acr { cloud: AzureCloud::UsGov, .. } => Some("https://login.microsoftonline.us"),
        Registry::Acr { cloud: AzureCloud::Germany, .. } => None,
        _ => Some("https://login.microsoftonline.com"),
    }
}

const CLOSED: CredentialError = CredentialError::UnsupportedValue {
    key: "registry",
    problem: "Azure Germany closed in 2021 and issues no tokens; push the image to a registry of another cloud",
};

/// A GUID, or a name of two or more labels (RFC 1123). Words that stand for every directory, such as `common`, are neither.
fn is_tenant(text: &str) -> bool {
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
    use super::*;

    fn said(host: &str, tenant: &str) -> String {
        let values =
            format!(r#"{{"AZURE_CLIENT_ID":"app","AZURE_CLIENT_SECRET":"hunter2","AZURE_TENANT_ID":"{tenant}"}}"#);
        let text = format!(r#"{{"registry":"{host}","type":"azure","credentials":{values}}}"#);
        let read = Credentials::from_json(&Secret::from(text));
        assert!(!format!("{read:?}").contains("hunter2"));
        match read {
            Ok((_, Credentials::Azure(keys))) => format!("{}/{}", keys.authority, keys.tenant),
            Ok((_, other)) => format!("{other:?}"),
            Err(error) => error.to_string(),
        }
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
            "a b.c",
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
            ("127.0.0.1:5000", "the credentials are for Azure Container Registry, but the image is on 127.0.0.1:5000"),
        ];
        for (host, expected) in cases {
            assert!(said(host, "a.b").starts_with(expected), "{host}: {}", said(host, "a.b"));
        }
    }
}
