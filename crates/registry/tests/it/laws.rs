//! The laws of sources, for every kind of origin.

use cache_core::LayerSource;
use cache_core::index::CHUNK_LEN;
use cache_core::inflate::Inflater;
use cache_testkit::laws::{Sample, SourceSubject};
use cache_testkit::source_laws;
use registry::{Image, ImageSource, LayoutOrigin};

use crate::fixture::{Content, amd64, origin, resolve};
use crate::layouts::{archive, directory, layout};
use crate::server::Server;

/// Plain tars, as far as their first bytes tell.
fn layers() -> [Vec<u8>; 3] {
    const CHUNK: usize = CHUNK_LEN as usize;
    [10, CHUNK, 2 * CHUNK + 77].map(|len| [b"tar", &Sample::random(len - 3).bytes[..]].concat())
}

fn content(layers: &[Vec<u8>]) -> (Content, serde_json::Value) {
    let mut content = Content::default();
    let layers: Vec<_> = layers.iter().map(Vec::as_slice).collect();
    let image = content.image("linux/amd64", &layers);
    content.tag("latest", &image);
    (content, image)
}

/// The origin, with the layers of its image.
fn subject(origin: impl LayerSource, image: Image, layers: [Vec<u8>; 3]) -> SourceSubject {
    let samples = image.layers.into_iter().zip(layers);
    SourceSubject::new(
        origin,
        samples
            .map(|(descriptor, bytes)| Sample::new(descriptor, bytes))
            .collect(),
    )
}

source_laws!(registry_origin, || async {
    let layers = layers();
    let (content, _) = content(&layers);
    let server = Server::start(move |request| content.answer(request)).await;
    let origin = origin();
    let image = resolve(&origin, &server).await.unwrap();
    subject(origin, image, layers).keeping(server)
});

source_laws!(layout_directory, || async {
    let layers = layers();
    let (content, image) = content(&layers);
    let dir = directory(&layout(&content, &[("latest", image)]));
    let origin = LayoutOrigin::directory(Inflater::default());
    let location = format!("oci:{}:latest", dir.path().display()).parse().unwrap();
    let image = origin.resolve(&location, &amd64()).await.unwrap();
    subject(origin, image, layers).keeping(dir)
});

source_laws!(layout_archive, || async {
    let layers = layers();
    let (content, image) = content(&layers);
    let (dir, path) = archive(&layout(&content, &[("latest", image)]), &[]);
    let origin = LayoutOrigin::archive(Inflater::default());
    let location = format!("oci-archive:{}:latest", path.display()).parse().unwrap();
    let image = origin.resolve(&location, &amd64()).await.unwrap();
    subject(origin, image, layers).keeping(dir)
});
