//! SIGKILL in front of every request to the tiers that workers share.

use cache_testkit::RedisServer;
use cache_testkit::crash::{Action, Point};

use super::subject::Subject;
use crate::remote::share::{REGISTRY, prefix, redis, s3};
use crate::sandbox::Sandbox;

/// Every worker has a disk of its own.
fn config(sandbox: &Sandbox, shared: &str) -> String {
    let toml = format!("[[tier]]\nkind = \"disk\"\n{shared}{REGISTRY}");
    sandbox.write("config.toml", toml).to_str().unwrap().to_owned()
}

/// What another worker, with an empty disk, prints; how often it had to inflate.
fn another_worker(subject: &Subject, config: &str) -> u64 {
    let (mut arguments, printed) = subject.cat();
    arguments.extend(["--config", config]);
    let worker = Sandbox::in_memory();
    let outcome = worker.run(&arguments);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stdout == printed, "other bytes");
    outcome.inflates()
}

/// How many requests it takes to publish the image, where nobody has.
fn requests(subject: &Subject, shared: &str) -> usize {
    let (mut arguments, _) = subject.cat();
    let config = config(&subject.sandbox, shared);
    arguments.extend(["--config", &config]);
    let (outcome, trace) = subject.run(&arguments, |strace| strace);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    // Nothing but requests is written in this way.
    trace.iter().filter(|call| call.name == "writev").count()
}

/// Kills a worker in front of its request `nth` to the tier `shared`, which nobody has used; whether it was killed, and how
/// many layers were published by then.
fn killed_at(subject: &Subject, nth: usize, shared: &str) -> (bool, u64) {
    let (mut arguments, _) = subject.cat();
    let config = config(&subject.sandbox, shared);
    arguments.extend(["--config", &config]);
    let point = Point {
        call: "writev".to_owned(),
        nth,
        on: Vec::new(),
    };
    let (outcome, _) = subject.run(&arguments, |strace| strace.with(&point, Action::Kill));
    let inflates = another_worker(subject, &config);
    eprintln!("killed at request {nth}: {:?}, {inflates} inflates", outcome.code);
    // Who had to fetch has published what was missing.
    assert_eq!(another_worker(subject, &config), 0);
    (outcome.code.is_none(), 3 - inflates)
}

fn killed_at_every_request(mut shared: impl FnMut() -> String) {
    let subject = Subject::new();
    let requests = requests(&subject, &shared());
    let each = (1..=requests).map(|nth| killed_at(&subject, nth, &shared()));
    let (killed, published): (Vec<bool>, Vec<u64>) = each.unzip();
    let killed = killed.into_iter().filter(|killed| *killed).count();
    assert!(killed > 10 && killed > requests / 2, "{killed} of {requests}");
    // In between there is a commit.
    assert_eq!(published[0], 0);
    assert!(published.iter().any(|layers| *layers > 0));
}

/// One database of a server after the other.
fn databases(server: &RedisServer) -> impl FnMut() -> String {
    let (url, mut databases) = (server.url(), 0..1000);
    move || redis(&format!("{url}/{}", databases.next().unwrap()))
}

#[test]
fn to_redis() {
    let server = RedisServer::start(&["--databases", "1000"]);
    let mut databases = databases(&server);
    // The leases of the dead would hold up each of the others for a while.
    killed_at_every_request(|| databases() + "lease = false\n");
}

#[test]
fn to_redis_with_a_lease_held() {
    let server = RedisServer::start(&["--databases", "1000"]);
    let mut databases = databases(&server);
    let requests = requests(&Subject::new(), &databases());
    // Each waits for the lease to end.
    std::thread::scope(|scope| {
        for nth in [requests / 4, requests / 2, requests / 4 * 3] {
            let shared = databases();
            scope.spawn(move || killed_at(&Subject::new(), nth, &shared));
        }
    });
}

#[test]
fn to_s3() {
    killed_at_every_request(|| s3(&prefix()));
}
