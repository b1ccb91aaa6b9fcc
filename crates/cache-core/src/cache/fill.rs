//! Copying a layer into a tier, verifying all of it on the way.

use std::sync::Arc;

use futures_util::StreamExt;

use super::early::EarlyBytes;
use super::hashing::Hashing;
use crate::verify::check_diff_id;
use crate::{
    Algorithm, Error, IndexBuilder, LayerDescriptor, LayerIndex, LayerReader, LayerWriter, Result, planted,
};

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
    /// Of all that has come; `None` until then, and where hashing it failed.
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
        Self {
            layer,
            source: Arc::clone(source),
            max_len,
            early,
            index: None,
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
            self.early.failed(self.index.as_ref());
        }
        result
    }

    async fn copy(
        &mut self,
        writer: Option<&mut Box<dyn LayerWriter>>,
        progress: impl Fn(u64),
    ) -> Result<LayerIndex, FillError> {
        let algorithm = self
            .layer
            .diff_id
            .map_or(Algorithm::Sha256, |diff_id| diff_id.algorithm());
        let mut hashing = Hashing::new(IndexBuilder::new(algorithm), self.early.lend());
        let copied = self.copy_pieces(&mut hashing, writer, progress).await;
        // However it ended: what could be read early is to be known by its hash.
        let (index, early) = hashing.finish().await.map_err(FillError::Tier)?;
        *self.early = early;
        let whole = self.index.insert(index).clone().finish(self.layer.digest);
        copied?;
        if let Some(claim) = &self.layer.diff_id
            && !planted::is("diff-id-not-checked")
        {
            check_diff_id(claim, whole.diff_id()).map_err(FillError::DiffId)?;
        }
        Ok(whole)
    }

    async fn copy_pieces(
        &self,
        hashing: &mut Hashing,
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
            // First: nothing can be read before it is on its way to the hash.
            hashing.push(piece.clone()).await.map_err(FillError::Tier)?;
            if let Some(writer) = &mut writer {
                writer.write(piece).await.map_err(FillError::Tier)?;
            }
            progress(len);
        }
        match expected {
            Some(expected) if expected != len && !planted::is("short-source-not-noticed") => {
                let error = format!("the layer ends after {len} of {expected} bytes");
                Err(FillError::Source(Error::corrupt(error)))
            }
            _ => Ok(()),
        }
    }
}
