//! Metrics of a running process: right, as Prometheus wants them, and those that the operators' page and dashboard speak of.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use cache_testkit::RedisServer;
use futures_util::stream;
use layercache::core::metrics::{METRICS, MetricKind};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::environment::{self, debian};
use crate::image::{Image, noise};
use crate::registry::{Registry, with};
use crate::remote::share::{REGISTRY, disk, prefix, redis, s3};
use crate::sandbox::Sandbox;

/// How long it may take until something is to be seen.
const PATIENCE: Duration = Duration::from_secs(60);
/// As many connections as are answered at once.
const CONNECTIONS: usize = 8;

/// What Prometheus reads.
struct Scrape(String);

impl Scrape {
    fn of(address: SocketAddr) -> Self {
        let (head, body) = get(address, "/metrics");
        assert!(
            head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"),
            "{head}"
        );
        let head = head.to_lowercase();
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        Self(body)
    }

    /// The sum of the series of this name that have these labels. There must be one.
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |line: &str| {
            let mut labels = labels.iter();
            labels.all(|(label, value)| line.contains(&format!("{label}={value:?}")))
        };
        let values: Vec<f64> = self
            .0
            .lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name) && has(line))
            .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        assert!(!values.is_empty(), "no {name} with {labels:?} in\n{}", self.0);
        values.iter().sum()
    }

    fn requests(&self, tier: &str, operation: &str, outcome: &str) -> f64 {
        let labels = [("tier", tier), ("operation", operation), ("outcome", outcome)];
        self.value("layercache_requests_total", &labels)
    }

    /// The names, and what each is.
    fn types(&self) -> BTreeMap<&str, &str> {
        let types = self.0.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.map(|line| line.split_once(' ').unwrap()).collect()
    }
}

/// Head and body of an answer.
fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// Gives `input` to promtool, which must have nothing to say against it.
fn promtool(arguments: &[&str], input: &str) {
    let mut child = Command::new(environment::promtool())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}\n{input}");
}

/// An image whose layer comes when the gate is opened.
fn held_back(gate: &watch::Receiver<bool>) -> Registry {
    let mut image = Image::default();
    image.add_tar(&noise(100_000));
    let digest = image.digest(0).to_owned();
    let blob = Bytes::from(image.blobs[&digest].clone());
    let gate = gate.clone();
    Registry::of_image(image, move |asked| {
        let (blob, mut gate) = (blob.clone(), gate.clone());
        (asked.name() == digest).then(|| {
            let len = blob.len().to_string();
            let late = stream::once(async move {
                let opened = gate.wait_for(|open| *open).await;
                opened.map(|_| blob).map_err(std::io::Error::other)
            });
            with(200, &[("content-length", &len)], Body::from_stream(late))
        })
    })
}

