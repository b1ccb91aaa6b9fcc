//! The keys that all kinds of remote tiers have, and the guards around the tiers.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use cache_core::guard::{
    Answer, BreakerConfig, GuardConfig, Operation, Policy, RetryConfig, TimeoutConfig, recommended,
};
use cache_core::index::{CHUNK_LEN, Seal};
use cache_core::lease::Leases;
use cache_core::{Copying, SourceOptions, Tier};

use super::part::Part;
use crate::config::{Key, Secret};

/// Operations of one tier under way at once; more wait.
const CONCURRENCY: usize = 64;
/// A tier is left alone after so many failures in a row.
const FAILURES: u32 = 3;
const ATTEMPTS: u32 = 3;
/// The longest time-out that can be set, and the longest pause before an operation is tried again.
const MAX_TIMEOUT: Duration = Duration::from_secs(10 * 60);
const MAX_PAUSE: Duration = Duration::from_millis(200);

/// What a remote tier moves for a read of any byte: it verifies whole chunks.
const CHUNK: NonZeroU64 = NonZeroU64::new(CHUNK_LEN as u64).unwrap();

const COPYING: &[(&str, Copying)] = &[
    ("background", Copying::Background),
    ("inline", Copying::Inline),
    ("off", Copying::Off),
];

/// The settings of any remote tier.
#[derive(Debug)]
pub(super) struct Remote {
    seal_key: Option<Secret>,
    /// How long an answer is waited for.
    pub(super) timeout: Duration,
    read_only: bool,
    write_back: Option<Copying>,
    fill: Copying,
}

/// The keys of any remote tier.
pub(super) fn keys() -> [Key<Remote>; 5] {
    type Of = Key<Remote>;
    [
        Of::secret(
            "seal_key",
            "What seals the index of each layer, 16 bytes or more, the same on all workers: without it, whoever may write to\n\
             the store is trusted. It is read once; see docs/configuration.md for how to change it.",
            |remote| &mut remote.seal_key,
        )
        .unset("indexes are not sealed")
        .such_as("\"/run/secrets/seal-key\"")
        .check(|remote| remote.seal().map(drop).map_err(|error| error.message().to_owned())),
        Of::time(
            "timeout",
            "How long an answer is waited for before the tier is passed over; 10 minutes at most.",
            |remote| &mut remote.timeout,
        )
        .check(|remote| match remote.timeout > MAX_TIMEOUT {
            true => Err("more than 10 minutes".into()),
            false => Ok(()),
        }),
        Of::flag(
            "read_only",
            "Write nothing there and remove nothing.",
            |remote| &mut remote.read_only,
        ),
        Of::choice(
            "write_back",
            "Whether layers that are found behind this tier are copied to it; with \"inline\", readers wait for that.",
            COPYING,
            |remote| &mut remote.write_back,
        )
        .follows("\"background\", or \"off\" where `read_only` is set", |remote| {
            let chosen = COPYING.iter().find(|(_, copying)| *copying == remote.write_back());
            chosen.map_or("", |(word, _)| word).into()
        })
        .check(|remote| match remote.read_only && remote.write_back() != Copying::Off {
            true => Err("nothing is written where `read_only` is set: remove one of both".into()),
            false => Ok(()),
        }),
        Of::choice(
            "fill",
            "Whether layers that are found here are copied to the tiers in front. Meanwhile they are read here, but with\n\
             \"inline\", where readers wait.",
            COPYING,
            |remote| &mut remote.fill,
        ),
    ]
}

/// Refuses a secret that is no text.
pub(super) fn check_text(secret: &Option<Secret>) -> Result<(), String> {
    match secret
        .as_ref()
        .is_some_and(|secret| secret.first().text().is_none())
    {
        true => Err("text that is not valid UTF-8".into()),
        false => Ok(()),
    }
}

impl Remote {
    /// Returns the defaults of a kind with this time-out.
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            seal_key: None,
            timeout,
            read_only: false,
            write_back: None,
            fill: Copying::Background,
        }
    }

    /// Returns the seal of indexes.
    ///
    /// # Errors
    /// Those of [`Seal::keyed`], which reading the key refuses.
    pub(super) fn seal(&self) -> cache_core::Result<Seal> {
        match &self.seal_key {
            Some(key) => Seal::keyed(key.first().bytes()),
            None => Ok(Seal::plain()),
        }
    }

    /// Whether and how layers are written back to the tier.
    fn write_back(&self) -> Copying {
        self.write_back.unwrap_or(match self.read_only {
            true => Copying::Off,
            false => Copying::Background,
        })
    }

    /// Whether layers are written back to the tier, which leases on them wait for.
    pub(super) fn takes_layers(&self) -> bool {
        self.write_back() != Copying::Off
    }

    /// Makes a part of `tier` behind the [recommended] guards, with `leases` if layers are written back to it. Where it is
    /// read-only it joins as a source, so that nothing is ever written or removed there.
    pub(super) fn part(&self, tier: impl Tier, leases: Option<Arc<dyn Leases>>) -> Part {
        let pause = (self.timeout / 20).min(MAX_PAUSE);
        let retry = RetryConfig {
            attempts: ATTEMPTS,
            pause,
            max_pause: pause * 2,
        };
        let breaker = BreakerConfig {
            failures: FAILURES,
            ..BreakerConfig::default()
        };
        let guards = GuardConfig {
            retry,
            timeout: TierTimeouts::new(self.timeout),
            breaker,
            concurrency: CONCURRENCY,
        };
        let tier = Arc::new(recommended(tier, guards));
        let part = if self.read_only {
            Part::source(tier)
        } else {
            Part::tier(tier)
        };
        let mut options = SourceOptions::default()
            .with_fill(self.fill)
            .with_write_back(self.write_back());
        options.leases = leases.filter(|_| self.takes_layers());
        part.with_options(options).with_read_unit(CHUNK)
    }
}

