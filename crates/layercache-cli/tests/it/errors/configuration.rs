//! A configuration that cannot be used.

use super::Row;
use crate::sandbox::Sandbox;

const REDIS: &str = "[[tier]]\nkind = \"redis\"\n";
const S3: &str = "[[tier]]\nkind = \"s3\"\nbucket = \"layers\"\n";

pub(super) fn rows() -> Vec<Row> {
    let sandbox = Sandbox::new();
    let row = |situation, toml: &str| {
        let config = sandbox.write("config.toml", toml);
        let arguments = ["--config", config.to_str().unwrap(), "config", "check"];
        Row::of_command(situation, &sandbox, &arguments)
    };
    let redis = |keys: &str| format!("{REDIS}{keys}");
    let s3 = |keys: &str| format!("{S3}{keys}");
    let url = "url = \"redis://:hunter2@host\"\n";
    vec![
        Row::of_command(
            "no such file",
            &sandbox,
            &["--config", "no/such.toml", "config", "check"],
        ),
        row("not TOML", "[[tier]\nkind = \"disk\""),
        row("an unknown key", "early_read = true"),
        row("a value of the wrong type", "max_concurrent_fills = \"many\""),
        row("a list of tiers with none in it", "tier = []"),
        row("a tier without a kind", "[[tier]]\ndir = \"/x\""),
        row("an unknown kind", "[[tier]]\nkind = \"tape\""),
        row(
            "two tiers of one name",
            "[[tier]]\nkind = \"registry\"\n[[tier]]\nkind = \"registry\"",
        ),
        row(
            "an unknown key of a tier",
            "[[tier]]\nkind = \"disk\"\nmax_byte = 7",
        ),
        row(
            "a size that is none",
            "[[tier]]\nkind = \"disk\"\nmax_bytes = \"much\"",
        ),
        row(
            "a home directory as shells write it",
            "[[tier]]\nkind = \"disk\"\ndir = \"~/x\"",
        ),
        row("Redis without a URL", REDIS),
        row(
            "Redis by another protocol",
            &redis("url = \"http://:hunter2@host\""),
        ),
        row(
            "the servers of Redis twice",
            &redis(&format!("{url}urls = [\"redis://a\"]")),
        ),
        row(
            "a seal key that can be guessed",
            &redis(&format!("{url}seal_key = \"hunter2\"")),
        ),
        row(
            "a secret in two places",
            &redis(&format!(
                "{url}seal_key = \"hunter2-hunter2\"\nseal_key_env = \"KEY\""
            )),
        ),
        row(
            "a secret in a variable that is not set",
            &redis("url_env = \"REDIS_URL\""),
        ),
        row(
            "a secret in a file that is not there",
            &redis("url_file = \"/no/such/file\""),
        ),
        row("a time that is none", &redis(&format!("{url}ttl = \"tomorrow\""))),
        row(
            "a time-out that nobody waits for",
            &redis(&format!("{url}timeout = \"1h\"")),
        ),
        row(
            "a tier that is only read and written back to",
            &redis(&format!("{url}read_only = true\nwrite_back = \"inline\"")),
        ),
        row(
            "leases on layers that nobody writes back",
            &redis(&format!("{url}read_only = true\nlease = true")),
        ),
        row(
            "a certificate that is none",
            &redis("url = \"rediss://host\"\nca_certificate = \"/dev/null\""),
        ),
        row("S3 without a bucket", "[[tier]]\nkind = \"s3\""),
        row("half of a pair of keys", &s3("access_key_id = \"hunter2\"")),
        row(
            "an endpoint with credentials",
            &s3("endpoint = \"http://user:hunter2@host\""),
        ),
        row(
            "a mirror with credentials",
            "[[tier]]\nkind = \"registry\"\nmirrors = { \"docker.io\" = [\"https://user:hunter2@mirror\"] }",
        ),
        row(
            "a mirror that is no URL",
            "[[tier]]\nkind = \"registry\"\nmirrors = { \"docker.io\" = [\"mirror\"] }",
        ),
    ]
}
