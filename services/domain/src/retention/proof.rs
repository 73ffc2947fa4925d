//! That nothing else changes: the log without what leaves is folded beside the whole one.

use crate::{
    decision::Outcome,
    verify::{Divergence, Problem},
};

use super::Selection;

/// Compares what diverges in the whole log with what diverges without what leaves. Renewals that nothing leads to any more leave
/// as well (rule F), and are added to the selection.
///
/// # Errors
/// The first divergence that would be new, or gone although its event stays.
pub fn account_for_renewals(
    selection: &mut Selection,
    whole: &[Divergence],
    rest: &[Divergence],
    leaves: impl Fn(u64) -> bool,
) -> Result<(), Box<Divergence>> {
    for found in rest.iter().filter(|found| !whole.contains(found)) {
        let is_renewal =
            found.recorded.as_ref().is_some_and(|decision| matches!(decision.outcome, Outcome::Renewed { .. }));
        if !is_renewal || found.problem != Problem::Unexpected {
            return Err(Box::new(found.clone()));
        }
        selection.renewals.insert(found.sequence);
    }
    match whole.iter().find(|found| !rest.contains(found) && !leaves(found.sequence)) {
        Some(gone) => Err(Box::new(gone.clone())),
        None => Ok(()),
    }
}
