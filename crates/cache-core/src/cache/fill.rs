//! Copying a layer into a tier, verifying all of it on the way.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join;

use super::early::EarlyBytes;
use crate::index::IndexBuilder;
use crate::runtime::consume_budget;
use crate::verify::{HASH_LEN, check_diff_id};
use crate::{Algorithm, Error, LayerDescriptor, LayerIndex, LayerReader, LayerWriter, Result};

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
    /// Of what has come.
    index: IndexBuilder,
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
        Self {
            layer,
            source: Arc::clone(source),
            max_len,
            early,
            index: IndexBuilder::new(algorithm),
        }
    }

    /// Writes the layer to `writer`, tells `progress` how many bytes are written, and commits when all of them are in and
    /// right. On an error, or when dropped, the writer aborts.
    pub(super) async fn into(
        mut self,
        mut writer: Box<dyn LayerWriter>,
        progress: impl Fn(u64),
    ) -> Result<Arc<dyn LayerReader>, FillError> {
        let filled = async {
            let index = self.copy(Some(&mut writer), progress).await?;
            writer.commit(&index).await.map_err(FillError::Tier)
        }
        .await;
        self.end(filled)
    }

    /// Verifies all of the layer without keeping it.
    pub(super) async fn prove(mut self) -> Result<(), FillError> {
        let proven = self.copy(None, |_| {}).await;
        self.end(proven.map(drop))
    }

    fn end<T>(self, result: Result<T, FillError>) -> Result<T, FillError> {
        if result.is_err() {
            self.early.failed(&self.index);
        }
        result
    }

    async fn copy(
        &mut self,
        mut writer: Option<&mut Box<dyn LayerWriter>>,
        progress: impl Fn(u64),
    ) -> Result<LayerIndex, FillError> {
        let expected = self.source.len();
        let mut pieces = Arc::clone(&self.source).stream(0);
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(FillError::Source)?;
            let len = self.index.len() + piece.len() as u64;
            if len > self.max_len {
                let error = format!(
                    "the layer is longer than max_layer_bytes ({}): raise that, if the image is meant to be so large",
                    self.max_len
                );
                return Err(FillError::Source(Error::permanent(error)));
            }
            match &mut writer {
                // Both are waited for: what was written, even in part, may have been read, and has to be hashed.
                Some(writer) => {
                    let (written, ()) = join(writer.write(piece.clone()), self.hash(piece)).await;
                    written.map_err(FillError::Tier)?;
                }
                None => self.hash(piece).await,
            }
            progress(len);
        }
        let whole = self.index.clone().finish(self.layer.digest);
        if let Some(expected) = expected
            && expected != whole.len()
        {
            let error = format!("the layer ends after {} of {expected} bytes", whole.len());
            return Err(FillError::Source(Error::corrupt(error)));
        }
        if let Some(claim) = &self.layer.diff_id {
            check_diff_id(claim, whole.diff_id()).map_err(FillError::DiffId)?;
        }
        Ok(whole)
    }

    /// Hashes the next piece, a slice at a time, and compares on the way with what was read early of other fills. On this task: to
    /// hand each piece to another thread costs half as much again as the hash.
    async fn hash(&mut self, mut piece: Bytes) {
        while !piece.is_empty() {
            let longest = piece.len().min(HASH_LEN);
            let boundary = self.early.boundary(self.index.len(), longest);
            self.index.update(&piece.split_to(boundary.unwrap_or(longest)));
            if boundary.is_some() {
                self.early.compare(&self.index);
            }
            consume_budget().await;
        }
    }
}
