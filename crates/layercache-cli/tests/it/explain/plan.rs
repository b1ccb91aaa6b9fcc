//! Every composition of two tiers in front of a source does what was told of it beforehand, and to tell it changes nothing.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use layercache::core::index::IndexBuilder;
use layercache::core::{
    Algorithm, ByteStream, Capabilities, Claim, Copying, Digest, Error, LayerDescriptor, LayerReader,
    LayerReaderExt, LayerSource, LayerStat, MemoryTier, Result, Role, SourceOptions, Tier,
};
use layercache::{Config, Finding, Kinds, Part, Reading, Stack};

const LAYER: &[u8] = b"not much of a tar";

/// What a tier does when it is asked for a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    Down,
    /// Until the layer is removed, as the next.
    Corrupt,
    Disputed,
}

/// A tier in memory that may be down or have wrong bytes, and can be read while it is written or not.
#[derive(Debug)]
struct Shelf {
    inner: MemoryTier,
    read_while_write: bool,
    mood: Mutex<Mood>,
}

impl Shelf {
    fn new(name: &str, read_while_write: bool, mood: Mood) -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryTier::new(name, 1 << 20),
            read_while_write,
            mood: Mutex::new(mood),
        })
    }

    async fn with_layer(self: Arc<Self>, layer: &LayerDescriptor) -> Arc<Self> {
        if let Claim::Write(mut writer) = self.inner.create(layer).await.unwrap() {
            let mut index = IndexBuilder::new(Algorithm::Sha256);
            index.update(LAYER);
            writer.write(Bytes::from_static(LAYER)).await.unwrap();
            writer.commit(&index.finish(layer.digest)).await.unwrap();
        }
        self
    }

    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap()
    }

    fn answer(&self) -> Result<()> {
        match self.mood() {
            Mood::Well => Ok(()),
            Mood::Down => Err(Error::unavailable("the shelf is out of reach")),
            Mood::Corrupt => Err(Error::corrupt("the shelf has something else")),
            Mood::Disputed => Err(Error::disputed("the shelf has something else than is claimed")),
        }
    }
}

#[async_trait]
impl LayerSource for Shelf {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn role(&self) -> Role {
        if self.read_while_write {
            Role::Local
        } else {
            Role::Shared
        }
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.inner.capabilities();
        capabilities.read_while_write = self.read_while_write;
        capabilities
    }

    async fn open(&self, layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        self.answer()?;
        self.inner.open(layer).await
    }
}

#[async_trait]
impl Tier for Shelf {
    async fn create(&self, layer: &LayerDescriptor) -> Result<Claim> {
        self.answer()?;
        self.inner.create(layer).await
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        *self.mood.lock().unwrap() = Mood::Well;
        self.inner.remove(digest).await
    }

    fn list(&self) -> BoxStream<'static, Result<LayerStat>> {
        self.inner.list()
    }
}

/// An origin, and the reader of its layer.
#[derive(Clone, Debug)]
struct Origin(Arc<Mutex<u32>>);

#[async_trait]
impl LayerSource for Origin {
    fn name(&self) -> &str {
        "far"
    }

    fn role(&self) -> Role {
        Role::Origin
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    async fn open(&self, _layer: &LayerDescriptor) -> Result<Option<Arc<dyn LayerReader>>> {
        *self.0.lock().unwrap() += 1;
        Ok(Some(Arc::new(self.clone())))
    }
}

#[async_trait]
impl LayerReader for Origin {
    fn len(&self) -> Option<u64> {
        None
    }

