//! `verify: true` at the gateway: the registry is asked by the worker's code.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use waybill_gateway::{NotAccepted, Unverified, Verifies, VerifyFailure};
use waybill_platform::config::Settings;
use waybill_registry::trial::{Given, Refused, Trial, TrialFailure};
use waybill_schemas::v1::PullFailure;
use waybill_worker::read_trial;

use crate::Failure;

/// How long an answer may take. A client waits for it, and the build is recorded already.
const LIMIT: Duration = Duration::from_secs(15);

struct ByWorkersCode {
    trial: Trial,
    limit: Duration,
}

/// Asks registries as the settings of a worker say.
pub(crate) fn read(settings: &Settings) -> Result<Arc<dyn Verifies>, Failure> {
    let mut reader = settings.reader();
    let trial = read_trial(&mut reader, [], None);
    reader.finish()?;
    Ok(Arc::new(ByWorkersCode { trial, limit: LIMIT }))
}

impl Verifies for ByWorkersCode {
    fn verify<'a>(&'a self, asked: &'a Unverified) -> BoxFuture<'a, Result<String, NotAccepted>> {
        Box::pin(async move {
            let asking = self.trial.ask(&asked.workspace, &asked.image, Some(&asked.credentials));
            match tokio::time::timeout(self.limit, asking).await {
                Ok(said) => said.map(|Given { digest, .. }| digest).map_err(not_accepted),
                Err(_) => {
                    let detail = format!("no answer of {} within {} s", asked.image.registry(), self.limit.as_secs());
                    Err(NotAccepted { failure: VerifyFailure::Pull(PullFailure::Unreachable), detail })
                }
            }
        })
    }
}

fn not_accepted(Refused { failure, detail }: Refused) -> NotAccepted {
    let failure = match failure {
        TrialFailure::Provider(reason) => VerifyFailure::Provider(reason),
        TrialFailure::Pull(reason) => VerifyFailure::Pull(reason),
    };
    NotAccepted { failure, detail }
}

#[cfg(test)]
mod tests {
    use waybill_domain::{credentials::Secret, reference::ImageReference};

    use super::*;

    #[tokio::test]
    async fn a_registry_that_says_nothing_is_not_waited_for() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let host = silent.local_addr().unwrap().to_string();
        let home = tempfile::tempdir().unwrap();
        let settings = Settings::from_pairs(home.path(), [("WAYBILL_WORKER_PLAIN_HTTP_REGISTRIES", host.as_str())]);
        let trial = read_trial(&mut settings.reader(), [], None);
        let values = r#"{"USERNAME":"u","PASSWORD":"p"}"#;
        let asked = Unverified {
            workspace: "acme".parse().unwrap(),
            image: ImageReference::parse(&format!("{host}/app")).unwrap(),
            credentials: Secret::from(format!(r#"{{"registry":"{host}","type":"basic","credentials":{values}}}"#)),
        };
        let refused = ByWorkersCode { trial, limit: Duration::from_millis(50) }.verify(&asked).await.unwrap_err();
        assert_eq!(refused.failure, VerifyFailure::Pull(PullFailure::Unreachable));
        assert!(refused.detail.contains(&host), "{}", refused.detail);
    }
}