/// How long operations of a remote tier may take.
///
/// Readers wait while a layer is looked for and read: that is given one time-out, in which a tier answers or is passed over. What
/// changes a tier is many requests, each of which the tier bounds by itself, and mostly nobody waits for it: here the bound is a
/// backstop, and must not cut what goes well.
#[derive(Clone, Copy, Debug)]
struct TierTimeouts {
    reading: TimeoutConfig,
    changing: TimeoutConfig,
}

impl TierTimeouts {
    fn new(timeout: Duration) -> Self {
        let all = |limit| TimeoutConfig {
            operation: limit,
            idle: limit,
            commit: limit,
            create: Some(limit),
        };
        Self {
            reading: all(timeout),
            changing: TimeoutConfig {
                // A write to S3 may begin an upload (2 time-outs, of two attempts), and waits up to 12 for a buffer that another
                // part is sent from, which is 5 MiB over a link that may be slow.
                // The tail of an upload is the last parts (8), to have them put together (12), and the index.
                commit: timeout * 30,
                ..all(timeout * 15)
            },
        }
    }
}

impl Policy for TierTimeouts {
    async fn run<T: Answer>(
        &self,
        operation: Operation,
        work: impl Future<Output = cache_core::Result<T>> + Send,
    ) -> cache_core::Result<T> {
        let limits = match operation {
            Operation::Open | Operation::Read | Operation::Stream => &self.reading,
            Operation::Create
            | Operation::Write
            | Operation::Commit
            | Operation::Abort
            | Operation::Remove
            | Operation::List => &self.changing,
        };
        limits.run(operation, work).await
    }
}

#[cfg(test)]
mod tests {
    use cache_core::{Error, ErrorKind};

    use super::*;
    use crate::config::{Described, Keys};

    impl Default for Remote {
        fn default() -> Self {
            Self::new(Duration::from_secs(2))
        }
    }

    fn remote(toml: &str) -> Result<Remote, String> {
        let remote = Keys::new(keys()).read(&toml.parse().unwrap());
        remote.map_err(|mistake| mistake.named())
    }

    #[test]
    fn a_tier_takes_layers_unless_told_otherwise() {
        for (toml, takes_layers) in [
            ("", true),
            ("write_back = \"inline\"", true),
            ("write_back = \"off\"", false),
            ("read_only = true", false),
            ("read_only = true\nwrite_back = \"off\"", false),
        ] {
            assert_eq!(remote(toml).unwrap().takes_layers(), takes_layers, "{toml}");
            let defaults = Keys::new(keys()).defaults(&toml.parse().unwrap());
            assert_eq!(defaults[3] != Some("off".into()), takes_layers, "{toml}");
        }
        let remote =
            remote("timeout = \"300ms\"\nseal_key = \"sixteen bytes or more\"\nfill = \"inline\"").unwrap();
        assert_eq!(
            (remote.timeout, remote.fill),
            (Duration::from_millis(300), Copying::Inline)
        );
        assert!(remote.seal().unwrap().is_keyed());
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (toml, words) in [
            ("read_only = true\nwrite_back = \"background\"", "`write_back`: "),
            ("timeout = \"11m\"", "`timeout`: more than 10 minutes"),
            ("timeout = 0", "`timeout`: "),
            ("seal_key = \"short\"", "shorter than 16 bytes"),
            ("sealkey = \"short\"", "unknown field `sealkey`"),
        ] {
            let error = remote(toml).unwrap_err();
            assert!(
                error.contains(words) && !error.contains("\"short"),
                "{toml}: {error}"
            );
        }
    }

    /// A stalled server costs a reader one time-out; a slow upload is not cut by it.
    #[tokio::test(start_paused = true)]
    async fn readers_wait_for_one_time_out_and_uploads_for_more() {
        let timeout = Duration::from_secs(2);
        let timeouts = TierTimeouts::new(timeout);
        let of = async |operation, takes| {
            let start = tokio::time::Instant::now();
            let work = async {
                tokio::time::sleep(takes).await;
                Ok::<_, Error>(())
            };
            let result = timeouts.run(operation, work).await;
            (result.map_err(|error| error.kind()), start.elapsed())
        };
        let refused = (Err(ErrorKind::Unavailable), timeout);
        for operation in [Operation::Open, Operation::Read, Operation::Stream] {
            assert_eq!(of(operation, timeout * 2).await, refused);
        }
        for (operation, takes) in [
            (Operation::Write, timeout * 14),
            (Operation::Commit, timeout * 26),
            (Operation::Create, timeout * 2),
        ] {
            assert_eq!(of(operation, takes).await, (Ok(()), takes));
            assert!(of(operation, timeout * 1000).await.0.is_err());
        }
    }
}
