//! What the kinds of remote tiers have in common: settings, and the guards around them.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use cache_core::guard::{
    Answer, BreakerConfig, GuardConfig, Operation, Policy, RetryConfig, TimeoutConfig, recommended,
};
use cache_core::index::{CHUNK_LEN, Seal};
use cache_core::lease::Leases;
use cache_core::{Copying, SourceOptions, Tier};

use super::Part;
use super::keys::Keys;
use crate::{ConfigError, Setting, Unset, ValueType};

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

const COPYING: ValueType = ValueType::Choice(&["background", "inline", "off"]);

/// What is described of any remote tier.
pub(super) const fn settings(default_timeout: &'static str) -> [Setting; 5] {
    [
        Setting::new(
            "seal_key",
            ValueType::Secret,
            "What seals the index of each layer, 16 bytes or more, the same on all workers: without it, whoever may write to\n\
             the store is trusted. It is read once; see docs/configuration.md for how to change it.",
            Unset::Nothing("indexes are not sealed"),
        )
        .such_as("\"/run/secrets/seal-key\"")
        .or_elsewhere(),
        Setting::new(
            "timeout",
            ValueType::Time,
            "How long an answer is waited for before the tier is passed over; 10 minutes at most.",
            Unset::Value(default_timeout),
        ),
        Setting::new(
            "read_only",
            ValueType::Flag,
            "Write nothing there and remove nothing.",
            Unset::Value("false"),
        ),
        Setting::new(
            "write_back",
            COPYING,
            "Whether layers that are found behind this tier are copied to it; with \"inline\", readers wait for that.",
            Unset::Follows {
                how: "\"background\", or \"off\" where `read_only` is set",
                value: |table| if is_set(table, "read_only") { "off" } else { "background" }.into(),
            },
        ),
        Setting::new(
            "fill",
            COPYING,
            "Whether layers that are found here are copied to the tiers in front. Meanwhile they are read here, but with\n\
             \"inline\", where readers wait.",
            Unset::Value("\"background\""),
        ),
    ]
}

/// Whether a flag of a table is set.
pub(super) fn is_set(table: &toml::Table, key: &str) -> bool {
    table.get(key).and_then(toml::Value::as_bool) == Some(true)
}

/// The settings of any remote tier.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) seal: Seal,
    /// How long an answer is waited for.
    pub(super) timeout: Duration,
    read_only: bool,
    fill: Copying,
    write_back: Copying,
}

impl Remote {
    pub(super) fn take(keys: &mut Keys<'_>, default_timeout: Duration) -> Result<Self, ConfigError> {
        let seal = match keys.secret("seal_key")? {
            Some(key) => {
                Seal::keyed(key.bytes()).map_err(|error| keys.mistake("seal_key", error.message()))?
            }
            None => Seal::plain(),
        };
        let timeout = keys.duration("timeout")?.unwrap_or(default_timeout);
        if timeout > MAX_TIMEOUT {
            return Err(keys.mistake("timeout", "more than 10 minutes"));
        }
        let read_only = keys.value("read_only")?.unwrap_or(false);
        let fill = keys.copying("fill")?.unwrap_or(Copying::Background);
        let write_back = keys.copying("write_back")?;
        if read_only && write_back.is_some_and(|copying| copying != Copying::Off) {
            return Err(keys.mistake(
                "write_back",
                "nothing is written where `read_only` is set: remove one of both",
            ));
        }
        Ok(Self {
            seal,
            timeout,
            read_only,
            fill,
            write_back: write_back.unwrap_or(match read_only {
                true => Copying::Off,
                false => Copying::Background,
            }),
        })
    }

    /// Whether layers are written back to the tier, which leases on them wait for.
    pub(super) fn takes_layers(&self) -> bool {
        !self.read_only && self.write_back != Copying::Off
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
            .with_write_back(self.write_back);
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
    use crate::TierConfig;

    fn remote(toml: &str) -> Result<Remote, String> {
        let tier: TierConfig = toml::from_str(&format!("kind = \"k\"\n{toml}")).unwrap();
        let mut keys = Keys::of(&tier).unwrap();
        let remote = Remote::take(&mut keys, Duration::from_secs(2)).map_err(|error| error.to_string())?;
        keys.end().map_err(|error| error.to_string())?;
        Ok(remote)
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
        }
        let remote =
            remote("timeout = \"300ms\"\nseal_key = \"sixteen bytes or more\"\nfill = \"inline\"").unwrap();
        assert_eq!(
            (remote.timeout, remote.fill),
            (Duration::from_millis(300), Copying::Inline)
        );
        assert!(remote.seal.is_keyed());
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
