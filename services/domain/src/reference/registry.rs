//! Which registry service a host belongs to, decided by exact names and whole-label suffixes.

/// The service behind a registry host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registry {
    /// A private Amazon ECR registry.
    Ecr(EcrRegistry),
    /// Amazon ECR Public, whose tokens come from `us-east-1` only.
    EcrPublic,
    /// Google Container Registry: `gcr.io` and its subdomains.
    Gcr,
    /// Google Artifact Registry.
    ArtifactRegistry {
        /// Region or multi-region, such as `us-central1` or `europe`.
        location: String,
    },
    /// Azure Container Registry.
    Acr {
        /// The registry's name, the first label of its login server.
        name: String,
        /// The cloud whose identity service issues its tokens.
        cloud: AzureCloud,
    },
    /// Docker Hub.
    DockerHub,
    /// GitHub Container Registry.
    Ghcr,
    /// NVIDIA NGC.
    Ngc,
    /// Quay.io.
    Quay,
    /// The registry of GitLab.com.
    Gitlab,
    /// Any other host, a service's self-hosted edition included.
    Generic,
}

/// What a private ECR host says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EcrRegistry {
    /// The owning account, 12 digits.
    pub account: String,
    /// The region, such as `eu-west-1`.
    pub region: String,
    /// The partition of that region.
    pub partition: AwsPartition,
    /// Whether this is the FIPS endpoint.
    pub fips: bool,
    /// Whether this is the IPv4 and IPv6 endpoint.
    pub dual_stack: bool,
}

/// An AWS partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AwsPartition {
    /// `aws`
    Standard,
    /// `aws-us-gov`
    UsGov,
    /// `aws-cn`
    China,
    /// `aws-eusc`, the European Sovereign Cloud
    EuSovereign,
    /// `aws-iso`
    Iso,
    /// `aws-iso-b`
    IsoB,
    /// `aws-iso-e`
    IsoE,
    /// `aws-iso-f`
    IsoF,
}

/// An Azure cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AzureCloud {
    /// Azure public.
    Public,
    /// Azure China, run by 21Vianet.
    China,
    /// Azure Government.
    UsGov,
    /// Azure Germany, closed in 2021; hosts of that name are still recognised.
    Germany,
}

/// `<account>.dkr.ecr[-fips].<region>.` and one of these. The suffixes are the partitions' DNS suffixes,
/// the same set the ECR credential helper accepts.
const ECR_SUFFIXES: [(&str, AwsPartition); 7] = [
    (".amazonaws.com", AwsPartition::Standard),
    (".amazonaws.com.cn", AwsPartition::China),
    (".amazonaws.eu", AwsPartition::EuSovereign),
    (".c2s.ic.gov", AwsPartition::Iso),
    (".sc2s.sgov.gov", AwsPartition::IsoB),
    (".cloud.adc-e.uk", AwsPartition::IsoE),
    (".csp.hci.ic.gov", AwsPartition::IsoF),
];

/// `<account>.dkr-ecr[-fips].<region>.` and one of these: the dual-stack endpoints.
const ECR_DUAL_STACK_SUFFIXES: [(&str, AwsPartition); 7] = [
    (".on.aws", AwsPartition::Standard),
    (".on.amazonwebservices.com.cn", AwsPartition::China),
    (".on.amazonwebservices.eu", AwsPartition::EuSovereign),
    (".on.aws.ic.gov", AwsPartition::Iso),
    (".on.aws.scloud", AwsPartition::IsoB),
    (".on.cloud-aws.adc-e.uk", AwsPartition::IsoE),
    (".on.aws.hci.ic.gov", AwsPartition::IsoF),
];

const ACR_SUFFIXES: [(&str, AzureCloud); 4] = [
    (".azurecr.io", AzureCloud::Public),
    (".azurecr.cn", AzureCloud::China),
    (".azurecr.us", AzureCloud::UsGov),
    (".azurecr.de", AzureCloud::Germany),
];

