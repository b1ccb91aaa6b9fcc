//! What the contracts of [`LayerSource`](cache_core::LayerSource), [`Tier`](cache_core::Tier), their readers and writers, and
//! [`Leases`](cache_core::lease::Leases) promise, as tests that any of them can be put to.
//!
//! An author of a tier has all of it by one line in an integration test:
//!
//! ```
//! # use cache_core::MemoryTier;
//! cache_testkit::tier_laws!(memory, || async { MemoryTier::new("memory", 1 << 30) });
//! # fn main() {}
//! ```
//!
//! It makes a module `memory` with a `#[test]` for each law, once for the tier itself and once for the tier behind an
//! `Arc<dyn Tier>`. Each test has a tier of its own, a runtime of its own in real time, and layers that no other test
//! knows, so the store may be shared and may be a real server. A tier that needs something to live in, or that is
//! durable, is made into a [`TierSubject`]:
//!
//! ```
//! # use cache_core::MemoryTier;
//! use cache_testkit::laws::TierSubject;
//!
//! # #[derive(Debug)] struct Directory; impl Directory { fn new() -> Self { Self } }
//! cache_testkit::tier_laws!(durable memory, || async {
//!     let directory = Directory::new();
//!     let tier = MemoryTier::new("memory", 1 << 30);
//!     let again = tier.clone();
//!     TierSubject::new(tier)
//!         .keeping(directory)
//!         .reopened_by(move || std::future::ready(again.clone()))
//! });
//! # fn main() {}
//! ```
//!
//! A law is an `async fn` that panics when it is broken, and its documentation says which sentence of which contract
//! it checks. Adding it to the list in this file adds it to the suite of every tier.

mod abort;
mod absence;
mod cancellation;
mod capabilities;
mod chunking;
mod claims;
mod commit;
mod durability;
mod errors;
mod leases;
mod listing;
mod partial;
mod polls;
mod racing;
mod reading;
mod removal;
mod sample;
mod sources;
mod steps;
mod subject;

use std::time::Duration;

pub use sample::Sample;
pub use subject::{LeaseSubject, SourceSubject, TierSubject};

/// All laws, by the file they are in. Each list makes the functions public, and the tests of whoever asks for them.
#[doc(hidden)]
#[macro_export]
macro_rules! __laws {
    (tier => $make:ident $($with:tt)*) => {
        $crate::$make! { $($with)*
            absence::an_unknown_layer_is_absent,
            reading::layers_of_any_length_read_as_written,
            reading::a_stream_that_is_dropped_harms_nobody,
            reading::many_read_at_once,
            chunking::any_pieces_make_the_layer_and_any_range_is_read,
            commit::nothing_is_visible_before_the_commit,
            commit::a_layer_is_visible_and_complete_once_commit_returns,
            abort::a_writer_that_is_dropped_was_never_started,
            abort::an_aborted_layer_is_gone_when_abort_returns,
            racing::racing_writers_leave_the_right_layer,
            racing::a_writer_that_gives_up_takes_nothing_from_the_others,
            removal::readers_of_a_removed_layer_read_right_or_fail,
            removal::a_removed_layer_is_gone_and_can_come_back,
            listing::the_list_is_what_is_committed,
            capabilities::capabilities_and_name_are_constant,
            capabilities::every_wrapper_has_its_role,
            capabilities::what_is_not_claimed_says_so,
            partial::a_partial_reader_follows_the_writer,
            claims::a_committed_layer_is_not_claimed_again,
            claims::a_false_diff_id_gets_no_wrong_bytes_and_purges_nothing,
            errors::errors_name_tier_operation_and_layer,
            cancellation::a_cancelled_create_changes_nothing,
            cancellation::a_cancelled_write_leaves_a_writer_to_drop,
            cancellation::a_cancelled_commit_is_all_or_nothing,
            cancellation::a_cancelled_abort_is_an_abort,
            cancellation::a_cancelled_remove_is_all_or_nothing,
            cancellation::cancelled_reading_changes_nothing,
            cancellation::a_cancelled_list_changes_nothing,
        }
    };
    (durable => $make:ident $($with:tt)*) => {
        $crate::$make! { $($with)*
            durability::another_handle_has_what_was_committed,
            durability::another_handle_leaves_a_writer_alone,
        }
    };
    (source => $make:ident $($with:tt)*) => {
        $crate::$make! { $($with)*
            sources::an_unknown_layer_is_absent,
            sources::its_layers_read_as_they_are,
            sources::any_range_is_read,
            sources::a_stream_that_is_dropped_harms_nobody,
            sources::many_read_at_once,
            sources::capabilities_and_name_are_constant,
            sources::every_wrapper_has_its_role,
            sources::a_false_diff_id_gets_no_wrong_bytes_and_purges_nothing,
            sources::errors_name_source_operation_and_layer,
            sources::cancelled_reading_changes_nothing,
        }
    };
    (leases => $make:ident $($with:tt)*) => {
        $crate::$make! { $($with)*
            leases::one_of_many_holds_it,
            leases::a_released_lease_is_free,
            leases::a_dropped_lease_is_given_back,
            leases::the_lease_of_a_dead_holder_ends,
            leases::progress_is_told,
            leases::who_has_lost_it_does_nothing_to_the_next,
            leases::giving_up_is_told,
            leases::a_cancelled_acquire_holds_up_nobody,
            leases::a_cancelled_renewal_loses_nothing,
            leases::a_cancelled_release_gives_it_back,
        }
    };
}