#[test]
fn a_pull_can_be_watched_while_it_runs() {
    let (open, gate) = watch::channel(false);
    let registry = held_back(&gate);
    let image = debian("small");
    let sandbox = Sandbox::new();
    let server = RedisServer::start(&[]);
    let shared = redis(&server.url()) + &s3(&prefix());
    let config = sandbox.write("config.toml", disk(&sandbox, "disk") + &shared + REGISTRY);
    let mut command = sandbox.command(["pull", &image, &image, &registry.image()]);
    command
        .arg("--config")
        .arg(&config)
        .args(["--metrics", "127.0.0.1:0"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("metrics at http://").unwrap();
    let address: SocketAddr = url.strip_suffix("/metrics").unwrap().parse().unwrap();
    assert!(address.ip().is_loopback());

    let start = Instant::now();
    loop {
        let scrape = Scrape::of(address);
        let seen = [
            scrape.requests("disk", "open", "miss"),
            scrape.value("layercache_fills_under_way", &[("tier", "disk")]),
            scrape.value("layercache_waiting_readers", &[]),
            scrape.value("layercache_write_back_queue", &[]),
        ];
        if seen == [2.0, 1.0, 1.0, 0.0] {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{seen:?}");
    }
    // Once more, for a scrape looks at one figure after the other: now nothing moves.
    let scrape = Scrape::of(address);
    // One layer was fetched, and then found; the other one is on its way.
    assert_eq!(scrape.value("layercache_inflates_total", &[]), 1.0);
    assert_eq!(scrape.value("layercache_inflate_seconds_count", &[]), 1.0);
    assert!(scrape.value("layercache_inflate_seconds_sum", &[]) > 0.0);
    assert_eq!(scrape.requests("disk", "open", "miss"), 2.0);
    assert_eq!(scrape.requests("disk", "open", "hit"), 1.0);
    assert_eq!(scrape.requests("disk", "commit", "ok"), 1.0);
    // Redis is asked once more when the lease on a layer is held.
    for (tier, asked) in [("redis", 4.0), ("s3", 2.0)] {
        assert_eq!(scrape.requests(tier, "open", "miss"), asked, "{tier}");
        assert_eq!(scrape.requests(tier, "open", "unavailable"), 0.0, "{tier}");
        let written = [("tier", tier), ("outcome", "ok")];
        assert_eq!(
            scrape.value("layercache_write_backs_total", &written),
            1.0,
            "{tier}"
        );
        let closed = [("tier", tier), ("state", "closed")];
        assert_eq!(scrape.value("layercache_breaker_state", &closed), 1.0, "{tier}");
    }
    assert_eq!(scrape.requests("registry", "open", "hit"), 2.0);
    let filled = [("tier", "disk"), ("outcome", "ok")];
    assert_eq!(scrape.value("layercache_fills_total", &filled), 1.0);
    assert_eq!(
        scrape.value("layercache_fill_seconds_count", &[("tier", "disk")]),
        1.0
    );
    assert_eq!(scrape.value("layercache_disk_layers", &[]), 1.0);
    let len = scrape.value("layercache_filled_bytes_total", &[("tier", "disk")]);
    assert!(len > 1e6, "{len}");
    assert_eq!(scrape.value("layercache_far_bytes_total", &[]), len);
    assert_eq!(scrape.value("layercache_inflated_bytes_total", &[]), len);
    assert!(scrape.value("layercache_disk_bytes", &[]) >= len);
    assert!(scrape.value("layercache_disk_free_bytes", &[]) > 0.0);
    assert_eq!(scrape.value("layercache_disk_max_bytes", &[]), f64::INFINITY);
    let received = scrape.value("layercache_origin_bytes_total", &[("tier", "registry")]);
    assert!((1e6..len).contains(&received), "{received}");
    let opened = [("tier", "disk"), ("operation", "open"), ("outcome", "miss")];
    let opened = scrape.value("layercache_request_seconds_count", &opened);
    assert_eq!(opened, 2.0);

    // What is served is what the table promises, and in the form that Prometheus wants.
    let promised = METRICS.iter().map(|metric| {
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        (metric.name, kind)
    });
    assert_eq!(scrape.types(), promised.collect());
    promtool(&["check", "metrics"], &scrape.0);
    let series = scrape
        .0
        .lines()
        .filter(|line| line.starts_with("layercache_"))
        .count();
    assert!(
        series < 1000,
        "{series} series, more than docs/operations.md says"
    );

    // Who connects and says nothing is in the way of nobody for long.
    let silent: Vec<_> = (0..CONNECTIONS)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    assert_eq!(Scrape::of(address).value("layercache_waiting_readers", &[]), 1.0);
    drop(silent);
    assert!(get(address, "/").0.contains(" 404 "));

    open.send_replace(true);
    assert!(child.wait().unwrap().success());
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn an_address_that_is_taken_is_an_error_before_anything_is_pulled() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let sandbox = Sandbox::new();
    let error = sandbox.fail(["pull", "--metrics", &address, &debian("small")]);
    assert!(
        error.contains(&format!("--metrics: cannot listen on {address}")),
        "{error}"
    );
    assert_eq!(sandbox.cached_files(), BTreeSet::new());
}

fn document(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The metrics that a text speaks of. A histogram may be named by its parts.
fn spoken_of(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
    words
        .filter(|word| word.starts_with("layercache_"))
        .map(|word| {
            let parts = ["_bucket", "_sum", "_count"].iter();
            let whole = parts.filter_map(|part| word.strip_suffix(part)).find(|whole| {
                METRICS
                    .iter()
                    .any(|metric| metric.name == *whole && metric.kind == MetricKind::Histogram)
            });
            whole.unwrap_or(word)
        })
        .collect()
}

#[test]
fn the_documents_speak_of_what_is_measured() {
    let all: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
    for name in ["operations.md", "grafana.json", "alerts.yml", "alerts.test.yml"] {
        let text = document(name);
        let unknown: Vec<_> = spoken_of(&text).difference(&all).copied().collect();
        assert!(unknown.is_empty(), "{name} speaks of {unknown:?}");
    }
    let operations = document("operations.md");
    let rows = operations
        .lines()
        .filter_map(|line| line.strip_prefix("| `layercache_"));
    let explained: Vec<_> = rows.map(|row| row.split('`').next().unwrap()).collect();
    let explained: BTreeSet<_> = explained
        .iter()
        .map(|name| format!("layercache_{name}"))
        .collect();
    assert_eq!(explained, all.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(
        spoken_of(&document("grafana.json")),
        all,
        "the dashboard shows all of it"
    );

    // Each alert says under its name what to do, and has a story.
    let stories = document("alerts.test.yml");
    let alerts = document("alerts.yml");
    let alerts: Vec<_> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let advice: Vec<_> = operations
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    for alert in &alerts {
        assert!(advice.contains(alert), "{alert} is not explained");
        assert!(
            stories.contains(&format!("alertname: {alert}\n        exp_alerts:")),
            "{alert} is never raised"
        );
    }
    assert!(!alerts.is_empty());
}

/// All PromQL of the dashboard, with what Grafana puts in for its variables.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    targets
        .map(|target| {
            let query = target["expr"].as_str().unwrap();
            query.replace("$__rate_interval", "5m").replace("$instance", ".*")
        })
        .collect()
}

#[test]
fn prometheus_understands_the_rules_and_the_dashboard() {
    let dashboard: Value = serde_json::from_str(&document("grafana.json")).unwrap();
    let queries = queries(&dashboard);
    assert!(queries.len() > 20, "{queries:?}");
    let rules: Vec<_> = queries
        .iter()
        .enumerate()
        .map(|(number, query)| json!({ "record": format!("query:{number}"), "expr": query }))
        .collect();
    // Any JSON is YAML.
    let rules = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    let sandbox = Sandbox::new();
    let dashboard = sandbox.write("dashboard.yml", rules.to_string());
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    for rules in [dashboard, docs.join("alerts.yml")] {
        promtool(&["check", "rules", rules.to_str().unwrap()], "");
    }
    let stories = docs.join("alerts.test.yml");
    promtool(&["test", "rules", stories.to_str().unwrap()], "");
}
