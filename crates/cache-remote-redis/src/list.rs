//! Listing the layers.

use std::collections::HashSet;
use std::sync::Arc;

use cache_core::{Digest, Error, ErrorKind, LayerStat, Result};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use redis::{FromRedisValue, Value};

use crate::keys;
use crate::servers::Address;
use crate::store::Store;

/// How many keys the server looks at for one answer.
const SCAN_COUNT: usize = 1000;

/// A cursor and the keys found on the way to it.
type Scanned = (u64, Vec<Vec<u8>>);

/// Every layer that is complete, once: a scan may show a key several times. Costs the digests in memory.
pub(crate) fn list(store: Arc<Store>) -> BoxStream<'static, Result<LayerStat>> {
    let asked = Arc::clone(&store);
    let nodes = async move { Ok::<_, Error>(stream::iter(nodes(&asked).await?.into_iter().map(Ok))) };
    let scanned = Arc::clone(&store);
    let mut seen = HashSet::new();
    stream::once(nodes)
        .try_flatten()
        .map_ok(move |node| scan(Arc::clone(&scanned), node))
        .try_flatten()
        .try_filter(move |digest| std::future::ready(seen.insert(*digest)))
        .try_filter_map(move |digest| {
            let store = Arc::clone(&store);
            async move { stat(&store, &digest).await }
        })
        .boxed()
}

/// The layer as it can be opened; `None` when it is incomplete or wrong, which nobody can read.
async fn stat(store: &Store, digest: &Digest) -> Result<Option<LayerStat>> {
    let index = match store.encoded_index(digest).await {
        Ok(Some(encoded)) => store.unclaimed(&encoded, digest),
        Ok(None) => return Ok(None),
        Err(error) => Err(error),
    };
    match index {
        Ok(index) => {
            let complete = store.is_complete(&index).await?;
            Ok(complete.then(|| LayerStat::new(*digest, index.len())))
        }
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
        Err(error) => Err(error),
    }
}

/// The servers that have keys: `None` is the only one.
async fn nodes(store: &Store) -> Result<Vec<Option<Address>>> {
    if !store.connections.servers().are_cluster() {
        return Ok(vec![None]);
    }
    let mut request = redis::cmd("CLUSTER");
    request.arg("SLOTS");
    let slots: Value = store.connections.ask(request).await?;
    let masters =
        masters(slots).ok_or_else(|| Error::unavailable("the cluster does not tell its masters"))?;
    Ok(masters.into_iter().map(Some).collect())
}

fn scan(store: Arc<Store>, node: Option<Address>) -> impl Stream<Item = Result<Digest>> + Send + 'static {
    let pages = stream::try_unfold(Some(0), move |cursor| {
        let (store, node) = (Arc::clone(&store), node.clone());
        async move {
            let Some(cursor) = cursor else { return Ok(None) };
            let (next, found) = page(&store, node.as_ref(), cursor).await?;
            let layers: Vec<_> = found.iter().filter_map(|key| keys::parse_index(key)).collect();
            let layers = stream::iter(layers.into_iter().map(Ok));
            Ok(Some((layers, (next != 0).then_some(next))))
        }
    });
    pages.try_flatten()
}

async fn page(store: &Store, node: Option<&Address>, cursor: u64) -> Result<Scanned> {
    let mut request = redis::cmd("SCAN");
    request
        .arg(cursor)
        .arg("MATCH")
        .arg(keys::ANY_INDEX)
        .arg("COUNT")
        .arg(SCAN_COUNT);
    match node {
        None => store.connections.ask(request).await,
        Some(node) => store.connections.ask_node(request, node.clone()).await,
    }
}

/// The masters of `CLUSTER SLOTS`: `[[first slot, last slot, [host, port, ...] of the master, replicas ...], ...]`.
fn masters(slots: Value) -> Option<Vec<Address>> {
    let Value::Array(ranges) = slots else { return None };
    let mut masters = Vec::new();
    for range in ranges {
        let Value::Array(range) = range else { return None };
        let Value::Array(master) = range.into_iter().nth(2)? else {
            return None;
        };
        let [host, port, ..] = &master[..] else {
            return None;
        };
        let master = Address {
            host: String::from_redis_value_ref(host).ok()?,
            port: u16::from_redis_value_ref(port).ok()?,
        };
        if !masters.contains(&master) {
            masters.push(master);
        }
    }
    Some(masters)
}