    fn random_access(&self) -> bool {
        false
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let rest = &LAYER[LAYER.len().min(offset as usize)..];
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn stream(self: Arc<Self>, offset: u64) -> ByteStream {
        let rest = &LAYER[LAYER.len().min(offset as usize)..];
        stream::iter([Ok(Bytes::from_static(rest))]).boxed()
    }
}

const COPYINGS: [Copying; 3] = [Copying::Background, Copying::Inline, Copying::Off];

#[derive(Clone, Copy, Debug)]
struct Front {
    read_while_write: bool,
    write_back: Copying,
    mood: Mood,
}

fn fronts() -> impl Iterator<Item = Front> + Clone {
    COPYINGS.into_iter().flat_map(|write_back| {
        [Mood::Well, Mood::Down, Mood::Corrupt, Mood::Disputed]
            .into_iter()
            .flat_map(move |mood| {
                [true, false].map(|read_while_write| Front {
                    read_while_write,
                    write_back,
                    mood,
                })
            })
    })
}

fn layer() -> LayerDescriptor {
    LayerDescriptor::new(Digest::sha256_of(b"blob")).with_diff_id(Digest::sha256_of(LAYER))
}

/// A stack of these tiers in front of a far source that has the layer, and how often that was opened if it is an origin.
async fn stack(
    near: &Arc<Shelf>,
    middle: &Arc<Shelf>,
    fronts: [Front; 2],
    fill: Copying,
    origin: Option<Origin>,
) -> Stack {
    let mut kinds = Kinds::builtin();
    for (name, shelf, front) in [("near", near, fronts[0]), ("middle", middle, fronts[1])] {
        let shelf = Arc::clone(shelf);
        kinds.register(name, move |_, _| {
            let options = SourceOptions::default().with_write_back(front.write_back);
            Ok(Part::tier(Arc::clone(&shelf)).with_options(options))
        });
    }
    let options = SourceOptions::default().with_fill(fill);
    let far = Shelf::new("far", false, Mood::Well).with_layer(&layer()).await;
    kinds.register("far", move |_, _| {
        Ok(match &origin {
            Some(origin) => Part::source(Arc::new(origin.clone())),
            None => Part::source(Arc::clone(&far)),
        }
        .with_options(options.clone()))
    });
    let tables = ["near", "middle", "far"].map(|kind| format!("[[tier]]\nkind = {kind:?}\n"));
    Stack::assemble(&Config::parse(&tables.concat()).unwrap(), &kinds).unwrap()
}

async fn holdings(shelf: &Shelf) -> Vec<LayerStat> {
    shelf.list().try_collect().await.unwrap()
}

fn filled(stack: &Stack) -> Vec<String> {
    let sources = stack.sources().into_iter();
    sources
        .filter(|source| source.counts.filled_layers > 0)
        .map(|source| source.name)
        .collect()
}

fn read_bytes(stack: &Stack, name: &str) -> u64 {
    let mut sources = stack.sources().into_iter();
    sources
        .find(|source| source.name == name)
        .unwrap()
        .counts
        .read_bytes
}

async fn does_what_was_told(fronts: [Front; 2], fill: Copying, is_origin: bool) {
    let case = format!("{fronts:?}, {fill:?}, origin: {is_origin}");
    let shelf = |name, front: Front| Shelf::new(name, front.read_while_write, front.mood);
    let (near, middle) = (shelf("near", fronts[0]), shelf("middle", fronts[1]));
    let opened = Arc::new(Mutex::new(0));
    let origin = is_origin.then(|| Origin(Arc::clone(&opened)));
    let stack = stack(&near, &middle, fronts, fill, origin).await;
    let layer = layer();

    let explanation = stack.explain(&layer).await;
    for (shelf, front) in [(&near, fronts[0]), (&middle, fronts[1])] {
        assert_eq!(
            (shelf.mood(), holdings(shelf).await.len()),
            (front.mood, 0),
            "{case}"
        );
    }
    assert_eq!((*opened.lock().unwrap(), filled(&stack)), (0, vec![]), "{case}");
    let plan = explanation.plan.as_ref().expect("the far source serves it");
    assert_eq!(
        (plan.source.as_str(), explanation.asked.len()),
        ("far", 3),
        "{case}"
    );
    assert_eq!(matches!(plan.reading, Reading::Inflated), is_origin, "{case}");
    for (asked, front) in explanation.asked.iter().zip(fronts) {
        let is_absent = matches!(asked.finding, Finding::Absent);
        assert_eq!(is_absent, front.mood == Mood::Well, "{case}: {asked:?}");
        assert_eq!(
            asked.takes_layers,
            front.write_back != Copying::Off,
            "{case}: {asked:?}"
        );
    }

    let reader = stack.open(&layer).await.unwrap();
    assert_eq!(reader.read_bytes(4, 4).await.unwrap(), "much", "{case}");
    // Readers have waited for these.
    let inline = plan.copies.iter().filter(|copy| copy.when == Copying::Inline);
    let done = filled(&stack);
    inline.for_each(|copy| assert!(done.contains(&copy.tier), "{case}: {copy:?}"));
    stack.cache().flush().await;
    if !is_origin {
        let before = read_bytes(&stack, "far");
        assert_eq!(reader.read_bytes(4, 4).await.unwrap(), "much", "{case}");
        let goes_on_there = read_bytes(&stack, "far") > before;
        // A tier that is filled while it is written takes the reading over, at once or in the end.
        let is_filled_on_the_way = plan.copies.iter().any(|copy| {
            let front = if copy.tier == "near" { fronts[0] } else { fronts[1] };
            // A dispute is settled by a copy, which is another one then.
            front.read_while_write && front.mood != Mood::Disputed
        });
        assert_eq!(goes_on_there, !is_filled_on_the_way, "{case}");
        assert_eq!(
            plan.reading == Reading::Copied,
            is_filled_on_the_way && fill == Copying::Inline,
            "{case}"
        );
    }
    let told: Vec<_> = plan.copies.iter().map(|copy| copy.tier.clone()).collect();
    assert_eq!(filled(&stack), told, "{case}");
    // What was copied serves the layer from now on.
    if let Some(first) = told.first() {
        let plan = stack.explain(&layer).await.plan.unwrap();
        assert_eq!((plan.source, plan.copies), (first.clone(), vec![]), "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_told_of_any_composition_is_what_it_does() {
    for fill in COPYINGS {
        for is_origin in [false, true] {
            for near in fronts() {
                for middle in fronts() {
                    does_what_was_told([near, middle], fill, is_origin).await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_nobody_has_has_no_plan() {
    let shelf = Shelf::new("shelf", true, Mood::Down);
    let mut kinds = Kinds::builtin();
    let registered = Arc::clone(&shelf);
    kinds.register("shelf", move |_, _| Ok(Part::tier(Arc::clone(&registered))));
    let config = Config::parse("[[tier]]\nkind = \"shelf\"").unwrap();
    let stack = Stack::assemble(&config, &kinds).unwrap();
    let explanation = stack.explain(&layer()).await;
    assert!(explanation.plan.is_none());
    let Finding::Failed(error) = &explanation.asked[0].finding else {
        panic!("{explanation:?}")
    };
    assert_eq!(
        (error.tier(), error.layer()),
        (Some("shelf"), Some(&layer().digest))
    );
    assert_eq!(explanation.read_cost(Some(0..10)).moved, None);
}