impl Registry {
    /// The service at a host name: canonical, without a port. (Docker Hub's aliases stay as they are where they have one.)
    pub(super) fn from_hostname(hostname: &str) -> Self {
        match hostname {
            "docker.io" | "index.docker.io" | "registry-1.docker.io" => Registry::DockerHub,
            "ghcr.io" => Registry::Ghcr,
            "nvcr.io" => Registry::Ngc,
            "quay.io" => Registry::Quay,
            "registry.gitlab.com" => Registry::Gitlab,
            "public.ecr.aws" | "ecr-public.aws.com" => Registry::EcrPublic,
            "gcr.io" => Registry::Gcr,
            other => parse_ecr(other)
                .or_else(|| parse_google(other))
                .or_else(|| parse_acr(other))
                .unwrap_or(Registry::Generic),
        }
    }
}

fn parse_ecr(hostname: &str) -> Option<Registry> {
    let (account, rest) = hostname.split_once('.')?;
    if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (suffixes, rest, dual_stack) = match rest.strip_prefix("dkr.ecr") {
        Some(rest) => (&ECR_SUFFIXES, rest, false),
        None => (&ECR_DUAL_STACK_SUFFIXES, rest.strip_prefix("dkr-ecr")?, true),
    };
    let (rest, fips) = match rest.strip_prefix("-fips.") {
        Some(rest) => (rest, true),
        None => (rest.strip_prefix('.')?, false),
    };
    let (region, partition) = label_before(rest, suffixes)?;
    let partition = match partition {
        AwsPartition::Standard if region.starts_with("us-gov-") => AwsPartition::UsGov,
        other => other,
    };
    Some(Registry::Ecr(EcrRegistry {
        account: account.to_owned(),
        region: region.to_owned(),
        partition,
        fips,
        dual_stack,
    }))
}

fn parse_google(hostname: &str) -> Option<Registry> {
    if hostname.ends_with(".gcr.io") {
        return Some(Registry::Gcr);
    }
    let location = hostname.strip_suffix("-docker.pkg.dev").or_else(|| {
        let regional = hostname.strip_suffix(".rep.pkg.dev")?;
        regional.strip_prefix("docker.")
    })?;
    single_label(location).map(|location| Registry::ArtifactRegistry { location: location.to_owned() })
}

/// `<name>.azurecr.io` or a replica's `<name>.<region>.geo.azurecr.io`; the data endpoints
/// (`<name>.<region>.data.azurecr.io`) serve blobs and are no login servers.
fn parse_acr(hostname: &str) -> Option<Registry> {
    let (name, cloud) = ACR_SUFFIXES.iter().find_map(|(suffix, cloud)| {
        let login = hostname.strip_suffix(suffix)?;
        let name = match login.strip_suffix(".geo") {
            Some(replica) => {
                replica.split_once('.').map(|(name, region)| single_label(region).and(single_label(name)))?
            }
            None => single_label(login),
        };
        name.map(|name| (name, *cloud))
    })?;
    Some(Registry::Acr { name: name.to_owned(), cloud })
}

/// The one label before whichever of the suffixes matches, with what the suffix stands for.
fn label_before<'a, T: Copy>(hostname: &'a str, suffixes: &[(&str, T)]) -> Option<(&'a str, T)> {
    suffixes.iter().find_map(|(suffix, value)| {
        let label = single_label(hostname.strip_suffix(suffix)?)?;
        Some((label, *value))
    })
}

