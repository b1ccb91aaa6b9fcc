//! Any calls, one after another or at once, with any end, against a model of the breaker.

use proptest::prelude::*;
use tokio::sync::oneshot;

use super::*;

#[derive(Clone, Copy, Debug)]
enum End {
    Works,
    Unavailable,
    Corrupt,
    Cancelled,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Begin,
    /// The one of the calls under way at this place, modulo their number.
    End(usize, End),
    /// A call that ends at once.
    Call(End),
    Pass(Duration),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = prop_oneof![
        3 => Just(End::Unavailable),
        1 => Just(End::Works),
        1 => Just(End::Corrupt),
        1 => Just(End::Cancelled),
    ];
    let step = prop_oneof![
        3 => Just(Step::Begin),
        4 => (0..8usize, end.clone()).prop_map(|(place, end)| Step::End(place, end)),
        3 => end.prop_map(Step::Call),
        3 => prop::sample::select(vec![0, 2, 5, 10, 20, 40]).prop_map(|seconds| Step::Pass(secs(seconds))),
    ];
    prop::collection::vec(step, 0..80)
}

const FAILURES: u32 = 2;
const COOL_DOWN: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(40);

/// What the breaker must be in. Calls are numbered as they begin.
#[derive(Debug)]
enum Model {
    /// Calls from number `since` on count.
    Closed { since: usize, failures: u32 },
    /// It opened `failed_probes` + 1 times in a row, the last time at `at`.
    Open { at: Instant, failed_probes: u32 },
    /// Its probe was cancelled.
    Vacant { failed_probes: u32 },
    /// Call number `probe` is the probe since `at`.
    Probing {
        probe: usize,
        at: Instant,
        failed_probes: u32,
    },
}

impl Model {
    fn state(&self) -> BreakerState {
        match self {
            Self::Closed { .. } => BreakerState::Closed,
            Self::Open { .. } | Self::Vacant { .. } => BreakerState::Open,
            Self::Probing { .. } => BreakerState::HalfOpen,
        }
    }

    /// Whether a call must be admitted or must be refused; `None` between the shortest and the longest cool-down.
    fn admits(&self, now: Instant) -> Option<bool> {
        match *self {
            Self::Closed { .. } | Self::Vacant { .. } => Some(true),
            Self::Open { at, failed_probes } => {
                let full = (COOL_DOWN * 2u32.pow(failed_probes.min(8))).min(LONGEST);
                match now - at {
                    open if open >= full => Some(true),
                    open if open < full / 2 => Some(false),
                    _ => None,
                }
            }
            Self::Probing { at, .. } => Some(now - at >= LONGEST),
        }
    }

    fn admitted(&mut self, call: usize, at: Instant) {
        if let Self::Open { failed_probes, .. }
        | Self::Vacant { failed_probes }
        | Self::Probing { failed_probes, .. } = *self
        {
            *self = Self::Probing {
                probe: call,
                at,
                failed_probes,
            };
        }
    }

    fn ended(&mut self, call: usize, end: End, at: Instant, begun: usize) {
        match (&mut *self, end) {
            (Self::Closed { since, failures }, end) if call >= *since => match end {
                End::Works | End::Corrupt => *failures = 0,
                End::Cancelled => {}
                End::Unavailable if *failures + 1 < FAILURES => *failures += 1,
                End::Unavailable => {
                    let failed_probes = 0;
                    *self = Self::Open { at, failed_probes };
                }
            },
            (
                &mut Self::Probing {
                    probe, failed_probes, ..
                },
                end,
            ) if call == probe => {
                *self = match end {
                    End::Works | End::Corrupt => Self::Closed {
                        since: begun,
                        failures: 0,
                    },
                    End::Cancelled => Self::Vacant { failed_probes },
                    End::Unavailable => {
                        let failed_probes = failed_probes + 1;
                        Self::Open { at, failed_probes }
                    }
                }
            }
            // It says something of a time that is over.
            _ => {}
        }
    }
}

type Call = futures_util::future::LocalBoxFuture<'static, Result<()>>;

struct UnderWay {
    number: usize,
    call: Call,
    end: oneshot::Sender<Result<()>>,
}

struct Run {
    breaker: BreakerHandle,
    model: Model,
    begun: usize,
    under_way: Vec<UnderWay>,
}

impl Run {
    /// Begins a call; false when it was refused.
    fn begin(&mut self) -> bool {
        let (end, ended) = oneshot::channel();
        let breaker = self.breaker.clone();
        let mut call: Call = async move {
            let work = async { ended.await.expect("it is dropped with the call") };
            breaker.run(Operation::Open, work).await
        }
        .boxed_local();
        let refused = (&mut call).now_or_never();
        let expected = self.model.admits(Instant::now());
        assert!(
            expected.is_none_or(|admits| admits == refused.is_none()),
            "{:?}",
            self.model
        );
        if let Some(refused) = refused {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
            return false;
        }
        let number = self.begun;
        self.begun += 1;
        self.model.admitted(number, Instant::now());
        self.under_way.push(UnderWay { number, call, end });
        true
    }

    fn end(&mut self, place: usize, end: End) {
        let UnderWay {
            number,
            call,
            end: tell,
        } = self.under_way.remove(place);
        let result = match end {
            End::Works => Ok(()),
            End::Unavailable => Err(Error::unavailable("cut")),
            End::Corrupt => Err(Error::corrupt("wrong")),
            End::Cancelled => {
                drop(call);
                return self.model.ended(number, end, Instant::now(), self.begun);
            }
        };
        tell.send(result.clone()).unwrap();
        let told = call.now_or_never().expect("it has ended");
        assert_eq!(
            told.map_err(|error| error.kind()),
            result.map_err(|error| error.kind())
        );
        self.model.ended(number, end, Instant::now(), self.begun);
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Begin => {
                self.begin();
            }
            Step::Call(end) => {
                if self.begin() {
                    self.end(self.under_way.len() - 1, end);
                }
            }
            Step::End(place, end) => {
                if !self.under_way.is_empty() {
                    self.end(place % self.under_way.len(), end);
                }
            }
            Step::Pass(time) => advance(time).await,
        }
        assert_eq!(self.breaker.state(), self.model.state(), "{:?}", self.model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_breaker_does_what_its_model_says(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let config = BreakerConfig { failures: FAILURES, cool_down: COOL_DOWN, max_cool_down: LONGEST };
            let mut run = Run {
                breaker: BreakerHandle::new("far", config),
                model: Model::Closed { since: 0, failures: 0 },
                begun: 0,
                under_way: Vec::new(),
            };
            for step in steps {
                run.step(step).await;
            }
        });
    }
}
