//! Copying a layer into a tier, verifying all of it on the way.

use std::sync::Arc;

use futures_util::StreamExt;

use crate::verify::{check_diff_id, hash};
use crate::{Algorithm, Error, IndexBuilder, LayerDescriptor, LayerIndex, LayerReader, LayerWriter, Result};

/// Whose fault a failed fill is: it decides what is tried next.
#[derive(Debug)]
pub(super) enum FillError {
    /// The source's: its bytes are wrong or do not come.
    Source(Error),
    /// The source's or the image's: the bytes are not what the image claims.
    Claim(Error),
    /// The tier's: it does not take them.
    Tier(Error),
}

/// Streams the layer from `source` into `writer`, tells `progress` how many bytes are written, and commits when all of
/// them are in and right. On an error, or when dropped, the writer aborts.
pub(super) async fn fill(
    layer: &LayerDescriptor,
    source: Arc<dyn LayerReader>,
    mut writer: Box<dyn LayerWriter>,
    max_len: u64,
    progress: impl Fn(u64),
) -> Result<(Arc<dyn LayerReader>, LayerIndex), FillError> {
    let expected = source.len();
    let mut pieces = source.stream(0);
    let algorithm = layer
        .diff_id
        .map_or(Algorithm::Sha256, |diff_id| diff_id.algorithm());
    let mut index = IndexBuilder::new(algorithm);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(FillError::Source)?;
        if index.len() + piece.len() as u64 > max_len {
            let error = format!("the layer is longer than max_layer_bytes ({max_len})");
            return Err(FillError::Source(Error::permanent(error)));
        }
        let (hashed, written) = tokio::join!(
            hash(index, IndexBuilder::update, piece.clone()),
            writer.write(piece)
        );
        index = hashed.map_err(FillError::Tier)?;
        written.map_err(FillError::Tier)?;
        progress(index.len());
    }
    if let Some(expected) = expected.filter(|&len| len != index.len()) {
        let error = format!("the layer ends after {} of {expected} bytes", index.len());
        return Err(FillError::Source(Error::corrupt(error)));
    }
    let index = index.finish(layer.digest);
    if let Some(diff_id) = &layer.diff_id {
        check_diff_id(diff_id, index.diff_id()).map_err(FillError::Claim)?;
    }
    let reader = writer.commit(&index).await.map_err(FillError::Tier)?;
    Ok((reader, index))
}