/// The text, if it is one label. (Canonical host names have no empty ones.)
fn single_label(text: &str) -> Option<&str> {
    (!text.contains('.')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every partition's hosts, after the account's label, with the region that they name.
    const ECR: [(&str, AwsPartition, &str, bool, bool); 22] = [
        ("dkr.ecr.eu-west-1.amazonaws.com", AwsPartition::Standard, "eu-west-1", false, false),
        ("dkr.ecr-fips.us-east-2.amazonaws.com", AwsPartition::Standard, "us-east-2", true, false),
        ("dkr-ecr.us-west-2.on.aws", AwsPartition::Standard, "us-west-2", false, true),
        ("dkr-ecr-fips.us-west-2.on.aws", AwsPartition::Standard, "us-west-2", true, true),
        ("dkr.ecr.us-gov-west-1.amazonaws.com", AwsPartition::UsGov, "us-gov-west-1", false, false),
        ("dkr.ecr-fips.us-gov-east-1.amazonaws.com", AwsPartition::UsGov, "us-gov-east-1", true, false),
        ("dkr-ecr.us-gov-west-1.on.aws", AwsPartition::UsGov, "us-gov-west-1", false, true),
        ("dkr-ecr-fips.us-gov-west-1.on.aws", AwsPartition::UsGov, "us-gov-west-1", true, true),
        ("dkr.ecr.cn-north-1.amazonaws.com.cn", AwsPartition::China, "cn-north-1", false, false),
        ("dkr.ecr-fips.cn-north-1.amazonaws.com.cn", AwsPartition::China, "cn-north-1", true, false),
        ("dkr-ecr.cn-northwest-1.on.amazonwebservices.com.cn", AwsPartition::China, "cn-northwest-1", false, true),
        ("dkr-ecr-fips.cn-north-1.on.amazonwebservices.com.cn", AwsPartition::China, "cn-north-1", true, true),
        ("dkr.ecr.eusc-de-east-1.amazonaws.eu", AwsPartition::EuSovereign, "eusc-de-east-1", false, false),
        ("dkr-ecr.eusc-de-east-1.on.amazonwebservices.eu", AwsPartition::EuSovereign, "eusc-de-east-1", false, true),
        ("dkr.ecr.us-iso-east-1.c2s.ic.gov", AwsPartition::Iso, "us-iso-east-1", false, false),
        ("dkr-ecr.us-iso-east-1.on.aws.ic.gov", AwsPartition::Iso, "us-iso-east-1", false, true),
        ("dkr.ecr.us-isob-east-1.sc2s.sgov.gov", AwsPartition::IsoB, "us-isob-east-1", false, false),
        ("dkr-ecr-fips.us-isob-east-1.on.aws.scloud", AwsPartition::IsoB, "us-isob-east-1", true, true),
        ("dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", AwsPartition::IsoE, "eu-isoe-west-1", false, false),
        ("dkr-ecr.eu-isoe-west-1.on.cloud-aws.adc-e.uk", AwsPartition::IsoE, "eu-isoe-west-1", false, true),
        ("dkr.ecr.us-isof-south-1.csp.hci.ic.gov", AwsPartition::IsoF, "us-isof-south-1", false, false),
        ("dkr-ecr.us-isof-south-1.on.aws.hci.ic.gov", AwsPartition::IsoF, "us-isof-south-1", false, true),
    ];

    #[test]
    fn ecr_in_every_partition() {
        for (rest, partition, region, fips, dual_stack) in ECR {
            let (account, region) = ("123456789012".to_owned(), region.to_owned());
            let expected = Registry::Ecr(EcrRegistry { account, region, partition, fips, dual_stack });
            assert_eq!(Registry::from_hostname(&format!("123456789012.{rest}")), expected, "{rest}");
        }
    }

    #[test]
    fn what_only_looks_like_ecr() {
        for (rest, ..) in ECR {
            let likes = [
                format!("123456789012.{rest}.evil.com"),
                format!("123456789012.{rest}x"),
                format!("evil.123456789012.{rest}"),
                format!("12345678901.{rest}"),
                format!("12345678901a.{rest}"),
                rest.to_owned(),
                format!("123456789012.{}", rest.replacen("ecr", "ecrs", 1)),
                format!(
                    "123456789012.{}",
                    rest.replacen("ecr.", "ecr.evil.com.", 1).replacen("fips.", "fips.evil.", 1)
                ),
            ];
            for host in likes {
                assert_eq!(Registry::from_hostname(&host), Registry::Generic, "{host}");
            }
        }
        assert_eq!(Registry::from_hostname("public.ecr.aws"), Registry::EcrPublic);
        for host in ["public.ecr.aws.evil.com", "evil.public.ecr.aws", "ecr-public.aws.com.evil.com", "ecr.aws"] {
            assert_eq!(Registry::from_hostname(host), Registry::Generic, "{host}");
        }
    }
}
