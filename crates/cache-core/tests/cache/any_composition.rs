//! Any order of any sources, failing in any way.

use super::*;
use cache_core::{Copying, SourceOptions};

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => Just(Act::Serve),
        2 => Just(Act::Absent),
        1 => Just(Act::Fail(cut())),
        1 => Just(Act::Fail(Error::permanent("denied"))),
        1 => Just(Act::Fail(Error::corrupt("bad index"))),
        1 => (0usize..20_000).prop_map(|at| Act::CutAt(at, cut())),
        1 => (0usize..20_000).prop_map(|at| Act::CutAt(at, Error::corrupt("bad chunk"))),
    ]
}

#[derive(Clone, Debug)]
enum Kind {
    Memory { full_at: u64, read_while_write: bool },
    Far(Vec<Act>),
    Origin(Vec<Act>, Option<usize>),
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        (prop_oneof![Just(u64::MAX), 0u64..20_000], any::<bool>()).prop_map(|(full_at, read_while_write)| {
            Kind::Memory {
                full_at,
                read_while_write,
            }
        }),
        prop::collection::vec(act(), 0..4).prop_map(Kind::Far),
        (
            prop::collection::vec(act(), 0..4),
            prop::option::of(0usize..20_000)
        )
            .prop_map(|(acts, flip)| Kind::Origin(acts, flip)),
    ]
}

fn options() -> impl Strategy<Value = SourceOptions> {
    let copying = || {
        prop_oneof![
            Just(Copying::Background),
            Just(Copying::Inline),
            Just(Copying::Off)
        ]
    };
    (copying(), copying()).prop_map(|(fill, write_back)| {
        SourceOptions::default()
            .with_fill(fill)
            .with_write_back(write_back)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    /// Any order of any sources, failing in any way: right bytes or an error, and right bytes whenever a source behind
    /// the failing ones has no fault at all.
    #[test]
    fn any_composition_gives_the_layer_or_an_error(
        kinds in prop::collection::vec((kind(), options()), 0..5),
        faultless in any::<bool>(),
        reads in prop::collection::vec((0u64..21_000, 0usize..5_000), 1..6),
    ) {
        let bytes: Bytes = layer_bytes(20_000);
        let layer = descriptor(&bytes);
        let mut builder = LayerCache::builder();
        for (kind, options) in kinds.iter().cloned() {
            builder = match kind {
                Kind::Memory { full_at, read_while_write } => {
                    let inner = MemoryTier::new("memory", 1 << 30);
                    builder.tier_with(Arc::new(Faulty { inner, full_at, read_while_write }), options)
                }
                Kind::Far(acts) => builder.source_with(Script::far("far", &bytes, acts), options),
                Kind::Origin(mut acts, flip) => {
                    acts.extend(flip.map(Act::Flip));
                    // An origin verifies what `read_at` returns, which the script does not: so never read it without a
                    // tier that takes the layer in front.
                    builder
                        .tier(Arc::new(MemoryTier::new("in front", 1 << 30)))
                        .source(Script::origin("origin", &bytes, acts))
                }
            };
        }
        if faultless || kinds.is_empty() {
            builder = builder.source(Script::far("faultless", &bytes, []));
        }
        let cache = builder.build().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            for (offset, len) in reads {
                let result = async { cache.get(&layer).await?.read_bytes(offset, len).await }.await;
                let start = (offset as usize).min(bytes.len());
                match result {
                    Ok(read) => assert_eq!(read, bytes[start..(start + len).min(bytes.len())]),
                    Err(error) => assert!(!faultless, "{error}"),
                }
                let result = async { all(cache.get(&layer).await?).await }.await;
                match result {
                    Ok(read) => assert_eq!(read, bytes),
                    Err(error) => assert!(!faultless, "{error}"),
                }
            }
            cache.close().await;
        });
    }
}
