//! Which layers a bucket has.

use std::sync::Arc;

use aws_sdk_s3::types::Object;
use cache_core::{Digest, LayerStat, Result};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use crate::bucket::Bucket;
use crate::failure::failure;
use crate::keys::{Keys, Named};

/// Every layer that has an index, page after page.
pub(crate) fn list(bucket: Arc<Bucket>) -> BoxStream<'static, Result<LayerStat>> {
    let pages = async move {
        let request = bucket
            .client()
            .await?
            .list_objects_v2()
            .bucket(bucket.bucket_name());
        let pages = request.prefix(bucket.keys.all()).into_paginator().send();
        let state = (pages, Pairs::default());
        Ok(stream::try_unfold(state, move |(mut pages, mut pairs)| {
            let bucket = Arc::clone(&bucket);
            async move {
                let Some(page) = pages.next().await else {
                    return Ok(None);
                };
                let page = page.map_err(|error| failure("list the layers", &error))?;
                let objects = page.contents().iter();
                let stats: Vec<_> = objects
                    .filter_map(|object| pairs.next(&bucket.keys, object))
                    .collect();
                Ok(Some((stream::iter(stats.into_iter().map(Ok)), (pages, pairs))))
            }
        })
        .try_flatten())
    };
    stream::once(pages).try_flatten().boxed()
}

/// Finds the objects that have an index. Lists are sorted by key, so an index follows its layer, if not on the same page.
#[derive(Debug, Default)]
struct Pairs {
    last: Option<(Digest, u64)>,
}

impl Pairs {
    fn next(&mut self, keys: &Keys, object: &Object) -> Option<LayerStat> {
        match keys.parse(object.key()?)? {
            Named::Layer(digest) => {
                let len = object.size().and_then(|len| u64::try_from(len).ok());
                self.last = len.map(|len| (digest, len));
                None
            }
            Named::Index(digest) => {
                let (_, len) = self.last.take_if(|(of, _)| *of == digest)?;
                Some(LayerStat::new(digest, len))
            }
        }
    }
}
