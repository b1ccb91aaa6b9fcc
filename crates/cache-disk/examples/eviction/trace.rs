//! What a worker of a fleet opens in two weeks.
//!
//! Images of applications stand on runtimes, and these on bases, which they share. Which application starts next follows Zipf's law; each
//! day some change their places, and some have a new version, whose last layers are others. A container opens every layer of its image
//! when it starts, and some of them again while it runs. At night something may read through many images that nobody runs: a scanner, a
//! mirror, a batch of builds.

const MIB: f64 = 1_048_576.0;
pub(crate) const HOUR: u64 = 3600;
pub(crate) const DAY: u64 = 24 * HOUR;
const DAYS: u64 = 14;
const APPLICATIONS: usize = 300;
const RUNTIMES: usize = 30;
const BASES: usize = 8;

/// What kind of trace.
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    /// Containers that start in an hour.
    starts: f64,
    /// Part of the applications with a new version each day.
    released: f64,
    /// Part of the applications that change their place in the order of popularity each day.
    moved: f64,
    /// Images that are read through each night.
    scanned: usize,
}

const QUIET: Recipe = Recipe {
    name: "nothing changes",
    starts: 20.0,
    released: 0.0,
    moved: 0.0,
    scanned: 0,
};

impl Recipe {
    pub(crate) const ALL: [Self; 4] = [
        QUIET,
        Self {
            name: "popularity drifts",
            released: 0.3,
            moved: 0.1,
            ..QUIET
        },
        Self {
            name: "a scan each night",
            released: 0.1,
            moved: 0.02,
            scanned: 150,
            ..QUIET
        },
        Self {
            name: "a scan each night, busy",
            starts: 60.0,
            released: 0.1,
            moved: 0.02,
            scanned: 150,
        },
    ];
}

/// One opening of a layer.
#[derive(Clone, Copy)]
pub(crate) struct Open {
    /// In seconds from the start.
    pub(crate) at: u64,
    pub(crate) layer: usize,
    /// Whether it is the scan that opens it.
    pub(crate) scan: bool,
}

pub(crate) struct Trace {
    /// Bytes of each layer.
    pub(crate) sizes: Vec<u64>,
    /// In the order of time.
    pub(crate) opens: Vec<Open>,
}

impl Trace {
    pub(crate) fn of(recipe: &Recipe) -> Self {
        let mut fleet = Fleet::new();
        let mut opens = Vec::new();
        for day in 0..DAYS {
            if day > 0 {
                fleet.change(recipe);
            }
            fleet.work(recipe, day * DAY, &mut opens);
            fleet.scan(recipe.scanned, day * DAY + 2 * HOUR, &mut opens);
        }
        opens.sort_by_key(|open| (open.at, open.layer));
        Self {
            sizes: fleet.random.sizes,
            opens,
        }
    }
}

/// An image: its layers, the base first, of which the last is the application and the one before what it depends on.
type Image = Vec<usize>;

struct Fleet {
    random: Random,
    runtimes: Vec<Image>,
    applications: Vec<Image>,
    /// The applications, the most popular first.
    order: Vec<usize>,
    /// How likely one of the first so many is to be started.
    likely: Vec<f64>,
}

impl Fleet {
    fn new() -> Self {
        let mut random = Random::new();
        let bases: Vec<usize> = (0..BASES).map(|_| random.layer(90.0, 0.4)).collect();
        let runtime = |random: &mut Random| {
            let base = bases[random.rather_low(BASES)];
            let more = random.random.usize(1..4);
            let own = (0..more).map(|_| random.layer(60.0, 1.2));
            [base].into_iter().chain(own).collect()
        };
        let runtimes: Vec<Image> = (0..RUNTIMES).map(|_| runtime(&mut random)).collect();
        let applications = (0..APPLICATIONS)
            .map(|_| application(&mut random, &runtimes))
            .collect();
        let weights = (1..=APPLICATIONS).map(|place| 1.0 / place as f64);
        let all: f64 = weights.clone().sum();
        let likely = weights.scan(0.0, |sum, weight| {
            *sum += weight / all;
            Some(*sum)
        });
        Self {
            likely: likely.collect(),
            random,
            runtimes,
            applications,
            order: (0..APPLICATIONS).collect(),
        }
    }

