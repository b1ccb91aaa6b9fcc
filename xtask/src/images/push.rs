//! Pushes the images to a docker-registry, whose storage is kept for the servers of the tests.

use std::path::Path;

use anyhow::Result;
use xshell::{Shell, cmd};

use super::TAGS;
use crate::servers::registry::{Access, Registry};

/// Pushes every tag of `layout` to the repository `debian` of a registry that keeps it in `storage`.
pub(crate) fn all(sh: &Shell, work: &Path, layout: &Path, storage: &Path) -> Result<()> {
    let registry = Registry::start(&work.join("push"), storage, &Access::Open)?;
    let address = registry.address().to_string();
    for tag in TAGS {
        // Without --preserve-digests skopeo prefers blobs it has pushed before in another compression.
        cmd!(
            sh,
            "timeout --foreground 300 skopeo --insecure-policy copy --quiet --all --preserve-digests
             --dest-tls-verify=false oci:{layout}:{tag} docker://{address}/debian:{tag}"
        )
        .run()?;
    }
    Ok(())
}
