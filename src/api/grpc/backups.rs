//! A backup on its way to an operator: read as fast as it is taken, by a thread that serves nobody else.

use crate::api::desk::Desk;
use crate::api::refused::{Class, Refused};
use crate::backup::{BackupError, Piece};
use crate::telemetry::chain;
use crate::wire::lanyard::backup_part::Part;
use crate::wire::lanyard::{BackupFile, BackupPart};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// So many parts wait for a slow reader.
const PARTS_AHEAD: usize = 8;

/// The parts, as they come.
pub(super) type Parts = ReceiverStream<Result<BackupPart, Status>>;

/// The folder as it is now.
pub(super) async fn create(desk: &Desk) -> Result<Parts, Status> {
    let id = desk.request_id();
    let refused = move |error: &BackupError| {
        tracing::error!(request_id = %id, error = %chain(error), "no backup could be made");
        Refused::new(Class::Broken, "backup_not_made", chain(error), &id).into_status()
    };
    let contents = desk.backups.now(desk.issuance.now()).await.map_err(|error| refused(&error))?;
    let (parts, stream) = mpsc::channel(PARTS_AHEAD);
    let head = serde_json::to_vec(&contents.head).unwrap_or_default();
    let (first, shutdown) = (parts.clone(), desk.shutdown.clone());
    // There is room for the first.
    drop(first.send(Ok(BackupPart { part: Some(Part::Head(head.into())) })).await);
    tokio::task::spawn_blocking(move || {
        let read = contents.read(|piece| {
            let sent = parts.blocking_send(Ok(BackupPart { part: Some(part(piece)) }));
            if sent.is_err() || shutdown.is_due() { Err(BackupError::Stopped) } else { Ok(()) }
        });
        if let Err(error) = read {
            // Whoever asked may have gone; then nobody is told.
            drop(parts.blocking_send(Err(refused(&error))));
        }
    });
    Ok(ReceiverStream::new(stream))
}

fn part(piece: Piece<'_>) -> Part {
    match piece {
        Piece::File { name, bytes } => Part::File(BackupFile { name: name.to_owned(), bytes }),
        Piece::Bytes(bytes) => Part::Bytes(Bytes::copy_from_slice(bytes)),
    }
}