    /// A night has passed.
    fn change(&mut self, recipe: &Recipe) {
        for place in 0..APPLICATIONS {
            if self.random.happens(recipe.moved) {
                let other = self.random.random.usize(..APPLICATIONS);
                self.order.swap(place, other);
            }
        }
        for image in &mut self.applications {
            if self.random.happens(recipe.released) {
                let last = image.len() - 1;
                image[last] = self.random.layer(8.0, 1.2);
                if self.random.happens(0.3) {
                    image[last - 1] = self.random.layer(80.0, 1.5);
                }
            }
        }
    }

    /// What is started in a day.
    fn work(&mut self, recipe: &Recipe, from: u64, opens: &mut Vec<Open>) {
        let mut at = from as f64;
        loop {
            at += self.random.gap(HOUR as f64 / recipe.starts);
            if at >= (from + DAY) as f64 {
                return;
            }
            let chance = self.random.random.f64();
            let place = self.likely.partition_point(|likely| *likely < chance);
            let image = self.order[place.min(APPLICATIONS - 1)];
            let life = self.random.gap(1800.0);
            for &layer in &self.applications[image] {
                let mut later = 0.0;
                while later <= life {
                    if later == 0.0 || self.random.happens(0.3) {
                        opens.push(Open {
                            at: (at + later) as u64,
                            layer,
                            scan: false,
                        });
                    }
                    later += self.random.gap(600.0);
                }
            }
        }
    }

    /// Images that nobody has started, one each half minute, whose layers are opened two or three times within minutes.
    fn scan(&mut self, images: usize, from: u64, opens: &mut Vec<Open>) {
        for number in 0..images as u64 {
            for layer in application(&mut self.random, &self.runtimes) {
                let times = if self.random.happens(0.3) { 3 } else { 2 };
                opens.extend([0, 100, 400].into_iter().take(times).map(|later| Open {
                    at: from + 30 * number + later,
                    layer,
                    scan: true,
                }));
            }
        }
    }
}

fn application(random: &mut Random, runtimes: &[Image]) -> Image {
    let mut image = runtimes[random.rather_low(RUNTIMES)].clone();
    for _ in 0..random.random.usize(1..3) {
        image.push(random.layer(80.0, 1.5));
    }
    image.push(random.layer(8.0, 1.2));
    image
}

/// Where all chance comes from, and all layers.
struct Random {
    random: fastrand::Rng,
    sizes: Vec<u64>,
}

impl Random {
    fn new() -> Self {
        Self {
            random: fastrand::Rng::with_seed(1),
            sizes: Vec::new(),
        }
    }

    /// A new layer: lengths of layers are spread like a bell over their logarithm.
    fn layer(&mut self, median_mib: f64, spread: f64) -> usize {
        let bell: f64 = (0..12).map(|_| self.random.f64()).sum::<f64>() - 6.0;
        let bytes = median_mib * MIB * (spread * bell).exp();
        self.sizes.push(bytes.clamp(1024.0, 6144.0 * MIB) as u64);
        self.sizes.len() - 1
    }

    fn happens(&mut self, chance: f64) -> bool {
        self.random.f64() < chance
    }

    /// Seconds to what comes so many seconds after the one before, on average.
    fn gap(&mut self, mean: f64) -> f64 {
        -(1.0 - self.random.f64()).ln() * mean
    }

    /// Below `end`, and rather low than high.
    fn rather_low(&mut self, end: usize) -> usize {
        (self.random.f64() * self.random.f64() * end as f64) as usize
    }
}
