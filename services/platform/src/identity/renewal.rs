//! Credentials that end are renewed by the process that has them, in the second half of their life.

use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _, time::Duration};

use async_nats::Client;
use time::OffsetDateTime;
use tokio::time::sleep;

use super::{Answer, Credentials, CredentialsFile, RENEW, TokenError};

/// How long to wait before asking again an issuer that is away.
const PAUSE: Duration = Duration::from_secs(30);
/// Clocks may jump, and somebody may replace the file: this often it is looked at.
const LONGEST_SLEEP: Duration = Duration::from_secs(60 * 60);

/// Credentials could not be renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The file holds no token.
    #[error("the credentials cannot be read")]
    Token(#[from] TokenError),
    /// The issuer is away.
    #[error("the issuer does not answer: {0}")]
    Silent(String),
    /// The issuer does not renew them.
    #[error("the issuer refuses: {0}")]
    Refused(String),
}

/// Renews the credentials of `<kind>.<name>` for as long as the connection lives.
pub(crate) async fn keep_renewed(client: Client, file: CredentialsFile, who: String) {
    loop {
        let Some(wait) = time_until_half(&file.current()) else { return };
        if !wait.is_zero() {
            sleep(wait.min(LONGEST_SLEEP)).await;
            continue;
        }
        match renew(&client, &file, &who).await {
            Ok(end) => tracing::info!(%end, "credentials renewed"),
            Err(error) => {
                tracing::warn!(error = crate::chain(&error), "credentials cannot be renewed yet, trying again");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Asks for new credentials of `<kind>.<name>` now, and uses them from the next connect on.
///
/// # Errors
/// [`RenewError`]; those that are there stay.
pub async fn renew(client: &Client, file: &CredentialsFile, who: &str) -> Result<OffsetDateTime, RenewError> {
    let present = file.current();
    let claims = present.claims()?;
    let asked = client.request(format!("{RENEW}.{who}"), claims.sub.clone().into()).await;
    let answer = asked.map_err(|error| RenewError::Silent(error.to_string()))?;
    let answer: Answer =
        serde_json::from_slice(&answer.payload).map_err(|_| RenewError::Silent("no answer of an issuer".to_owned()))?;
    let admission = match answer {
        Answer::Admitted(admission) => admission,
        Answer::Refused(refusal) => return Err(RenewError::Refused(refusal.detail)),
        Answer::Recorded { .. } => return Err(RenewError::Silent("no answer of an issuer".to_owned())),
    };
    let renewed = present.with_token(admission.token);
    // A token for another key would lock the process out at its next connect.
    if renewed.claims()?.sub != claims.sub {
        return Err(RenewError::Refused("the new token is for another key".to_owned()));
    }
    if let Err(error) = write(file, &renewed) {
        // A mounted secret cannot be written to: the new ones live as long as the process.
        tracing::warn!(%error, file = %file.path().display(), "renewed credentials are kept in memory only");
    }
    file.hold(renewed);
    Ok(OffsetDateTime::from_unix_timestamp(admission.ends_at).unwrap_or(OffsetDateTime::UNIX_EPOCH))
}

fn write(file: &CredentialsFile, credentials: &Credentials) -> std::io::Result<()> {
    let beside = file.path().with_extension("new");
    let mut new = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    new.write_all(credentials.to_text().expose().as_bytes())?;
    new.sync_all()?;
    std::fs::rename(beside, file.path())
}

/// How long it is until half of their life is over; none for credentials without an end.
fn time_until_half(credentials: &Credentials) -> Option<Duration> {
    let claims = credentials.claims().ok()?;
    let half = claims.iat.saturating_add(claims.exp?.saturating_sub(claims.iat) / 2);
    let left = half.saturating_sub(OffsetDateTime::now_utc().unix_timestamp());
    Some(Duration::from_secs(u64::try_from(left).unwrap_or(0)))
}
