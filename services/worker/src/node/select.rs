//! Which of a workspace's credentials an image is pulled with, when the asker does not say for which container.

use waybill_domain::reference::RegistryHost;

use super::running::Attachment;

/// The credentials that may be meant: the newest placement that pulls this very repository, or all for the registry.
pub(super) fn select<'a>(
    attached: &'a [Attachment],
    registry: &RegistryHost,
    repository: Option<&str>,
) -> Vec<&'a Attachment> {
    let of_registry: Vec<&Attachment> =
        attached.iter().filter(|attachment| attachment.provider.registry() == registry).collect();
    let exact = of_registry
        .iter()
        .filter(|attachment| repository == Some(attachment.image.repository()))
        .max_by_key(|attachment| attachment.placement);
    match exact {
        Some(exact) => vec![exact],
        None => of_registry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::answer::tests::attachment;

    #[test]
    fn the_repository_goes_before_the_registry() {
        let attached = [
            attachment("a.b/one:1", "u1", 1),
            attachment("a.b/two:1", "u2", 2),
            attachment("a.b/two:2", "u3", 3),
            attachment("c.d/one:1", "u4", 4),
        ];
        let cases: [(&str, Option<&str>, &[u64]); 6] = [
            ("a.b", Some("one"), &[1]),
            ("a.b", Some("two"), &[3]),
            ("a.b", Some("three"), &[1, 2, 3]),
            ("a.b", None, &[1, 2, 3]),
            ("c.d", Some("other"), &[4]),
            ("e.f", Some("one"), &[]),
        ];
        for (registry, repository, expected) in cases {
            let found = select(&attached, &registry.parse().unwrap(), repository);
            let found: Vec<u64> = found.iter().map(|attachment| attachment.placement).collect();
            assert_eq!(found, expected, "{registry} {repository:?}");
        }
    }
}
