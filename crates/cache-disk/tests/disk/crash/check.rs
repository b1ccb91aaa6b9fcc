//! What must hold of a directory that a process has left, whatever has ended it.

use std::collections::BTreeSet;

use cache_core::{ErrorKind, LayerDescriptor, LayerSource, Tier};
use cache_testkit::crash::Call;

use super::script::{LAYERS, layer};
use crate::support::{Cache, fill, gc, read_all};

/// What has been said of layers, by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct History {
    /// Committed, and nobody has begun to remove them.
    pub(super) promised: BTreeSet<u64>,
    /// Removed, and nobody has begun to put them back.
    pub(super) gone: BTreeSet<u64>,
    /// The disk has spoilt them, and nobody has removed them yet.
    pub(super) rotten: BTreeSet<u64>,
    /// Whether the image is pinned; `None` while that is being changed, and as long as nobody has said so.
    pub(super) pinned: Option<bool>,
}

impl History {
    /// Goes on by a call of the process.
    pub(super) fn apply(&mut self, call: &Call) {
        let call_on = |argument: usize| {
            let name = call.path(argument)?;
            let name = name.file_name()?.to_str()?.to_owned();
            let is_its_layer = |number: &u64| {
                let hex = layer(*number).digest().hex();
                name == format!("layer-{hex}.decompressed")
            };
            (1..=LAYERS).find(is_its_layer)
        };
        match &*call.name {
            // Even one that fails may have done it.
            "unlinkat" => {
                call_on(1).map(|number| self.promised.remove(&number));
            }
            "linkat" | "renameat" | "renameat2" => {
                if call
                    .path(3)
                    .is_some_and(|name| name.parent().is_some_and(|dir| dir.ends_with("image")))
                {
                    self.pinned = None;
                }
                call_on(3).map(|number| self.gone.remove(&number));
            }
            "write" if call.succeeded() => {
                let said = call.bytes(1).and_then(|bytes| String::from_utf8(bytes).ok());
                let said = said.unwrap_or_default();
                if let Some((_, operation)) = said.trim_end().rsplit_once("did ") {
                    self.note(operation);
                }
            }
            _ => {}
        }
    }

    fn note(&mut self, operation: &str) {
        let (verb, number) = operation.split_once(' ').unwrap_or((operation, ""));
        match verb {
            "fill" => {
                self.promised.insert(number.parse().unwrap());
            }
            "pin" => self.pinned = Some(true),
            "unpin" => self.pinned = Some(false),
            "remove" | "quarantine" => {
                let number = number.parse().unwrap();
                self.rotten.remove(&number);
                self.gone.insert(number);
            }
            "clear" => {
                self.rotten.clear();
                self.gone.extend(1..=LAYERS);
            }
            _ => {}
        }
    }
}

/// Panics where the next process gets wrong bytes, misses what was promised, or is left with files of nobody.
pub(super) async fn check(cache: &Cache, history: &History) {
    let tier = cache.tier();
    let pinned = tier.images().await.unwrap().iter().any(|image| image.pinned);
    assert!(
        history.pinned.is_none_or(|promised| promised == pinned),
        "the pin is wrong"
    );
    for number in 1..=LAYERS {
        let layer = layer(number);
        // Without a diff ID nothing but the index vouches for the layer.
        for descriptor in [LayerDescriptor::new(*layer.digest()), layer.descriptor.clone()] {
            match tier.open(&descriptor).await {
                Ok(Some(reader)) => {
                    assert!(
                        !history.gone.contains(&number),
                        "{number} was removed and is back"
                    );
                    let right = read_all(&reader).await == layer.bytes;
                    assert!(
                        right || history.rotten.contains(&number),
                        "{number} has wrong bytes"
                    );
                }
                Ok(None) => assert!(!history.promised.contains(&number), "{number} is lost"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                    assert!(
                        !history.promised.contains(&number),
                        "{number} is damaged: {error}"
                    );
                }
            }
        }
    }
    for number in &history.rotten {
        tier.remove(layer(*number).digest()).await.unwrap();
    }
    gc(&tier, None).await.unwrap();
    let left = cache.files();
    for name in &left {
        // Before the layers that it is about are filled again.
        let layer = name
            .split_once('.')
            .map(|(stem, _)| format!("{stem}.decompressed"));
        assert!(
            layer.is_some_and(|layer| left.contains(&layer)),
            "{name} is leaked: {left:?}"
        );
    }
    let layers: Vec<_> = (1..=LAYERS).map(layer).collect();
    for layer in &layers {
        let reader = fill(&tier, layer).await;
        assert!(read_all(&reader).await == layer.bytes, "filled with wrong bytes");
    }
    let mut left = cache.files();
    left.retain(|name| !name.ends_with(".tree"));
    assert_eq!(
        left,
        Cache::files_of(&layers.iter().collect::<Vec<_>>()),
        "leaked"
    );
}
