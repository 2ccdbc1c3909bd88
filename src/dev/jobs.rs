//! The jobs that tokens were minted for, as the stand-in GitLab's jobs API shows them: a file each, which whoever tries a
//! `need` may change.

use super::{DevError, DevFolder};
use crate::crypto::Random;
use crate::token::{ClaimValue, Claims, IssuerName};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use time::OffsetDateTime;

/// What lets the server in to ask about jobs.
pub(super) const API_TOKEN: &str = "gitlab-api-token";
const FOLDER: &str = "jobs";
/// No token of a job is taken for longer.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// The folder's token for its API, made once.
///
/// # Errors
/// `File`.
pub(super) fn api_token(folder: &DevFolder, random: &Random) -> Result<String, DevError> {
    if let Some(kept) = folder.read(API_TOKEN)? {
        return Ok(String::from_utf8_lossy(&kept).into_owned());
    }
    let token = format!("glpat-{:032x}", u128::from_be_bytes(random.bytes()));
    folder.write(API_TOKEN, token.as_bytes())?;
    Ok(token)
}

/// Makes the folder of jobs where there is none, and forgets those of yesterday.
///
/// # Errors
/// `File`.
pub(super) fn forget_old(folder: &DevFolder, now: OffsetDateTime) -> Result<(), DevError> {
    let jobs = folder.place(FOLDER);
    fs::create_dir_all(&jobs).map_err(DevError::file(&jobs))?;
    for entry in fs::read_dir(&jobs).map_err(DevError::file(&jobs))?.flatten() {
        let changed_at = entry.metadata().and_then(|file| file.modified());
        if changed_at.is_ok_and(|at| OffsetDateTime::from(at) + KEPT_FOR < now) {
            // Somebody else may have been faster.
            let _gone = fs::remove_file(entry.path()).is_err();
        }
    }
    Ok(())
}

/// Remembers that a job runs. One whose claims no job could have is not shown.
///
/// # Errors
/// `File`.
pub(super) fn remember(folder: &DevFolder, claims: &Value) -> Result<(), DevError> {
    let Ok(claims) = Claims::unproven(claims.to_string().as_bytes(), IssuerName("dev".into())) else { return Ok(()) };
    let id = |name: &str| if let Some(ClaimValue::Id(id)) = claims.value(name) { Some(id) } else { None };
    let text = |name: &str| claims.view(name).map(|value| value.to_string()).unwrap_or_default();
    let job = json!({
        "id": claims.job_id,
        "status": "running",
        "ref": text("ref"),
        "tag": text("ref_type") == "tag",
        "user": { "id": id("user_id"), "username": text("user_login"), "state": "active" },
        "runner": { "id": id("runner_id") },
        "pipeline": { "id": claims.pipeline_id, "project_id": claims.project_id, "sha": text("sha"), "ref": text("ref") },
    });
    let place = place(id("job_project_id").unwrap_or(claims.project_id), claims.job_id);
    folder.write(&place, format!("{job:#}\n").as_bytes())
}

/// Where a job's file is.
pub(super) fn file_of(folder: &DevFolder, project: u64, job: u64) -> PathBuf {
    folder.place(&place(project, job))
}

fn place(project: u64, job: u64) -> String {
    format!("{FOLDER}/{project}-{job}.json")
}
