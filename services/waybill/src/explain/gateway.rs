//! Explanations for the gateway's clients: of the workspace that asks, at this moment.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt as _};
use waybill_gateway::Explains;
use waybill_platform::{
    explain::{Explainer, Moment, Scope},
    log::{Log, LogError},
};
use waybill_schemas::{ContainerId, ImageId, WorkspaceId};

/// Explains from the gateway's own log.
pub(crate) fn explain_from(log: Arc<dyn Log>) -> Arc<dyn Explains> {
    Arc::new(FromLog(Explainer { log, scope: Scope::OneWorkspace, moment: Moment::Now }))
}

struct FromLog(Explainer);

impl Explains for FromLog {
    fn image<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        id: &'a ImageId,
    ) -> BoxFuture<'a, Result<waybill_gateway::Explanation, LogError>> {
        async move { to_json(&self.0.image(workspace, id).await?) }.boxed()
    }

    fn container<'a>(
        &'a self,
        workspace: &'a WorkspaceId,
        id: &'a ContainerId,
    ) -> BoxFuture<'a, Result<waybill_gateway::Explanation, LogError>> {
        async move { to_json(&self.0.container(workspace, id).await?) }.boxed()
    }
}

fn to_json(explanation: &waybill_domain::explain::Explanation) -> Result<serde_json::Value, LogError> {
    let unwritable = |error: serde_json::Error| LogError::Protocol {
        what: "explain".to_owned(),
        reason: error.to_string(),
    };
    serde_json::to_value(explanation).map_err(unwritable)
}
