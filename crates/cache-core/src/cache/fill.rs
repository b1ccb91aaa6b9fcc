//! Copying a layer into a tier, verifying all of it on the way.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;

use super::early::EarlyBytes;
use crate::verify::{check_diff_id, hash};
use crate::{Algorithm, Error, IndexBuilder, LayerDescriptor, LayerReader, LayerWriter, Result, planted};

/// Whose fault a failed fill is: it decides what is tried next.
#[derive(Debug)]
pub(super) enum FillError {
    /// The source's: its bytes are wrong or do not come.
    Source(Error),
    /// The source's or the image's: the bytes have another diff ID than the image's config says.
    DiffId(Error),
    /// The tier's: it does not take them.
    Tier(Error),
}

/// One passage of a layer from a source.
pub(super) struct Fill<'a> {
    layer: &'a LayerDescriptor,
    source: Arc<dyn LayerReader>,
    max_len: u64,
    early: &'a mut EarlyBytes,
    /// What has come so far; `None` only while, or because, hashing it failed.
    index: Option<IndexBuilder>,
}

impl<'a> Fill<'a> {
    pub(super) fn new(
        layer: &'a LayerDescriptor,
        source: &Arc<dyn LayerReader>,
        max_len: u64,
        early: &'a mut EarlyBytes,
    ) -> Self {
        early.restart();
        let algorithm = layer
            .diff_id
            .map_or(Algorithm::Sha256, |diff_id| diff_id.algorithm());
        let index = Some(IndexBuilder::new(algorithm));
        Self {
            layer,
            source: Arc::clone(source),
            max_len,
            early,
            index,
        }
    }

    /// Whether an earlier fill has left bytes that this one can prove or refute.
    pub(super) fn has_early_bytes(&self) -> bool {
        !self.early.is_empty()
    }

    /// Writes the layer to `writer`, tells `progress` how many bytes are written, and commits when all of them are in and
    /// right. On an error, or when dropped, the writer aborts.
    pub(super) async fn into(
        mut self,
        mut writer: Box<dyn LayerWriter>,
        progress: impl Fn(u64),
    ) -> Result<Arc<dyn LayerReader>, FillError> {
        let filled = async {
            self.copy(Some(&mut writer), progress).await?;
            let index = self
                .index
                .as_ref()
                .map(|index| index.clone().finish(self.layer.digest));
            let index = index.ok_or_else(|| FillError::Tier(hash_lost()))?;
            writer.commit(&index).await.map_err(FillError::Tier)
        }
        .await;
        self.end(filled)
    }

    /// Verifies all of the layer without keeping it.
    pub(super) async fn prove(mut self) -> Result<(), FillError> {
        let proven = self.copy(None, |_| {}).await;
        self.end(proven)
    }

    fn end<T>(self, result: Result<T, FillError>) -> Result<T, FillError> {
        if result.is_err() {
            self.early.failed(self.index.as_ref());
        }
        result
    }

    async fn copy(
        &mut self,
        mut writer: Option<&mut Box<dyn LayerWriter>>,
        progress: impl Fn(u64),
    ) -> Result<(), FillError> {
        let expected = self.source.len();
        let mut pieces = Arc::clone(&self.source).stream(0);
        let mut len = 0;
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(FillError::Source)?;
            len += piece.len() as u64;
            if len > self.max_len && !planted::is("max-layer-bytes-ignored") {
                let error = format!("the layer is longer than max_layer_bytes ({})", self.max_len);
                return Err(FillError::Source(Error::permanent(error)));
            }
            let writing = async {
                match &mut writer {
                    Some(writer) => writer.write(piece.clone()).await,
                    None => Ok(()),
                }
            };
            let (hashed, written) = tokio::join!(self.hash(piece.clone()), writing);
            hashed.and(written).map_err(FillError::Tier)?;
            progress(len);
        }
        if let Some(expected) =
            expected.filter(|&expected| expected != len && !planted::is("short-source-not-noticed"))
        {
            let error = format!("the layer ends after {len} of {expected} bytes");
            return Err(FillError::Source(Error::corrupt(error)));
        }
        match (&self.layer.diff_id, &self.index) {
            (Some(diff_id), Some(index)) if !planted::is("diff-id-not-checked") => {
                check_diff_id(diff_id, &index.prefix_digest()).map_err(FillError::DiffId)
            }
            _ => Ok(()),
        }
    }

    /// Hashes the next piece, and compares on the way what was read early of other fills.
    async fn hash(&mut self, mut piece: Bytes) -> Result<()> {
        let mut index = self.index.take().ok_or_else(hash_lost)?;
        while let Some(boundary) = self.early.boundary(index.len(), piece.len()) {
            index = hash(index, IndexBuilder::update, piece.split_to(boundary)).await?;
            self.early.compare(&index);
        }
        self.index = Some(hash(index, IndexBuilder::update, piece).await?);
        Ok(())
    }
}

fn hash_lost() -> Error {
    Error::unavailable("hashing the layer failed before")
}
