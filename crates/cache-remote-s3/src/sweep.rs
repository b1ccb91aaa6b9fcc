//! Uploads of workers that were killed: the server keeps their parts, and bills them, until somebody aborts them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cache_core::Result;

use crate::bucket::Bucket;
use crate::failure::failure;
use crate::upload::abort;

/// No upload that lives is as old as this.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Of at most 1000 uploads each.
const MAX_PAGES: usize = 10;

/// Aborts the abandoned uploads of layers in the background. Not every server can list them, or lets anybody.
pub(crate) fn sweep(bucket: Arc<Bucket>) {
    tokio::spawn(async move {
        match abort_abandoned(&bucket).await {
            Ok(0) => {}
            Ok(uploads) => tracing::info!(uploads, "aborted uploads that workers have left"),
            Err(error) => tracing::debug!(%error, "could not look for uploads that workers have left"),
        }
    });
}

async fn abort_abandoned(bucket: &Bucket) -> Result<u64> {
    let horizon = SystemTime::now().checked_sub(ABANDONED_AFTER);
    let horizon = horizon.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let horizon = horizon.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0));
    let client = bucket.client().await?;
    let (mut after_key, mut after_id, mut aborted) = (None, None, 0);
    for _ in 0..MAX_PAGES {
        let request = client.list_multipart_uploads().bucket(bucket.bucket_name());
        let page = request
            .prefix(bucket.keys.all())
            .set_key_marker(after_key)
            .set_upload_id_marker(after_id)
            .send()
            .await
            .map_err(|error| failure("list the uploads", &error))?;
        for upload in page.uploads() {
            let (Some(key), Some(id), Some(begun)) = (upload.key(), upload.upload_id(), upload.initiated())
            else {
                continue;
            };
            // Not every server minds the prefix.
            if begun.secs() < horizon && bucket.keys.parse(key).is_some() {
                abort(bucket, key, id).await?;
                aborted += 1;
            }
        }
        if page.is_truncated() != Some(true) || page.next_key_marker().is_none() {
            break;
        }
        (after_key, after_id) = (page.next_key_marker, page.next_upload_id_marker);
    }
    Ok(aborted)
}