/// A law that is in no list is used by nobody, which the compiler reports.
#[doc(hidden)]
#[macro_export]
macro_rules! __law_functions {
    ($($group:ident :: $law:ident,)*) => { $( pub use super::$group::$law; )* };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __law_tests {
    ($list:ident $subject:ident $($group:ident :: $law:ident,)*) => {
        mod itself {
            $( #[test] fn $law() { $crate::laws::check(super::__subject(), $crate::laws::$list::$law); } )*
        }
        mod behind_arc {
            async fn __subject() -> $crate::laws::$subject { super::__subject().await.behind_arc() }
            $( #[test] fn $law() { $crate::laws::check(__subject(), $crate::laws::$list::$law); } )*
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __lease_law_tests {
    ($($group:ident :: $law:ident,)*) => {
        $( #[test] fn $law() { $crate::laws::check(__subject(), $crate::laws::lease::$law); } )*
    };
}

/// The laws of leases.
pub mod lease {
    crate::__laws!(leases => __law_functions);
}

/// The laws of tiers.
pub mod tier {
    crate::__laws!(tier => __law_functions);
}

/// The laws of tiers whose layers outlive the handle on them.
pub mod durable {
    crate::__laws!(durable => __law_functions);
}

/// The laws of sources that are not filled by whoever reads them.
pub mod source {
    crate::__laws!(source => __law_functions);
}

/// Puts a tier to all [laws](mod@crate::laws) of tiers: `tier_laws!(name, || async { MyTier::new() })`.
///
/// The closure is called for each test. It may return a [`TierSubject`](crate::laws::TierSubject) as well; one that can be
/// reopened is put to the laws of durable tiers, too, by `tier_laws!(durable name, ...)`.
#[macro_export]
macro_rules! tier_laws {
    (durable $name:ident, $make:expr $(,)?) => {
        $crate::tier_laws! { @ $name, $make,
            mod reopened {
                use super::__subject;
                $crate::__laws!(durable => __law_tests durable TierSubject);
            }
        }
    };
    ($name:ident, $make:expr $(,)?) => {
        $crate::tier_laws! { @ $name, $make, }
    };
    (@ $name:ident, $make:expr, $($more:item)*) => {
        mod $name {
            #[allow(unused_imports, reason = "the closure may need anything that is in scope, or nothing")]
            use super::*;

            async fn __subject() -> $crate::laws::TierSubject {
                let make = $make;
                $crate::laws::TierSubject::from(make().await)
            }

            $crate::__laws!(tier => __law_tests tier TierSubject);
            $($more)*
        }
    };
}

/// Puts a source to all [laws](mod@crate::laws) of sources: `source_laws!(name, || async { SourceSubject::new(source, layers) })`.
///
/// The closure is called for each test, and returns a [`SourceSubject`](crate::laws::SourceSubject).
#[macro_export]
macro_rules! source_laws {
    ($name:ident, $make:expr $(,)?) => {
        mod $name {
            #[allow(unused_imports, reason = "the closure may need anything that is in scope, or nothing")]
            use super::*;

            async fn __subject() -> $crate::laws::SourceSubject {
                let make = $make;
                make().await
            }

            $crate::__laws!(source => __law_tests source SourceSubject);
        }
    };
}

/// Puts leases to all [laws](mod@crate::laws) of leases: `lease_laws!(name, || async { LeaseSubject::new(|lifetime| leases) })`.
///
/// The closure is called for each test, and returns a [`LeaseSubject`](crate::laws::LeaseSubject).
#[macro_export]
macro_rules! lease_laws {
    ($name:ident, $make:expr $(,)?) => {
        mod $name {
            #[allow(unused_imports, reason = "the closure may need anything that is in scope, or nothing")]
            use super::*;

            async fn __subject() -> $crate::laws::LeaseSubject {
                let make = $make;
                make().await
            }

            $crate::__laws!(leases => __lease_law_tests);
        }
    };
}

/// How long a law is tried before it counts as hanging. No law takes a tenth of it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Tries one law on a subject, on a runtime of its own.
///
/// # Panics
/// When the law is broken, or does not come to an end.
pub fn check<S>(subject: impl Future<Output = S>, law: impl AsyncFnOnce(&S)) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let subject = subject.await;
        let tried = tokio::time::timeout(PATIENCE, law(&subject)).await;
        tried.expect("the law comes to an end");
    });
}
