//! The kind `registry`, and the origins that read files, which need no configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use registry::{
    CredentialFiles, DockerArchiveOrigin, ImageSource, LayoutOrigin, OriginStats, RegistryConfig,
    RegistryOrigin,
};
use serde::{Deserialize, Serialize};

use super::kinds::{Kinds, Shared};
use super::part::{Origin, Part};
use crate::config::{ConfigError, Key, TierConfig};

/// What the keys of a table are read into.
struct Settings {
    plain_http: PlainHttp,
    mirrors: Mirrors,
}

/// `true` for every host, or the hosts.
#[derive(Deserialize, Serialize)]
#[serde(untagged, expecting = "expected true, false, or a list of hosts")]
enum PlainHttp {
    All(bool),
    Hosts(Vec<String>),
}

/// Base URLs by host. One of them may hold a password, though none should: the message about an
/// untagged value of the wrong type does not repeat it.
#[derive(Deserialize, Serialize)]
#[serde(untagged, expecting = "expected a table from hosts to lists of base URLs")]
enum Mirrors {
    Of(BTreeMap<String, Vec<String>>),
}

impl Default for Settings {
    fn default() -> Self {
        let RegistryConfig {
            plain_http, mirrors, ..
        } = RegistryConfig::default();
        Self {
            plain_http: PlainHttp::All(plain_http),
            mirrors: Mirrors::Of(mirrors),
        }
    }
}

pub(super) fn register(kinds: &mut Kinds) {
    kinds.register_with_keys("registry", keys(), registry_part);
}

fn keys() -> [Key<Settings>; 2] {
    type Of = Key<Settings>;
    [
        Of::other(
            "plain_http",
            "Which registries are talked to without TLS; those on loopback always are.",
            "true for every host, or a list of hosts",
            |settings| &mut settings.plain_http,
        )
        .such_as("[\"registry.internal:5000\"]"),
        Of::other(
            "mirrors",
            "What is asked before a host, in order.",
            "a table from hosts to lists of base URLs",
            |settings| &mut settings.mirrors,
        )
        .such_as("{ \"docker.io\" = [\"https://mirror.internal/docker-hub\"] }"),
    ]
}

fn registry_part(settings: Settings, tier: &TierConfig, shared: &Shared) -> Result<Part, ConfigError> {
    let credentials = Arc::new(CredentialFiles::from_environment());
    let mut config = RegistryConfig::default();
    config.name = tier.name().to_owned();
    let Mirrors::Of(mirrors) = settings.mirrors;
    config.mirrors = mirrors;
    match settings.plain_http {
        PlainHttp::All(all) => config.plain_http = all,
        PlainHttp::Hosts(hosts) => config.plain_http_hosts = hosts,
    }
    let mirrors = described(&config);
    let origin = Arc::new(RegistryOrigin::new(config, credentials, shared.inflater.clone())?);
    let (stats, checked) = (origin.stats(), Arc::clone(&origin));
    let part = part("registry", origin, stats);
    Ok(match mirrors {
        // Which registry there is to ask depends on the image.
        None => part,
        Some(mirrors) => part.with_description(mirrors).with_check(move || {
            let origin = Arc::clone(&checked);
            async move { origin.check_mirrors().await }
        }),
    })
}

/// Says which mirrors there are. Neither URLs nor hosts hold credentials, or the origin had refused
/// them.
fn described(config: &RegistryConfig) -> Option<String> {
    let of = |(host, bases): (&String, &Vec<String>)| format!("{host} by {}", bases.join(", "));
    let each: Vec<_> = config
        .mirrors
        .iter()
        .filter(|(_, bases)| !bases.is_empty())
        .map(of)
        .collect();
    (!each.is_empty()).then(|| each.join("; "))
}

/// The origins of layouts and archives. They answer for layers of such images alone, so they stand in every stack.
pub(super) fn file_parts(shared: &Shared) -> [Part; 3] {
    let layout = Arc::new(LayoutOrigin::directory(shared.inflater.clone()));
    let archive = Arc::new(LayoutOrigin::archive(shared.inflater.clone()));
    let docker = Arc::new(DockerArchiveOrigin::new(shared.inflater.clone()));
    let stats = [layout.stats(), archive.stats(), docker.stats()];
    let [layout_stats, archive_stats, docker_stats] = stats;
    [
        part("oci", layout, layout_stats),
        part("oci-archive", archive, archive_stats),
        part("docker-archive", docker, docker_stats),
    ]
    .map(Part::implied)
}

fn part<S: ImageSource>(kind: &'static str, source: Arc<S>, stats: OriginStats) -> Part {
    let mut part = Part::source(Arc::clone(&source));
    part.extras.origin = Some(Origin {
        kind,
        images: source,
        stats,
    });
    part
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    /// Whatever is wrong with them: their shape, or what they are.
    #[test]
    fn no_mistake_repeats_what_may_be_a_password() {
        const URL: &str = "\"https://worker:hunter2@mirror.invalid\"";
        let shared = Shared {
            inflater: cache_core::inflate::Inflater::new(Default::default()),
            create: true,
        };
        for (toml, words) in [
            (
                format!("mirrors.{URL} = [\"https://mirror.invalid\"]"),
                "expected HOST or HOST:PORT",
            ),
            (format!("mirrors = {URL}"), "lists of base URLs"),
            (format!("mirrors = [{URL}]"), "lists of base URLs"),
            (format!("mirrors.\"docker.io\" = {URL}"), "lists of base URLs"),
            (format!("mirrors.\"docker.io\" = [[{URL}]]"), "lists of base URLs"),
            (
                format!("mirrors.\"docker.io\" = [{URL}, 7]"),
                "lists of base URLs",
            ),
            (format!("mirrors.{URL} = \"docker.io\""), "lists of base URLs"),
            (
                format!("mirrors.{URL} = [\"docker.io\"]"),
                "expected HOST or HOST:PORT",
            ),
            (format!("mirrors.\"docker.io\" = [{URL}]"), "mirror.invalid"),
            (format!("plain_http = {URL}"), "list of hosts"),
            (format!("plain_http = {{ a = {URL} }}"), "list of hosts"),
        ] {
            let config = Config::parse(&format!("[[tier]]\nkind = \"registry\"\n{toml}")).unwrap();
            let Err(error) = Kinds::builtin().part(&config.tiers[0], &shared) else {
                panic!("{toml} is taken");
            };
            let error = format!("{error} {error:?}");
            assert!(error.contains(words), "{words:?} is missing for {toml}: {error}");
            assert!(!error.contains("hunter2"), "{toml}: {error}");
        }
    }
}
