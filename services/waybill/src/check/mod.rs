//! `waybill check`: what the gateway would make of credentials, and whether the registry takes them. Needs no server.

mod input;
mod text;
mod verdict;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use waybill_domain::{
    credentials::{CredentialInput, Secret},
    reference::{ImageReference, RegistryHost},
    save::{BuildDecision, BuildRequest, decide_build},
};
use waybill_platform::{config::Settings, trace};
use waybill_registry::{core_dumps, trial::Trial};
use waybill_schemas::WorkspaceId;
use waybill_worker::read_trial;

use crate::{Failure, exit, output};
use verdict::Verdict;

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// The image, such as registry.example.com/team/app:1
    image: String,
    /// File with credentials in any form that POST /v1/builds takes; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    creds: Option<PathBuf>,
    /// Docker's configuration on this machine, such as ~/.docker/config.json. The programs it names are run.
    #[arg(long, value_name = "FILE", conflicts_with = "creds")]
    docker_config: Option<PathBuf>,
    /// Ask the registry for the image's manifest, as a worker would.
    #[arg(long)]
    live: bool,
    /// Registry that is spoken to without TLS; may be given several times [also: WAYBILL_WORKER_PLAIN_HTTP_REGISTRIES]
    #[arg(long, value_name = "HOST", requires = "live")]
    plain_http: Vec<String>,
    /// PEM file of a further certificate authority [also: WAYBILL_WORKER_CA_FILE]
    #[arg(long, value_name = "FILE", requires = "live")]
    ca_file: Option<PathBuf>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// `waybill check`: 0 good, 1 bad, 2 not asked or not answered.
pub(crate) fn run(home: &Path, arguments: &CheckArguments) -> ExitCode {
    let answered = core_dumps::forbid().map_err(Failure::from).and_then(|()| check(home, arguments));
    match answered.and_then(|verdict| show(&verdict, arguments.json).map(|()| verdict.good)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(exit::BROKEN),
        Err(failure) => {
            output::error(failure.as_ref());
            ExitCode::from(exit::USAGE)
        }
    }
}

fn check(home: &Path, arguments: &CheckArguments) -> Result<Verdict, Failure> {
    let image = ImageReference::parse(&arguments.image)?;
    let trial = arguments.live.then(|| trial(home, arguments)).transpose()?;
    let credentials = match (&arguments.creds, &arguments.docker_config) {
        (Some(file), _) => Some(input::credentials(file)?),
        (None, Some(file)) => Some(input::docker_config(file, &image)?),
        (None, None) => None,
    };
    let build = build(&image, credentials)?;
    let decision = decide_build(&build, trace::now());
    let asked = |sealed: Option<&Secret>| trial.map(|trial| ask(&trial, &image, sealed)).transpose();
    Ok(match decision {
        Ok(BuildDecision::Save(plan)) => Verdict::saved(&image, &plan, asked(Some(&plan.new.credentials))?),
        Ok(BuildDecision::Skip(skip)) if verdict::is_of_no_credentials(skip.reason) => {
            Verdict::skipped(&image, &skip, &build, asked(None)?)
        }
        Ok(BuildDecision::Skip(skip)) => Verdict::skipped(&image, &skip, &build, None),
        // The build that is asked about names no secret.
        Ok(BuildDecision::Name { .. }) => return Err("a build without a secret's name cannot name one".into()),
        Err(error) => Verdict::refused(&image, &error),
    })
}

/// The build that the gateway would be told of.
fn build(image: &ImageReference, credentials: Option<CredentialInput>) -> Result<BuildRequest, Failure> {
    Ok(BuildRequest {
        workspace: workspace()?,
        image_id: "check".parse()?,
        existing_image_uri: Some(image.to_string()),
        existing_image_creds: credentials,
        existing_image_secret: None,
        base_image: None,
        base_image_creds: None,
        base_image_secret: None,
        modified: false,
    })
}

/// Nobody's: nothing is recorded.
fn workspace() -> Result<WorkspaceId, Failure> {
    Ok("check".parse()?)
}

fn trial(home: &Path, arguments: &CheckArguments) -> Result<Trial, Failure> {
    let host = |text: &String| RegistryHost::parse(text).map_err(|error| format!("--plain-http: {error}"));
    let plain_http = arguments.plain_http.iter().map(host).collect::<Result<Vec<_>, _>>()?;
    let settings = Settings::load(home, "operator")?;
    let mut reader = settings.reader();
    let trial = read_trial(&mut reader, plain_http, arguments.ca_file.clone());
    reader.finish()?;
    Ok(trial)
}

fn ask(trial: &Trial, image: &ImageReference, sealed: Option<&Secret>) -> Result<verdict::Asked, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let workspace = workspace()?;
    Ok(runtime.block_on(trial.ask(&workspace, image, sealed)))
}

fn show(verdict: &Verdict, as_json: bool) -> Result<(), Failure> {
    let mut out = output::stdout();
    match as_json {
        true => writeln!(out, "{}", serde_json::to_string_pretty(verdict)?)?,
        false => text::render(&mut out, verdict, output::coloured())?,
    }
    Ok(())
}
